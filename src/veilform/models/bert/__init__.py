"""The BERT family.

config.py what a config says; names.py the tensors it implies; validate.py every reason a model
cannot be served; embedding.py and plain.py the plain forward pass; calibrate.py the ranges it
meets on real texts; public.py what a client may hold.
"""
