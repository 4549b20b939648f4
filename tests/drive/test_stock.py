"""Stocks: taken in order, once, and only what fits the manifest."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from veilform import prg
from veilform.correlation import specs
from veilform.correlation.deal import Dealing
from veilform.correlation.manifest import Manifest
from veilform.correlation.masks import corrections
from veilform.correlation.stock import Stock, cut
from veilform.drive.lockstep import deal_stocks
from veilform.drive.trace import trace
from veilform.errors import ProtocolError, StockError
from veilform.protocol.compare import at_least, choose
from veilform.protocol.multiply import square
from veilform.protocol.opening import open_value
from veilform.protocol.share import preshare
from veilform.protocol.truncate import drop
from veilform.roles import CLIENT, SERVER, Role
from veilform.shapes import Abstract
from veilform.values import Additive


def program(me):
    x = yield from preshare(me, Additive(Abstract((3,)), 40))
    opened = yield from open_value(me, drop(me, x, 12), 32)
    return (yield from square(me, opened))


@pytest.fixture
def manifest() -> Manifest:
    return trace(program).manifest("test", 1, 1)


@pytest.fixture
def stocks(manifest: Manifest) -> dict[Role, Stock]:
    return deal_stocks(manifest)


def test_in_order_and_once(stocks: dict[Role, Stock], manifest: Manifest) -> None:
    for spec in manifest.specs:
        for role in (CLIENT, SERVER):
            taken = stocks[role].take(spec)
            assert set(taken) == {f.name for f in spec.fields(role)}
            for field in spec.fields(role):
                assert taken[field.name].shape == field.shape
                assert not (taken[field.name] >> np.uint64(field.bits - 1) >> np.uint64(1)).any()
    for role in (CLIENT, SERVER):
        with pytest.raises(StockError, match="used up"):
            stocks[role].take(manifest.specs[0])


def test_out_of_order(stocks: dict[Role, Stock], manifest: Manifest) -> None:
    with pytest.raises(StockError, match="open:0 where the stock has preshare:0"):
        stocks[CLIENT].take(manifest.specs[1])


def test_a_refused_part_is_gone(stocks: dict[Role, Stock], manifest: Manifest) -> None:
    """A run that failed on a correlation cannot come back for it under a second value."""
    with pytest.raises(StockError):
        stocks[SERVER].take(manifest.specs[1])
    with pytest.raises(StockError):
        stocks[SERVER].take(manifest.specs[0])


def test_another_shape(stocks: dict[Role, Stock]) -> None:
    with pytest.raises(StockError, match="do not belong together"):
        stocks[CLIENT].take(specs.Preshare("preshare:0", (4,), 40))


@pytest.mark.parametrize("role", [CLIENT, SERVER])
@pytest.mark.parametrize("change", [-1, 1, 8])
def test_damaged_sizes(manifest: Manifest, role: Role, change: int) -> None:
    size = manifest.dealt_bytes(role)
    if size + change < 0:
        return
    with pytest.raises(StockError, match="damaged"):
        cut(manifest, role, bytes(size + change))


def test_corrections_of_another_size() -> None:
    linear = specs.Linear("linear:0", (2,), 60, ())
    manifest = Manifest("test", "", 1, 1, (linear,), (), ())
    cut(manifest, SERVER, bytes(16), bytes(16))
    with pytest.raises(StockError, match="correction bytes"):
        cut(manifest, SERVER, bytes(16), bytes(15))
    with pytest.raises(StockError, match="correction bytes"):
        cut(manifest, SERVER, bytes(16))


def test_a_missing_part(manifest: Manifest) -> None:
    stock = Stock(SERVER, manifest, bytes(16), [{} for _ in manifest.specs])
    stock.take(manifest.specs[0])
    taken = stock.take(manifest.specs[1])
    with pytest.raises(StockError, match="'q' of open:0 is missing"):
        _ = taken["q"]


def test_no_text_form_shows_content(stocks: dict[Role, Stock], manifest: Manifest) -> None:
    stock = stocks[CLIENT]
    taken = stock.take(manifest.specs[0])
    assert repr(stock) == "Stock(client, taken 1 of 3)"
    assert repr(taken) == "Material(preshare:0, fields=['mask'])"
    assert "array" not in repr(Additive(np.arange(3), 64)), "a share shows in its text form"
    with pytest.raises(TypeError, match="truth value"):
        bool(Additive(np.arange(3), 64))


def test_equal_seeds_deal_equal_stocks(manifest: Manifest) -> None:
    seeds = {CLIENT: bytes(16), SERVER: bytes(range(16))}

    def dealt() -> list[bytes]:
        parts = Dealing(manifest, seeds, {}).run()
        return [b"".join(p[role]) for p in parts for role in (CLIENT, SERVER)]

    assert dealt() == dealt(), "dealing is not a function of the seeds"


def test_dealt_sharings_join() -> None:
    """q and h of a lifted opening, and their products: the parties' fields add up to them."""
    manifest = trace(program).manifest("test", 1, 1)
    stocks = deal_stocks(manifest)
    taken = [{role: stocks[role].take(s) for role in (CLIENT, SERVER)} for s in manifest.specs]

    def joined(index: int, name: str, bits: int) -> np.ndarray:
        ours, theirs = (taken[index][role][name] for role in (CLIENT, SERVER))
        return (ours + theirs) & np.uint64((1 << bits) - 1)

    dropped = taken[0][CLIENT]["mask"] >> np.uint64(12)
    rho = (taken[1][SERVER]["rho"] - dropped) & np.uint64(2**28 - 1)
    high = rho >> np.uint64(27)
    assert "rho" not in taken[1][CLIENT], "the client has a mask in what it does not send"
    assert np.array_equal(joined(1, "q", 32), rho), "q is not rho as an integer"
    assert np.array_equal(joined(1, "h", 4), high), "h is not the highest bit of rho"
    assert np.array_equal(joined(2, "qq", 32), rho * rho & np.uint64(2**32 - 1)), "q q is wrong"
    assert np.array_equal(joined(2, "qh", 4), rho * high & np.uint64(15)), "q h is wrong"


def compared(me):
    opened = yield from open_value(me, Additive(Abstract((3,)), 20), 32)
    (positive,) = yield from at_least(me, opened)
    return (yield from choose(me, positive, opened))


def test_dealt_bits_join() -> None:
    """The mask of a bit is both flips and the mask's sign; its products with q and h are shared."""
    manifest = trace(compared).manifest("test", 1, 1)
    stocks = deal_stocks(manifest)
    opened, keys, bit, chosen = (
        {role: stocks[role].take(spec) for role in (CLIENT, SERVER)} for spec in manifest.specs
    )

    def joined(of: dict, name: str, bits: int) -> np.ndarray:
        return (of[CLIENT][name] + of[SERVER][name]) & np.uint64((1 << bits) - 1)

    rho, high = joined(opened, "q", 32), joined(opened, "h", 12)
    m = bit[CLIENT]["flip"] ^ bit[SERVER]["flip"] ^ high
    assert np.array_equal(joined(chosen, "m", 32), m), "m is not the flips and the sign"
    assert np.array_equal(joined(chosen, "mq", 32), m * rho), "m q is wrong"
    assert np.array_equal(joined(chosen, "mh", 12), m * high), "m h is wrong"
    ours, theirs = keys[CLIENT], keys[SERVER]
    assert not np.array_equal(ours["key"], theirs["key"]), "the parties have one root"
    for name in ("blocks", "right_bits"):
        assert np.array_equal(ours[name], theirs[name]), "correction words differ"


def test_a_comparison_s_key_cut_short() -> None:
    manifest = trace(compared).manifest("test", 1, 1)
    for role in (CLIENT, SERVER):
        with pytest.raises(StockError, match="damaged"):
            cut(manifest, role, bytes(manifest.dealt_bytes(role) - 1))


def test_corrections_come_from_the_client_alone(manifest: Manifest) -> None:
    assert list(corrections(manifest, bytes(16), {})) == [], "no linear layer, no correction"


# --- Manifests -----------------------------------------------------------------------------------


def test_a_manifest_survives_the_wire(manifest: Manifest) -> None:
    again = Manifest.decode(manifest.encode())
    assert again == manifest
    assert again.digest == manifest.digest


@pytest.mark.parametrize("content", [b"", b"\x00", b"\xc1" * 9, b"{}"])
def test_no_manifest(content: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a manifest"):
        Manifest.decode(content)


def test_a_manifest_s_digest_tells_everything_apart(manifest: Manifest) -> None:
    seen = {manifest.digest}
    for change in (
        {"model": "other"}, {"batch": 2}, {"length": 2}, {"weights": "0"}, {"up": (1,)},
        {"down": ()}, {"specs": manifest.specs[:2]}, {"specs": manifest.specs[::-1]},
    ):  # fmt: skip
        seen.add(msgspec.structs.replace(manifest, **change).digest)
    assert len(seen) == 9, "two manifests have one digest"


def test_every_stream_of_a_run_has_a_label_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Client, server and dealer expand a (seed, label) for one field of one spec only."""
    manifest = trace(program).manifest("test", 1, 1)
    lengths: dict[tuple[bytes, str], set[int]] = {}
    expand = prg.expand

    def noted(seed: bytes, label: str, count: int, bits: int = 64):
        lengths.setdefault((seed, label), set()).add(count)
        return expand(seed, label, count, bits)

    monkeypatch.setattr(prg, "expand", noted)
    stocks = deal_stocks(manifest)
    for spec in manifest.specs:
        for role in (CLIENT, SERVER):
            for _ in stocks[role].take(spec).values():
                pass
    fields = [
        (spec.name, f.name)
        for spec in manifest.specs
        for role in (CLIENT, SERVER)
        for f in spec.fields(role)
        if f.source is specs.Source.SEED
    ]
    assert len(lengths) == len(fields), "a stream serves two fields, or a field has two streams"
    assert all(len(found) == 1 for found in lengths.values()), "one stream of two lengths"
