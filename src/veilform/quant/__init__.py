"""Training with 4-bit integers: "Training Transformers with 4-bit Integers" (arXiv 2306.11987).

``convert`` puts ``Int4Linear`` in the place of a model's linear layers as a ``Policy`` says;
``to_float`` takes them out again and leaves plain float weights. Only ``policy`` loads without
PyTorch, so ask for the others by their modules.
"""

from veilform.quant.policy import METHODS, PRECISIONS, LayerPolicy, Policy

__all__ = ["METHODS", "PRECISIONS", "LayerPolicy", "Policy"]
