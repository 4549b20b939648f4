"""Correlated randomness: what it is (specs), what a run needs (manifest), making it, and keeping it."""
