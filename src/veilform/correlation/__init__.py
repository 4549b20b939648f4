"""Correlated randomness: what it is (specs), what a run needs (manifest), how it is made."""
