"""Of a whole tiny model: no stream serves twice, and every bit sent is padding or balanced.

Smoke tests, with the real ring and keys: they find a missing mask, not a subtle leak.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.checkpoints import TEXTS, make_tiny
from tests.models.secure import Tiny

from veilform import prg
from veilform.correlation.specs import Source
from veilform.roles import CLIENT, SERVER, Role

RUNS = 100


def seeds_in_order(patch: pytest.MonkeyPatch) -> None:
    """The same seeds on every run of the test."""
    numbers = iter(range(1, 1 << 20))
    patch.setattr(prg, "fresh_seed", lambda: next(numbers).to_bytes(16, "little"))


@pytest.mark.parametrize("private", [False, True], ids=["public", "private embedding"])
def test_every_stream_has_a_label_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private: bool
) -> None:
    seeds_in_order(monkeypatch)
    tiny = Tiny.load(make_tiny(tmp_path, calibrated=True), private)
    sizes: dict[tuple[bytes, str], set[int]] = {}
    expand = prg.expand

    def noted(seed: bytes, label: str, count: int, bits: int = 64) -> np.ndarray:
        sizes.setdefault((seed, label), set()).add(count)
        return expand(seed, label, count, bits)

    monkeypatch.setattr(prg, "expand", noted)
    out = tiny.run(TEXTS[:1], 16)
    names = [spec.name for spec in out.trace.specs]
    assert len(set(names)) == len(names), "two correlations have one name"
    fields = sum(
        field.source is Source.SEED
        for spec in out.trace.specs
        for role in (CLIENT, SERVER)
        for field in spec.fields(role)
    )
    weights = [label for _, label in sizes if label.startswith("weight/")]
    assert len(sizes) - len(weights) == fields, "a stream serves two fields"
    assert all(len(found) == 1 for found in sizes.values()), "one stream has two lengths"


def test_every_bit_on_the_wire_is_padding_or_balanced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds_in_order(monkeypatch)
    tiny = Tiny.load(make_tiny(tmp_path, calibrated=True, num_hidden_layers=1))
    ones: dict[Role, np.ndarray] = {}
    for _ in range(RUNS):
        out = tiny.run(TEXTS[:1], 16)
        for role in (CLIENT, SERVER):
            parts = (part for message in out.ran.sent[role] for part in message)
            bits = np.unpackbits(np.frombuffer(b"".join(parts), np.uint8)).astype(np.uint32)
            ones[role] = ones.get(role, np.zeros_like(bits)) + bits
    for role, count in ones.items():
        live = count > 0
        # What fills a word up to whole bytes is 0.
        assert live.mean() > 7 / 8, f"an eighth of what the {role.value} sends is constant"
        # Seven standard deviations, for some 10^6 bits.
        worst = np.abs(count[live] / RUNS - 0.5).max()
        assert worst < 7 * 0.5 / np.sqrt(RUNS), (
            f"a bit that the {role.value} sends leans by {worst} for one input"
        )
