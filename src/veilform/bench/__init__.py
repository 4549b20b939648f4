"""Measures private inference of models of random weights between real processes."""
