"""How to spread training over devices: a planner after AMP (Li et al. 2022, arXiv 2210.07297).

A :class:`LayerProfile` says how long each layer takes, a :class:`Cluster` what there is.
:func:`search` ranks all valid strategies, :func:`predict` says what one of them takes. See
docs/parallel.md. Nothing here needs PyTorch but :mod:`.measure`.
"""

from veilform.plan.parallel.cluster import Cluster, Node
from veilform.plan.parallel.predict import Mode, Prediction, predict
from veilform.plan.parallel.profile import Layer, LayerProfile, Timing
from veilform.plan.parallel.search import Plan, search
from veilform.plan.parallel.strategy import Strategy

__all__ = [
    "Cluster",
    "Layer",
    "LayerProfile",
    "Mode",
    "Node",
    "Plan",
    "Prediction",
    "Strategy",
    "Timing",
    "predict",
    "search",
]
