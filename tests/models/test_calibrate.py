from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.checkpoints import TEXTS, make_tiny, tiny_config, tiny_tensors, write_checkpoint

from veilform.errors import InputError, ModelError
from veilform.models.bert.calibrate import calibrate
from veilform.models.bert.calibration import Calibration, Magnitudes, Range, RowRange
from veilform.models.bert.plain import PlainBert
from veilform.models.checkpoint import model_digest
from veilform.models.text import TextEncoder

CLS = {"architectures": ["BertForSequenceClassification"], "pooling": None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


def test_ranges_are_those_of_the_definition(folder: Path) -> None:
    """Recompute a batch's ranges from the observed wires, one text and row at a time."""
    result = calibrate(folder, TEXTS[:2])
    encoder, model = TextEncoder.from_folder(folder), PlainBert.load(folder, np.float64)
    batch = encoder.pad(encoder.encode(TEXTS[:2]))
    seen: dict[str, np.ndarray] = {}
    logits = model.forward(batch.ids, batch.mask, observe=seen.__setitem__)
    rows: dict[bool, dict[str, list[float]]] = {
        kind: {"denominator": [], "attention": [], "feedforward": []} for kind in (True, False)
    }
    for b in range(2):
        valid = batch.mask[b] == 1
        for s in range(16):
            kept = rows[bool(valid[s])]
            for head in seen["layer.1.scores"][b]:
                kept["denominator"].append(float(np.mean((head[s][valid] + 5) ** 2)))
            for part in ("attention", "feedforward"):
                kept[part].append(float(np.var(seen[f"layer.1.{part}_norm_input"][b, s])))
    layer = result.layers[1]
    for part, given in (
        ("denominator", layer.denominator),
        ("attention", layer.attention_variance),
        ("feedforward", layer.feedforward_variance),
    ):
        for kind, span in ((True, given.valid), (False, given.padded)):
            assert span is not None
            expected = (min(rows[kind][part]), max(rows[kind][part]))
            np.testing.assert_allclose((span.low, span.high), expected, rtol=1e-4)
    magnitudes = msgspec.structs.asdict(layer.magnitudes)
    for name in set(Magnitudes.__struct_fields__) - {"e", "context_sum"}:
        np.testing.assert_allclose(magnitudes[name], np.abs(seen["layer.1." + name]).max(), 1e-4)
    e = (seen["layer.1.scores"] + 5) ** 2
    np.testing.assert_allclose(magnitudes["e"], e.max(), 1e-4)
    v = seen["layer.1.v"].reshape(2, 16, 2, 8).transpose(0, 2, 1, 3)
    total = (e * batch.mask[:, None, None, :]) @ v
    np.testing.assert_allclose(magnitudes["context_sum"], np.abs(total).max(), 1e-4)
    np.testing.assert_allclose(
        (result.logits.low, result.logits.high), (logits.min(), logits.max()), 1e-4
    )


def test_more_texts_only_widen(folder: Path) -> None:
    some, more = calibrate(folder, TEXTS[:2]), calibrate(folder, TEXTS)
    for a, b in zip(some.layers, more.layers, strict=True):
        for field in ("denominator", "attention_variance", "feedforward_variance"):
            inner, outer = getattr(a, field).whole, getattr(b, field).whole
            assert outer.low <= inner.low <= inner.high <= outer.high
        for name in Magnitudes.__struct_fields__:
            assert getattr(a.magnitudes, name) <= getattr(b.magnitudes, name) * (1 + 1e-6)


def test_texts_use_their_own_buckets_and_progress_is_told(folder: Path) -> None:
    steps: list[tuple[int, int]] = []
    result = calibrate(folder, TEXTS, progress=lambda done, total: steps.append((done, total)))
    assert result.buckets == (16, 32)
    assert result.texts == len(TEXTS)
    assert result.model == model_digest(folder)
    assert steps[-1] == (len(TEXTS), len(TEXTS))
    assert calibrate(folder, TEXTS, buckets=(64, 128)).buckets == (64,)


def test_a_full_bucket_has_no_padded_rows(folder: Path) -> None:
    result = calibrate(folder, ["good " * 14])
    denominator = result.layers[0].denominator
    assert denominator.padded is None
    assert denominator.whole == denominator.valid


def test_pooler_is_recorded_for_cls_only(folder: Path, tmp_path: Path) -> None:
    assert calibrate(folder, TEXTS).pooler is None
    pooler = calibrate(make_tiny(tmp_path, **CLS), TEXTS).pooler
    assert pooler is not None
    assert pooler.low < pooler.high


def test_json_round_trip(folder: Path, tmp_path: Path) -> None:
    result = calibrate(folder, TEXTS)
    result.save(tmp_path)
    assert Calibration.load(tmp_path) == result


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "has format 2, expected 1"),
        ({"texts": 0}, "malformed"),
        ({"layers": None}, "malformed"),
        ({"logits": {"low": 1.0, "high": 0.0}}, "malformed"),
        ({"unknown": 1}, "malformed"),
    ],
)
def test_bad_calibration_files(folder: Path, change: dict[str, object], message: str) -> None:
    content = json.loads(calibrate(folder, TEXTS[:1]).to_json())
    with pytest.raises(ModelError, match=message):
        Calibration.from_json(json.dumps({**content, **change}).encode())


def test_broken_or_missing_calibration(tmp_path: Path) -> None:
    for content in (b"", b"{", b"\xff", b"[" * 100_000):
        with pytest.raises(ModelError, match="malformed"):
            Calibration.from_json(content)
    with pytest.raises(ModelError, match=r"has no calibration\.json"):
        Calibration.load(tmp_path)


def test_joining_row_ranges() -> None:
    a, b = RowRange(Range(1, 2)), RowRange(Range(0, 1), Range(5, 6))
    assert a.join(b) == b.join(a) == RowRange(Range(0, 2), Range(5, 6))
    assert b.whole == Range(0, 6)
    assert a.join(None) == a


def test_a_model_that_cannot_be_served_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="hidden_act 'gelu_new'"):
        calibrate(make_tiny(tmp_path, hidden_act="gelu_new"), TEXTS)


def test_overflow_is_an_error(tmp_path: Path) -> None:
    tensors = dict(tiny_tensors(tiny_config()))
    name = "bert.encoder.layer.0.intermediate.dense.weight"
    tensors[name] = tensors[name] * np.float32(1e30)
    folder = write_checkpoint(tmp_path, tiny_config(), tensors)
    with pytest.raises(ModelError, match=r"layer\.0\.activation overflows"):
        calibrate(folder, TEXTS)


def test_no_texts(folder: Path) -> None:
    with pytest.raises(InputError, match="there is no text"):
        calibrate(folder, [])
