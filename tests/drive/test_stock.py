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
from veilform.protocol.opening import open_value
from veilform.protocol.share import preshare
from veilform.protocol.truncate import truncate
from veilform.roles import CLIENT, SERVER, Role
from veilform.shapes import Abstract
from veilform.values import Additive


def program(me):
    x = yield from preshare(me, Additive(Abstract((3,))))
    x = yield from truncate(me, x, 12)
    return (yield from open_value(me, x, 4))


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
            assert set(taken) == {f.name for f in spec.fields(role, 64)}
            for field in spec.fields(role, 64):
                assert taken[field.name].shape == field.shape
                assert not (taken[field.name] >> np.uint64(field.bits - 1) >> np.uint64(1)).any()
    for role in (CLIENT, SERVER):
        with pytest.raises(StockError, match="used up"):
            stocks[role].take(manifest.specs[0])


def test_out_of_order(stocks: dict[Role, Stock], manifest: Manifest) -> None:
    with pytest.raises(StockError, match="truncate:0 where the stock has preshare:0"):
        stocks[CLIENT].take(manifest.specs[1])


def test_a_refused_part_is_gone(stocks: dict[Role, Stock], manifest: Manifest) -> None:
    """A run that failed on a correlation cannot come back for it under a second value."""
    with pytest.raises(StockError):
        stocks[SERVER].take(manifest.specs[1])
    with pytest.raises(StockError):
        stocks[SERVER].take(manifest.specs[0])


def test_another_shape(stocks: dict[Role, Stock]) -> None:
    with pytest.raises(StockError, match="do not belong together"):
        stocks[CLIENT].take(specs.Preshare("preshare:0", (4,)))


@pytest.mark.parametrize("role", [CLIENT, SERVER])
@pytest.mark.parametrize("change", [-1, 1, 8])
def test_damaged_sizes(manifest: Manifest, role: Role, change: int) -> None:
    size = manifest.dealt_bytes(role)
    if size + change < 0:
        return
    with pytest.raises(StockError, match="damaged"):
        cut(manifest, role, bytes(size + change))


def test_corrections_of_another_size() -> None:
    linear = specs.Linear("linear:0", (2,), ())
    manifest = Manifest("test", "", 64, 1, 1, (linear,), (), ())
    cut(manifest, SERVER, bytes(16), bytes(16))
    with pytest.raises(StockError, match="correction bytes"):
        cut(manifest, SERVER, bytes(16), bytes(15))
    with pytest.raises(StockError, match="correction bytes"):
        cut(manifest, SERVER, bytes(16))


def test_a_missing_part(manifest: Manifest) -> None:
    stock = Stock(SERVER, manifest, bytes(16), [{} for _ in manifest.specs])
    stock.take(manifest.specs[0])
    taken = stock.take(manifest.specs[1])
    with pytest.raises(StockError, match="'share' of truncate:0 is missing"):
        _ = taken["share"]


def test_no_text_form_shows_content(stocks: dict[Role, Stock], manifest: Manifest) -> None:
    stock = stocks[CLIENT]
    taken = stock.take(manifest.specs[0])
    assert repr(stock) == "Stock(client, taken 1 of 3)"
    assert repr(taken) == "Material(preshare:0, fields=['mask'])"
    assert "array" not in repr(Additive(np.arange(3))), "a share shows in its text form"
    with pytest.raises(TypeError, match="truth value"):
        bool(Additive(np.arange(3)))


def test_equal_seeds_deal_equal_stocks(manifest: Manifest) -> None:
    seeds = {CLIENT: bytes(16), SERVER: bytes(range(16))}

    def dealt() -> list[bytes]:
        parts = Dealing(manifest, seeds, {}).run()
        return [b"".join(p[role]) for p in parts for role in (CLIENT, SERVER)]

    assert dealt() == dealt(), "dealing is not a function of the seeds"


def test_dealt_sharings_join() -> None:
    """m msb(r) of a truncation, q and h of an opening: the parties' fields add up to them."""
    manifest = trace(program).manifest("test", 1, 1)
    stocks = deal_stocks(manifest)
    taken = [{role: stocks[role].take(s) for role in (CLIENT, SERVER)} for s in manifest.specs]
    r = taken[0][CLIENT]["mask"]
    low = np.uint64(2**12 - 1)
    mb = (taken[1][CLIENT]["share"] + taken[1][SERVER]["share"]) & low
    assert np.array_equal(mb, taken[1][SERVER]["flip"] * (r >> np.uint64(63)))
    cut_mask = (r >> np.uint64(12)) + (taken[1][CLIENT]["kappa"] << np.uint64(52))
    rho = taken[2][SERVER]["rho"] - cut_mask
    assert np.array_equal(taken[2][CLIENT]["q"] + taken[2][SERVER]["q"], rho >> np.uint64(4)), (
        "q is not rho >> shift"
    )
    h = (taken[2][CLIENT]["h"] + taken[2][SERVER]["h"]) & np.uint64(15)
    assert np.array_equal(h, rho >> np.uint64(63)), "h is not the highest bit of rho"


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
        {"model": "other"}, {"batch": 2}, {"length": 2}, {"ring_bits": 32}, {"up": (1,)},
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
        for f in spec.fields(role, 64)
        if f.source is specs.Source.SEED
    ]
    assert len(lengths) == len(fields), "a stream serves two fields, or a field has two streams"
    assert all(len(found) == 1 for found in lengths.values()), "one stream of two lengths"
