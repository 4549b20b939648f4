"""Distillation of MPC-friendly Transformer classifiers (needs the ``veilform[train]`` extra).

``python -m veilform.distill reviews --out DIR`` fine-tunes a BERT-type teacher, distils it into a
student whose only non-linearities are Quad, 2Quad and LayerNorm, and writes the shipped folder.
"""
