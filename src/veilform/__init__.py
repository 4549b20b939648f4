"""Private Transformer inference: the server never sees the input, the client never the weights."""

from __future__ import annotations

__version__ = "0.1.0"
