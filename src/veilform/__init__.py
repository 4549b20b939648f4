"""Veilform serves Transformers privately: the server never sees the input, the client never sees the weights.

import veilform

with veilform.pipeline("text-classification", model=veilform.DEFAULT_MODEL) as clf:
print(clf(["A film that stays with you."]), clf.last_cost)
"""

from veilform import errors
from veilform.errors import VeilformError
from veilform.pipeline import DEFAULT_MODEL, pipeline

__version__ = "0.1.0"

__all__ = ["DEFAULT_MODEL", "VeilformError", "__version__", "errors", "pipeline"]
