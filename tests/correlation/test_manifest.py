"""Manifests from outside: garbage, hostile sizes, and correlations that do not fit together."""

from __future__ import annotations

import contextlib
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilform.correlation import specs
from veilform.correlation.check import check_dealable
from veilform.correlation.manifest import MOST_MANIFEST_BYTES, Manifest
from veilform.correlation.specs import AnySpec, Linear, Preshare, Term, Truncate
from veilform.errors import ProtocolError
from veilform.masks import Centre, Heads, MaskRef, Row, Transpose
from veilform.models.bert.sides import ServerSide, Shape
from veilform.roles import CLIENT, DEALER, SERVER

LIMIT = 1 << 30
X = Preshare("x", (2, 4, 6))
R = MaskRef("x")


def manifest(*of: AnySpec, ring_bits: int = 64) -> Manifest:
    return Manifest("0" * 64, "", ring_bits, 1, 16, of, (8,), (8,))


def test_a_real_manifest_comes_through_and_can_be_dealt(tiny_side: ServerSide) -> None:
    for shape in (Shape(1, 16), Shape(3, 32)):
        made = tiny_side.manifest(shape, "0" * 32)
        again = Manifest.decode(made.encode())
        assert again == made
        assert again.digest == made.digest
        made.check_size(LIMIT)
        check_dealable(made)


@settings(derandomize=True, deadline=None, database=None, max_examples=200)
@given(st.binary(max_size=200))
def test_garbage_is_no_manifest(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Manifest.decode(data)


BOTH = (CLIENT, SERVER)
VALID = (
    Linear("y", (2, 4, 8), (Term(R, X.shape, "w", (6, 8)),)),
    Truncate("y", X.shape, R, 8),
    specs.Open("y", X.shape, 64, 8, BOTH),
    specs.Open("y", X.shape, 64, 8, (SERVER,), R),
    specs.Square("y", X.shape, R, 0),
    specs.Product("y", X.shape, R, R, 0, 8),
    specs.MatMul("y", (2, 4, 4), 6, R, MaskRef("x", (Transpose(),))),
    specs.Lookup("y", 48, 4, R),
)
NUMBERS = st.integers(-2, 9) | st.sampled_from([64, 65, 2**31, 2**62, -(2**63), 2**64 - 1])
GARBAGE = NUMBERS | st.lists(NUMBERS, max_size=4) | st.text(max_size=3) | st.none()


@pytest.mark.parametrize("spec", VALID, ids=lambda spec: type(spec).__name__)
def test_what_fits_is_dealt(spec: AnySpec) -> None:
    check_dealable(manifest(X, spec))


@pytest.mark.parametrize("spec", VALID, ids=lambda spec: type(spec).__name__)
@settings(derandomize=True, deadline=None, database=None, max_examples=40)
@given(data=st.data())
def test_garbage_in_the_right_places(spec: AnySpec, data: st.DataObject) -> None:
    """It is refused as no manifest, or as one that cannot be dealt; nothing else happens."""
    content = msgspec.to_builtins(spec)
    for field in data.draw(st.sets(st.sampled_from(sorted(content)), min_size=1, max_size=2)):
        content[field] = data.draw(GARBAGE)
    whole = msgspec.to_builtins(manifest(X))
    whole["specs"] = [*whole["specs"], content]
    with contextlib.suppress(ProtocolError):
        decoded = Manifest.decode(msgspec.msgpack.encode(whole))
        decoded.check_size(LIMIT)
        check_dealable(decoded)


@settings(derandomize=True, deadline=None, database=None, max_examples=60)
@given(st.data())
def test_a_changed_byte_is_refused_or_harmless(data: st.DataObject) -> None:
    real = bytearray(manifest(X, Truncate("y", X.shape, R, 8)).encode())
    at = data.draw(st.integers(0, len(real) - 1))
    real[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ProtocolError):
        decoded = Manifest.decode(bytes(real))
        decoded.check_size(LIMIT)
        check_dealable(decoded)


def test_a_manifest_of_another_version_or_too_many_bytes() -> None:
    content = msgspec.to_builtins(manifest(X)) | {"version": 2}
    with pytest.raises(ProtocolError, match="version 2; this program speaks 1"):
        Manifest.decode(msgspec.msgpack.encode(content))
    with pytest.raises(ProtocolError, match="over the limit"):
        Manifest.decode(bytes(MOST_MANIFEST_BYTES + 1))


@pytest.mark.parametrize(
    "shape",
    [(2**40,), (2**20, 2**20), (2**62, 2**62), (0, 2**20), (0,), (-1,), (-1, -1), (1,) * 9],
)
def test_hostile_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ProtocolError, match="the manifest"):
        manifest(Preshare("x", shape)).check_size(LIMIT)


def test_many_arrays_that_are_each_small_enough() -> None:
    many = [Preshare(f"x{i}", (LIMIT // 8 - 1,)) for i in range(9)]
    with pytest.raises(ProtocolError, match="more than"):
        manifest(*many).check_size(LIMIT)


def test_a_product_over_very_many_axes_is_not_computed() -> None:
    start = time.monotonic()
    with pytest.raises(ProtocolError, match="impossible field"):
        manifest(Preshare("x", (2**62,) * 500_000)).check_size(LIMIT)
    term = Term(R, (2**62,) * 500_000, "w", (6, 2**62))
    with pytest.raises(ProtocolError, match="does not fit together"):
        check_dealable(manifest(X, Linear("y", (2, 4, 6), (term,))))
    assert time.monotonic() - start < 2


def linear(shape: tuple[int, ...], weight: tuple[int, ...]) -> Linear:
    return Linear("y", shape, (Term(R, X.shape, "w", weight),))


@pytest.mark.parametrize(
    "spec",
    [
        Preshare("x", (1,)),
        Truncate("y", X.shape, MaskRef("unknown"), 8),
        Truncate("y", (2, 4, 5), R, 8),
        Truncate("y", X.shape, R, 0),
        Truncate("y", X.shape, R, 64),
        Truncate("y", X.shape, R, -1),
        Linear("y", X.shape, ()),
        linear((2, 4, 8), (5, 8)),
        linear((2, 4, 9), (6, 8)),
        linear((2, 4, 6), ()),
        linear((2, 4, 6), (6, 6, 6)),
        Linear("y", (8, 6), (Term(R, (8, 6), "w", (6, 6)),)),
        specs.Open("y", X.shape, 65, 0, BOTH),
        specs.Open("y", X.shape, 64, 64, BOTH),
        specs.Open("y", X.shape, 64, 8, (CLIENT, CLIENT)),
        specs.Open("y", X.shape, 64, 8, (DEALER,)),
        specs.Open("y", (1,), 64, 8, (SERVER,), R),
        specs.Square("y", (2,), R, 0),
        specs.Square("y", X.shape, R, -1),
        specs.Product("y", (2, 4, 5), R, R, 0, 0),
        specs.Product("y", X.shape, R, R, 64, 0),
        specs.MatMul("y", (2, 4, 4), 5, R, R),
        specs.MatMul("y", (2, 4, 6), 6, R, R),
        specs.Lookup("y", 47, 4, R),
        specs.Lookup("y", 48, 0, R),
        specs.Lookup("y", 48, 40, R),
        specs.Lookup("y", 48, 4, R, MaskRef("unknown")),
        specs.Square("y", X.shape, MaskRef("x", (Heads(0),)), 0),
        specs.Square("y", X.shape, MaskRef("x", (Heads(5),)), 0),
        specs.Square("y", X.shape, MaskRef("x", (Row(9),)), 0),
        specs.Square("y", X.shape, MaskRef("x", (Centre(),) * 9), 0),
    ],
)
def test_correlations_that_do_not_fit(spec: AnySpec) -> None:
    with pytest.raises(ProtocolError, match="the manifest does not fit together"):
        check_dealable(manifest(X, spec))


def test_too_much_work_for_little_memory() -> None:
    wide = Preshare("wide", (2**13, 2**20))
    made = manifest(
        wide,
        specs.Open("o", wide.shape, 64, 0, BOTH),
        specs.Open("p", (2**20, 2**13), 64, 0, BOTH),
        specs.MatMul("y", (2**13, 2**13), 2**20, MaskRef("o"), MaskRef("p")),
    )
    with pytest.raises(ProtocolError, match="too much work"):
        check_dealable(made)


@pytest.mark.parametrize("bits", [-1, 0, 1, 65, 2**40])
def test_another_ring(bits: int) -> None:
    with pytest.raises(ProtocolError, match="ring"):
        check_dealable(manifest(X, ring_bits=bits))
