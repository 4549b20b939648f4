"""Manifests from outside: garbage, hostile sizes, and correlations that do not fit together."""

from __future__ import annotations

import contextlib
import math
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilform.correlation import specs
from veilform.correlation.check import check_dealable
from veilform.correlation.deal import Dealing
from veilform.correlation.manifest import MOST_MANIFEST_BYTES, Manifest
from veilform.correlation.specs import AnySpec, Linear, Preshare, Term
from veilform.errors import ProtocolError
from veilform.masks import Centre, Columns, Drop, Heads, MaskRef, Row, Transpose
from veilform.models.bert.sides import ServerSide, Shape
from veilform.roles import CLIENT, DEALER, SERVER
from veilform.shapes import Abstract

LIMIT = 1 << 30
X = Preshare("x", (2, 4, 6), 40)
R = MaskRef("x")


def manifest(*of: AnySpec) -> Manifest:
    return Manifest("0" * 64, "", 1, 16, of, (8,), (8,))


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
DROPPED = MaskRef("x", (Drop(40, 12),))
VALID = (
    Linear("y", (2, 4, 8), 40, (Term(R, X.shape, "w", (6, 8)),)),
    specs.Open("y", X.shape, 40, 40, BOTH),
    specs.Open("y", X.shape, 28, 64, BOTH),
    specs.Open("y", X.shape, 40, 40, (SERVER,), R),
    specs.Open("y", X.shape, 28, 64, (SERVER,), DROPPED),
    specs.Square("y", X.shape, R, 40, 40),
    specs.Square("y", X.shape, R, 40, 64),
    specs.Product("y", X.shape, 64, R, R, None, 40),
    specs.Product("y", X.shape, 30, R, R, 40, 40),
    specs.MatMul("y", (2, 4, 4), 40, 6, R, MaskRef("x", (Transpose(),))),
    specs.Lookup("y", 48, 4, R),
    specs.Curve("y", 48, 40, 20, 64, R),
    specs.Compare("y", 48, 39, R),
    specs.Compare("y", 48, 64, R),
    specs.Bit("y", X.shape, 40, R),
    specs.Bit("y", X.shape, 1),
    specs.Harmonics("y", X.shape, R, 14, (1, 3), 13, 30),
    specs.Difference("y", X.shape, 40, R, R, R, 30, None, 20),
    specs.Inner("y", X.shape, 40, R, R, None, 20),
)
NUMBERS = st.integers(-2, 9) | st.sampled_from([64, 65, 2**31, 2**62, -(2**63), 2**64 - 1])
GARBAGE = NUMBERS | st.lists(NUMBERS, max_size=4) | st.text(max_size=3) | st.none()


@pytest.mark.parametrize("spec", VALID, ids=lambda spec: type(spec).__name__)
def test_what_fits_is_dealt(spec: AnySpec) -> None:
    check_dealable(manifest(X, spec))


def test_what_is_made_of_a_bit_is_dealt() -> None:
    bit = specs.Bit("b", X.shape, 40, R)
    for width in (None, 40):
        chosen = specs.Choose("y", X.shape, 64, MaskRef("b"), R, width)
        check_dealable(manifest(X, bit, specs.Convert("z", X.shape, 20, MaskRef("b")), chosen))


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
    real = bytearray(manifest(X, specs.Open("y", X.shape, 28, 64, (SERVER,), DROPPED)).encode())
    at = data.draw(st.integers(0, len(real) - 1))
    real[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ProtocolError):
        decoded = Manifest.decode(bytes(real))
        decoded.check_size(LIMIT)
        check_dealable(decoded)


def test_a_manifest_of_another_version_or_too_many_bytes() -> None:
    content = msgspec.to_builtins(manifest(X)) | {"version": 1}
    with pytest.raises(ProtocolError, match="version 1; this program speaks 2"):
        Manifest.decode(msgspec.msgpack.encode(content))
    with pytest.raises(ProtocolError, match="over the limit"):
        Manifest.decode(bytes(MOST_MANIFEST_BYTES + 1))


@pytest.mark.parametrize(
    "shape",
    [(2**40,), (2**20, 2**20), (2**62, 2**62), (0, 2**20), (0,), (-1,), (-1, -1), (1,) * 9],
)
def test_hostile_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ProtocolError, match="the manifest"):
        manifest(Preshare("x", shape, 64)).check_size(LIMIT)


@pytest.mark.parametrize("shape", [(2**40,), (2**20, 2**20), (0,), (-1,), (1,) * 9])
def test_hostile_shapes_without_a_field(shape: tuple[int, ...]) -> None:
    with pytest.raises(ProtocolError, match="the manifest"):
        manifest(specs.Open("x", shape, 40, 40, ())).check_size(LIMIT)


def test_many_arrays_that_are_each_small_enough() -> None:
    many = [Preshare(f"x{i}", (LIMIT // 8 - 1,), 64) for i in range(9)]
    with pytest.raises(ProtocolError, match="more than"):
        manifest(*many).check_size(LIMIT)


def test_a_stock_counts_by_its_bytes_and_the_dealer_by_words() -> None:
    """Comparisons hold many bytes that are bits: dealing them takes 8 bytes each."""
    made = manifest(X, *(specs.Compare(f"y{i}", 48, 39, R) for i in range(3)))
    held = [sum(f.nbytes for s in made.specs for f in s.fields(role)) for role in BOTH]
    one = [field for role in BOTH for field in made.specs[-1].fields(role)]
    at_once = 8 * sum(math.prod(field.shape) for field in one)
    assert 2 * at_once < sum(held)
    made.check_size(max(held) + 8 * math.prod(X.shape))
    with pytest.raises(ProtocolError, match=f"more than {min(held) - 1} bytes"):
        made.check_size(min(held) - 1)
    alone = manifest(X, specs.Compare("y", 48, 39, R))
    with pytest.raises(ProtocolError, match="shorter texts"):
        alone.check_size(at_once - 1)


def test_a_product_over_very_many_axes_is_not_computed() -> None:
    start = time.monotonic()
    with pytest.raises(ProtocolError, match="impossible field"):
        manifest(Preshare("x", (2**62,) * 500_000, 64)).check_size(LIMIT)
    term = Term(R, (2**62,) * 500_000, "w", (6, 2**62))
    with pytest.raises(ProtocolError, match="does not fit together"):
        check_dealable(manifest(X, Linear("y", (2, 4, 6), 40, (term,))))
    assert time.monotonic() - start < 2


def linear(shape: tuple[int, ...], weight: tuple[int, ...]) -> Linear:
    return Linear("y", shape, 40, (Term(R, X.shape, "w", weight),))


@pytest.mark.parametrize(
    "spec",
    [
        Preshare("x", (1,), 40),
        Preshare("y", X.shape, 0),
        Preshare("y", X.shape, 65),
        Preshare("y", X.shape, -1),
        Linear("y", X.shape, 40, ()),
        linear((2, 4, 8), (5, 8)),
        linear((2, 4, 9), (6, 8)),
        linear((2, 4, 6), ()),
        linear((2, 4, 6), (6, 6, 6)),
        Linear("y", (8, 6), 40, (Term(R, (8, 6), "w", (6, 6)),)),
        Linear("y", (2, 4, 8), 0, (Term(R, X.shape, "w", (6, 8)),)),
        Linear("y", (2, 4, 8), 65, (Term(R, X.shape, "w", (6, 8)),)),
        specs.Open("y", X.shape, 65, 65, BOTH),
        specs.Open("y", X.shape, 40, 65, BOTH),
        specs.Open("y", X.shape, 40, 39, BOTH),
        specs.Open("y", X.shape, 0, 40, BOTH),
        specs.Open("y", X.shape, -1, 40, BOTH),
        specs.Open("y", X.shape, 0, 0, BOTH),
        specs.Open("y", X.shape, 40, 40, (CLIENT, CLIENT)),
        specs.Open("y", X.shape, 40, 40, (DEALER,)),
        specs.Open("y", X.shape, 40, 40, (SERVER, CLIENT)),
        specs.Open("y", X.shape, 40, 40, ()),
        specs.Open("y", X.shape, 40, 40, (), R),
        specs.Open("y", X.shape, 40, 40, (CLIENT,), R),
        specs.Open("y", X.shape, 40, 40, BOTH, R),
        specs.Open("y", (1,), 40, 40, (SERVER,), R),
        specs.Open("y", X.shape, 40, 40, (SERVER,), MaskRef("unknown")),
        specs.Square("y", (2,), R, 40, 40),
        specs.Square("y", X.shape, R, 0, 40),
        specs.Square("y", X.shape, R, -1, 40),
        specs.Square("y", X.shape, R, 41, 40),
        specs.Square("y", X.shape, R, 40, 65),
        specs.Product("y", (2, 4, 5), 40, R, R, None, None),
        specs.Product("y", X.shape, 65, R, R, None, None),
        specs.Product("y", X.shape, 0, R, R, None, None),
        specs.Product("y", X.shape, 40, R, R, 65, None),
        specs.Product("y", X.shape, 40, R, R, None, 0),
        specs.Product("y", X.shape, 40, R, R, -1, None),
        specs.MatMul("y", (2, 4, 4), 40, 5, R, R),
        specs.MatMul("y", (2, 4, 6), 40, 6, R, R),
        specs.MatMul("y", (2, 4, 4), 0, 6, R, MaskRef("x", (Transpose(),))),
        specs.MatMul("y", (2, 4, 4), 65, 6, R, MaskRef("x", (Transpose(),))),
        specs.Lookup("y", 47, 4, R),
        specs.Lookup("y", 48, 0, R),
        specs.Lookup("y", 48, 41, R),
        specs.Lookup("y", 48, 4, R, None, 5),
        specs.Lookup("y", 48, 4, R, None, 0),
        specs.Lookup("y", 48, 4, R, MaskRef("unknown")),
        specs.Curve("y", 47, 40, 20, 64, R),
        specs.Curve("y", 48, 40, 40, 64, R),
        specs.Curve("y", 48, 40, -1, 64, R),
        specs.Curve("y", 48, 65, 30, 64, R),
        specs.Curve("y", 48, 64, 23, 64, R),
        specs.Curve("y", 48, 40, 20, 65, R),
        specs.Curve("y", 48, 40, 20, 64, MaskRef("unknown")),
        specs.Compare("y", 47, 39, R),
        specs.Compare("y", 48, 0, R),
        specs.Compare("y", 48, 65, R),
        specs.Compare("y", 48, -1, R),
        specs.Compare("y", 48, 39, MaskRef("unknown")),
        specs.Bit("y", (2, 4, 5), 40, R),
        specs.Bit("y", X.shape, 0, R),
        specs.Bit("y", X.shape, 65, R),
        specs.Bit("y", X.shape, 40, MaskRef("unknown")),
        specs.Convert("y", (2, 4, 5), 20, R),
        specs.Convert("y", X.shape, 65, R),
        specs.Convert("y", X.shape, 20, MaskRef("unknown")),
        specs.Choose("y", (2, 4, 5), 40, R, R, None),
        specs.Choose("y", X.shape, 65, R, R, None),
        specs.Choose("y", X.shape, 40, R, R, 0),
        specs.Choose("y", X.shape, 40, R, R, 65),
        specs.Choose("y", X.shape, 40, R, MaskRef("x", (Columns(0, 2),)), None),
        specs.Choose("y", X.shape, 40, MaskRef("unknown"), R, None),
        specs.Difference("y", (2,), 40, R, R, R, None, None, None),
        specs.Difference("y", X.shape, 40, R, R, MaskRef("unknown"), None, None, None),
        specs.Difference("y", X.shape, 40, R, R, R, None, None, 0),
        specs.Difference("y", X.shape, 65, R, R, R, None, None, None),
        specs.Inner("y", (2,), 40, R, R, None, None),
        specs.Inner("y", X.shape, 40, R, R, 65, None),
        specs.Inner("y", X.shape, 0, R, R, None, None),
        specs.Harmonics("y", (2,), R, 14, (1, 3), 13, 30),
        specs.Harmonics("y", X.shape, R, 33, (1, 3), 13, 30),
        specs.Harmonics("y", X.shape, R, 0, (1, 3), 13, 30),
        specs.Harmonics("y", X.shape, R, 14, (1, 1), 13, 30),
        specs.Harmonics("y", X.shape, R, 14, (0, 1), 13, 30),
        specs.Harmonics("y", X.shape, R, 14, (2**16 + 1,), 13, 30),
        specs.Harmonics("y", X.shape, R, 14, (1, 3), 1, 30),
        specs.Harmonics("y", X.shape, R, 14, (1, 3), 31, 30),
        specs.Harmonics("y", X.shape, MaskRef("unknown"), 14, (1, 3), 13, 30),
        specs.Square("y", X.shape, MaskRef("x", (Heads(0),)), 40, 40),
        specs.Square("y", (2, -2, 4, -3), MaskRef("x", (Heads(-2),)), 40, 40),
        specs.Square("y", X.shape, MaskRef("x", (Heads(5),)), 40, 40),
        specs.Square("y", X.shape, MaskRef("x", (Row(9),)), 40, 40),
        specs.Square("y", X.shape, MaskRef("x", (Centre(),) * 9), 40, 40),
        *(
            specs.Open("y", X.shape, 28, 28, (SERVER,), MaskRef("x", (Drop(*drop),)))
            for drop in [(40, 40), (40, 41), (40, -1), (65, 12), (0, 0), (-1, -2), (2**40, 1)]
        ),
    ],
)
def test_correlations_that_do_not_fit(spec: AnySpec) -> None:
    with pytest.raises(ProtocolError, match="the manifest does not fit together"):
        check_dealable(manifest(X, spec))


@pytest.mark.parametrize("shape", [(2, -2, -6), (-2, -12), (-1, -1), (-1, 2, -6), (5, -1), (-1, 0)])
def test_no_array_has_an_axis_below_one(shape: tuple[int, ...]) -> None:
    assert Abstract((2, 12)).reshape(-1, 6).shape == (4, 6)
    with pytest.raises((ValueError, ZeroDivisionError)):
        Abstract((2, 12)).reshape(*shape)


def test_too_much_work_for_little_memory() -> None:
    wide = Preshare("wide", (2**13, 2**20), 64)
    made = manifest(
        wide,
        specs.Open("o", wide.shape, 64, 64, BOTH),
        specs.Open("p", (2**20, 2**13), 64, 64, BOTH),
        specs.MatMul("y", (2**13, 2**13), 64, 2**20, MaskRef("o"), MaskRef("p")),
    )
    with pytest.raises(ProtocolError, match="too much work"):
        check_dealable(made)


def test_too_much_work_to_see_masks() -> None:
    """A large mask takes its bytes once, and its size in work whenever it is seen."""
    large = Preshare("x", (2**29,), 64)
    seen = MaskRef("x", (*[Centre()] * 7, Columns(0, 1)))
    opens = [specs.Open(f"y{i}", (1,), 40, 40, (SERVER,), seen) for i in range(3000)]
    check_dealable(manifest(large, *opens[:400]))
    made = manifest(large, *opens)
    made.check_size(8 << 30)
    with pytest.raises(ProtocolError, match="too much work"):
        check_dealable(made)


def test_the_masks_held_at_a_time() -> None:
    """As many as dealing holds: from where each is made to the last that speaks of it."""
    first, unused, second = (Preshare(name, (2, 3), 40) for name in "abc")
    made = manifest(
        first,
        unused,
        specs.Open("d", (2, 3), 40, 40, (SERVER,), MaskRef("a")),
        second,
        specs.Square("e", (2, 3), MaskRef("c"), 40, 40),
        specs.Square("f", (2, 3), MaskRef("d"), 40, 40),
        Preshare("g", (9, 9), 40),
        *[specs.Preshare(f"h{i}", (5,), 40) for i in range(3)],
        *[specs.Square(f"i{i}", (5,), MaskRef(f"h{i}"), 40, 40) for i in range(3)],
    )
    dealing = Dealing(made, {CLIENT: bytes(16), SERVER: bytes(16)}, {})
    assert check_dealable(made) == 8 * max(dealing._masks.words for _ in dealing.run()) == 8 * 15
    assert check_dealable(msgspec.structs.replace(made, specs=made.specs[:-6])) == 8 * 12


@pytest.mark.parametrize("bits", [-1, 0, 65, 2**40])
def test_words_of_no_size(bits: int) -> None:
    with pytest.raises(ProtocolError, match="impossible field"):
        manifest(Preshare("x", (3,), bits)).check_size(LIMIT)


def test_a_changed_copy_has_a_digest_of_its_own() -> None:
    first = manifest()
    before = first.digest
    other = msgspec.structs.replace(first, model="1" * 64)
    assert other.digest != before == first.digest
    assert Manifest.decode(other.encode()) == other
