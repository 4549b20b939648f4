"""A tiny BERT whose every weight is a formula, so that stored numbers stay reproducible.

No random generator: value i of a tensor is ``scale * sin(1.7 i + n)``, n from its name.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from tests.checkpoints import tiny_config, tiny_tensors, write_checkpoint

VARIANTS: dict[str, dict[str, Any]] = {
    "teacher": {
        "architectures": ["BertForSequenceClassification"],
        "hidden_act": "gelu",
        "softmax_act": None,
        "pooling": None,
        "id2label": {"0": "a", "1": "b", "2": "c"},
    },
    "student": {},
}
IDS = np.array(
    [[2, 9, 30, 14, 3, 0, 0, 0], [2, 40, 41, 42, 43, 44, 71, 3], [2, 5, 3, 0, 0, 0, 0, 0]]
)
MASK = (IDS != 0).astype(np.int64)
TYPES = np.array([[0, 0, 1, 1, 1, 0, 0, 0], [0] * 8, [0] * 8])


def make_formula(folder: Path, variant: str) -> Path:
    config = tiny_config(**VARIANTS[variant])
    tensors = {}
    for name, value in tiny_tensors(config).items():
        phase = zlib.crc32(name.encode()) % 1000
        wave = np.sin(1.7 * np.arange(value.size) + phase).reshape(value.shape)
        if name.endswith("LayerNorm.weight"):
            wave = 1 + 0.2 * wave
        elif value.ndim == 1 or "embeddings" in name:
            wave = 0.3 * wave
        else:
            wave = wave / np.sqrt(value.shape[1])
        tensors[name] = wave.astype(np.float32)
    return write_checkpoint(folder, config, tensors)
