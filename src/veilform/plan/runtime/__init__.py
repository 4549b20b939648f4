"""Idealized runtime: seconds, dollars and energy of text generation, from a small profile.

The model of Narayanan et al., *Cheaply Evaluating Inference Efficiency Metrics for Autoregressive
Transformer APIs* (arXiv 2305.02440). Nothing here needs PyTorch or matplotlib to be imported.
"""

from __future__ import annotations

from veilform.plan.runtime.cost import A100, V100, Accelerator, dollars, joules
from veilform.plan.runtime.denoise import denoise
from veilform.plan.runtime.model import RuntimeModel, load, save
from veilform.plan.runtime.profile import Grid, Profile, profile
from veilform.plan.runtime.quality import Fits, fit_both
from veilform.plan.runtime.samples import Sample, read_csv, write_csv

__all__ = [
    "A100",
    "V100",
    "Accelerator",
    "Fits",
    "Grid",
    "Profile",
    "RuntimeModel",
    "Sample",
    "denoise",
    "dollars",
    "fit_both",
    "joules",
    "load",
    "profile",
    "read_csv",
    "save",
    "write_csv",
]
