"""Convolution networks and their data: what makes private image models, and measures them."""
