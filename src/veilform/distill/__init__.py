"""Distillation of MPC-friendly Transformer classifiers: any teacher, any labelled texts.

``veilform distill`` is the way in; it runs ``run.distil``. Training needs the ``veilform[train]``
extra. Reading data (``sources``, ``tabular``, ``glue``, ``reviews``) and ``metrics`` do not.
"""
