"""Runtime models and the samples that they say themselves, without noise."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from veilform.plan.runtime import RuntimeModel, Sample

OUTPUTS = (1, 2, 4, 8, 16)

seconds = st.floats(1e-3, 1.0)


@st.composite
def models(draw: st.DrawFn, least_sizes: int = 2) -> RuntimeModel:
    sizes = draw(st.lists(st.integers(1, 2000), min_size=least_sizes, max_size=6, unique=True))
    return RuntimeModel(draw(seconds), {size: draw(seconds) for size in sizes})


def samples(model: RuntimeModel, outputs: Sequence[int] = OUTPUTS) -> list[Sample]:
    return [Sample(p, o, model.estimate(p, o)) for p in model.alpha for o in outputs]
