"""Secure layers, each a short composition of protocols."""
