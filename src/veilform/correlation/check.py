"""Whether a manifest from outside can be dealt at all: every mask exists, every shape fits.

A client sends its manifest to the dealer. The dealer runs this before it makes an array, so that
what it will hold and compute follows from the declared shapes, which `Manifest.check_size` bounds.
"""

from __future__ import annotations

import math

import numpy as np

from veilform.correlation.manifest import Manifest
from veilform.correlation.masks import MaskTable, references
from veilform.correlation.specs import (
    AnySpec,
    Bit,
    Choose,
    Compare,
    Convert,
    Curve,
    Difference,
    Harmonics,
    Inner,
    Linear,
    Lookup,
    MatMul,
    Open,
    Preshare,
    Product,
    Square,
    Term,
)
from veilform.errors import ProtocolError
from veilform.kernels import MOST_ORDER, MOST_PERIOD_BITS, MOST_TREE_BITS
from veilform.masks import (
    AnyView,
    Drop,
    Heads,
    MaskRef,
    Patches,
    Spread,
    SumPool,
    Tap,
    Upsampled,
)
from veilform.ring import WORD
from veilform.roles import CLIENT, SERVER
from veilform.shapes import Abstract
from veilform.winograd import KERNEL

MOST_MULTIPLY_ADDS = 1 << 44
MOST_VIEWS = 8
MOST_WINDOW = 16
_VIEW_WORK = 8
"""Multiply-adds that a view of a mask counts for, by the word; so does the mask's use itself."""
_SENDERS = ((CLIENT, SERVER), (CLIENT,), (SERVER,))

Shape = tuple[int, ...]


def check_dealable(manifest: Manifest) -> int:
    """Deals with shapes alone; the most bytes of masks that dealing will hold at a time.

    Raises:
        ProtocolError: a mask is missing or named twice, shapes do not fit together, a shift is
            outside the ring, or the whole is too much work.
    """
    masks: MaskTable[Abstract] = MaskTable(manifest.specs)
    names: set[str] = set()
    work = peak = 0
    for index, spec in enumerate(manifest.specs):
        try:
            fits = spec.name not in names and _fits(spec, masks)
            work += _work(spec, masks) if fits else 0
        except (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError, OverflowError):
            fits = False
        if not fits:
            raise ProtocolError("the manifest does not fit together; install the same release")
        if work > MOST_MULTIPLY_ADDS:
            raise ProtocolError("the manifest asks for too much work; use a smaller batch")
        names.add(spec.name)
        if isinstance(spec, (Preshare, Linear, Open, Bit)):
            masks.put(spec.name, Abstract(spec.shape))
        peak = max(peak, WORD // 8 * (masks.words + _grown(spec, masks)))
        masks.forget(index, spec)
    return peak


def _fits(spec: AnySpec, masks: MaskTable[Abstract]) -> bool:
    def seen(ref: MaskRef) -> Shape:
        return masks.get(ref).shape

    if any(not _plain(ref) for ref in references(spec)):
        return False
    if not 0 < getattr(spec, "bits", WORD) <= WORD:
        return False
    if isinstance(spec, Linear):
        return bool(spec.terms) and all(
            seen(term.mask) == term.shape
            and _seen(term) == spec.shape
            for term in spec.terms
        )  # fmt: skip
    if isinstance(spec, Open):
        known = spec.source is None or seen(spec.source) == spec.shape
        senders = _SENDERS if spec.source is None else ((SERVER,),)
        return known and spec.senders in senders and 0 < spec.width <= spec.bits
    if isinstance(spec, Square):
        return 0 < spec.width <= spec.bits and seen(spec.opened) == spec.shape
    if isinstance(spec, (Product, Inner)):
        widths = all(w is None or 0 < w <= WORD for w in (spec.a_width, spec.b_width))
        return widths and np.broadcast_shapes(seen(spec.a), seen(spec.b)) == spec.shape
    if isinstance(spec, Difference):
        lifted = (spec.a_width, spec.b_width, spec.c_width)
        shape = np.broadcast_shapes(seen(spec.a), seen(spec.b), seen(spec.c))
        return all(w is None or 0 < w <= WORD for w in lifted) and shape == spec.shape
    if isinstance(spec, MatMul):
        a, b = seen(spec.a), seen(spec.b)
        wide = np.broadcast_shapes(a[:-2], b[:-2]) == a[:-2]
        joined = a[-1] == b[-2] == spec.inner
        return wide and joined and (*a[:-1], b[-1]) == spec.shape
    if isinstance(spec, Lookup):
        of_payload = spec.count if spec.payload is None else math.prod(seen(spec.payload))
        counts = spec.count == math.prod(seen(spec.index)) == of_payload
        return counts and 0 < spec.levels <= spec.bits <= MOST_TREE_BITS
    if isinstance(spec, Curve):
        fits = 0 <= spec.low < spec.width <= WORD and spec.width - spec.low <= MOST_TREE_BITS
        return fits and spec.count == math.prod(seen(spec.opened))
    if isinstance(spec, Compare):
        return spec.count == math.prod(seen(spec.index))
    if isinstance(spec, Bit):
        known = spec.source is None or seen(spec.source) == spec.shape
        return known and 0 < spec.width <= WORD
    if isinstance(spec, Convert):
        return seen(spec.bit) == spec.shape
    if isinstance(spec, Choose):
        width = spec.width is None or 0 < spec.width <= WORD
        return width and seen(spec.bit) == seen(spec.opened) == spec.shape
    if isinstance(spec, Harmonics):
        orders = all(0 < order <= MOST_ORDER for order in spec.orders)
        apart = len(set(spec.orders)) == len(spec.orders)
        ranges = 0 < spec.period <= MOST_PERIOD_BITS and 2 <= spec.scale <= 30
        return orders and apart and ranges and seen(spec.opened) == spec.shape
    return True


def _plain(ref: MaskRef) -> bool:
    """Few views, none that shifts by more than a word, makes no heads, or has a huge window."""
    return _small(ref.views)


def _small(views: tuple[AnyView, ...]) -> bool:
    return len(views) <= MOST_VIEWS and all(_sane(view) for view in views)


def _sane(view: AnyView) -> bool:
    if isinstance(view, Heads):
        return view.count > 0
    if isinstance(view, Drop):
        return 0 <= view.shift < view.bits <= WORD
    if isinstance(view, (Patches, Tap, SumPool)):
        fits = 0 < view.size <= MOST_WINDOW and 0 < view.stride <= MOST_WINDOW
        return fits and 0 <= view.padding < view.size
    if isinstance(view, (Upsampled, Spread)):
        return 0 < (view.factor if isinstance(view, Upsampled) else view.side) <= MOST_WINDOW
    return True


def _seen(term: Term) -> Shape | None:
    """The shape of a term as it is added up."""
    if not _multiplies(term) or not _small(term.then):
        return None
    return term.seen(Abstract(term.product)).shape


def _grown(spec: AnySpec, masks: MaskTable[Abstract]) -> int:
    """Words that views make of a mask beyond its own, and of a product before it is added up."""
    views = max((max(sizes) - sizes[0] for sizes in _all_sizes(spec, masks)), default=0)
    terms = spec.terms if isinstance(spec, Linear) else ()
    return views + max((_made(term) for term in terms), default=0)


def _all_sizes(spec: AnySpec, masks: MaskTable[Abstract]) -> list[list[int]]:
    return [_sizes(ref, masks) for ref in references(spec)]


def _made(term: Term) -> int:
    """Words of a term's tiles, its products, and what its views make of them; 0 without either."""
    x = Abstract(term.product)
    tiles = (*term.inner[:-1], term.inner[-1] + term.weight_shape[-1])
    made = (math.prod(tiles) if term.by else 0) + (x.size if term.then else 0)
    for view in term.then:
        x = view.apply(x)
        made += x.size
    return made


def _multiplies(term: Term) -> bool:
    """Rows fit a matrix, or one for each of the first axis, or a vector; images fit kernels."""
    weight = term.weight_shape
    if term.by and not (len(weight) == 3 <= len(term.shape) and 0 <= term.by.padding < KERNEL):
        return False
    shape = term.inner
    if not 1 <= len(weight) <= 3 or shape[-1] != weight[-2:][0]:
        return False
    return len(weight) < 3 or (len(shape) >= 3 and shape[0] == weight[0])


def _work(spec: AnySpec, masks: MaskTable[Abstract]) -> int:
    """In multiply-adds: the spec's own, and of seeing whole masks through each of their views."""
    seen = sum(map(sum, _all_sizes(spec, masks)))
    return _own_work(spec) + _VIEW_WORK * seen


def _sizes(ref: MaskRef, masks: MaskTable[Abstract]) -> list[int]:
    """Words of a mask, and of it through each of its views in turn: windows overlap."""
    stages = [masks.get(MaskRef(ref.name))]
    for view in ref.views:
        stages.append(view.apply(stages[-1]))
    return [stage.size for stage in stages]


def _own_work(spec: AnySpec) -> int:
    if isinstance(spec, Linear):
        work = sum(math.prod(term.inner) * term.weight_shape[-1] for term in spec.terms)
        return work + _VIEW_WORK * sum(_made(term) for term in spec.terms)
    if isinstance(spec, MatMul):
        return spec.inner * math.prod(spec.shape)
    if isinstance(spec, (Lookup, Compare)):
        return 64 * spec.count * spec.bits
    if isinstance(spec, Curve):
        return 64 * spec.count * (spec.width - spec.low)
    if isinstance(spec, Harmonics):
        return 8 * len(spec.orders) * math.prod(spec.shape)
    return 0
