"""Transformers served privately: the server sees no input, the client no weights.

>>> import veilform
>>> with veilform.pipeline("text-classification", model=veilform.DEFAULT_MODEL) as classifier:
...     print(classifier(["A film that stays with you."]), classifier.last_cost)
"""

from veilform import errors
from veilform.errors import VeilformError
from veilform.models.answers import Classified
from veilform.pipeline import (
    DEFAULT_MODEL,
    PlainClassifier,
    PlainEmbedder,
    PlainImageClassifier,
    SecureClassifier,
    SecureEmbedder,
    SecureImageClassifier,
    pipeline,
)
from veilform.serve.client import InferenceCost

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_MODEL",
    "Classified",
    "InferenceCost",
    "PlainClassifier",
    "PlainEmbedder",
    "PlainImageClassifier",
    "SecureClassifier",
    "SecureEmbedder",
    "SecureImageClassifier",
    "VeilformError",
    "__version__",
    "errors",
    "pipeline",
]
