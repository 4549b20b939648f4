"""A generator with a clock of its own is profiled to what it is."""

from __future__ import annotations

from itertools import cycle

import pytest

from veilform.errors import InputError
from veilform.plan.runtime import Grid, RuntimeModel, profile

GRID = Grid((1, 8, 16), (1, 2, 4), ((12, 3), (4, 2)))
MODEL = RuntimeModel(0.25, {1: 1.0, 8: 2.0, 16: 2.5})


class Simulated:
    """Takes the model's time, on its own clock; every other run is disturbed, the first slow."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[int, int]] = []
        self.noise = cycle([0.0, 0.7, 0.1])

    def generate(self, prompt_tokens: int, output_tokens: int) -> None:
        first = (prompt_tokens, output_tokens) not in self.calls
        self.calls.append((prompt_tokens, output_tokens))
        self.now += MODEL.estimate(prompt_tokens, output_tokens)
        self.now += next(self.noise) + (10.0 if first else 0.0)

    def clock(self) -> float:
        return self.now


def test_the_least_of_the_trials_is_the_model() -> None:
    system = Simulated()
    rounds: list[tuple[int, int]] = []
    found = profile(
        system.generate, GRID, trials=12, clock=system.clock,
        progress=lambda done, total: rounds.append((done, total)),
    )  # fmt: skip
    figures = found.to_json()
    assert figures["beta"] == pytest.approx(MODEL.beta)
    assert figures["alpha"] == pytest.approx({"1": 1.0, "8": 2.0, "16": 2.5})
    assert figures["held_out_error"] == pytest.approx(0, abs=1e-9)
    assert {tuple(each[:2]) for each in found.held_out} == set(GRID.held_out)
    assert len(found.samples) == 9
    assert rounds[-1] == (12, 12)


def test_warm_up_is_not_counted_and_rounds_go_forth_and_back() -> None:
    system = Simulated()
    profile(system.generate, GRID, trials=2, warmup=1, clock=system.clock)
    cells = [*GRID.cells, *GRID.held_out]
    assert system.calls == cells + cells + cells[::-1]


def test_without_warm_up_the_first_run_counts() -> None:
    system = Simulated()
    found = profile(system.generate, GRID, trials=1, warmup=0, clock=system.clock)
    assert min(each.seconds for each in found.samples) > 10


def test_nothing_held_out() -> None:
    system = Simulated()
    grid = Grid((1, 8), (1, 2), ())
    figures = profile(system.generate, grid, trials=3, clock=system.clock).to_json()
    assert figures["held_out_error"] is None


@pytest.mark.parametrize(
    ("prompts", "outputs", "held_out", "message"),
    [
        ((), (1, 2), (), "sizes of at least 1"),
        ((0, 1), (1, 2), (), "sizes of at least 1"),
        ((1, 2), (2, 4), (), "needs the output size 1"),
        ((1, 2), (1,), (), "a longer one"),
        ((1, 2), (1, 2), ((2, 2),), "held out and in the grid"),
        ((1, 2), (1, 2), ((3, 3),), "outside the grid"),
    ],
)
def test_a_grid_that_tells_nothing(
    prompts: tuple[int, ...],
    outputs: tuple[int, ...],
    held_out: tuple[tuple[int, int], ...],
    message: str,
) -> None:
    with pytest.raises(InputError, match=message):
        Grid(prompts, outputs, held_out)


def test_no_trials() -> None:
    with pytest.raises(InputError, match="at least one trial"):
        profile(Simulated().generate, GRID, trials=0)


def test_a_hugging_face_model() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from veilform.plan.runtime.huggingface import Shape, open_model

    shape = Shape(layers=1, width=16, heads=2, vocabulary=64, positions=16)
    generator = open_model(shape, device="cpu", threads=1)
    tokens = generator.generate(3, 5)
    assert tokens.shape == (1, 8)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="takes 16 tokens; the grid has 20"):
        generator.require(20)
    grid = Grid((1, 4), (1, 4), ())
    assert profile(generator.generate, grid, trials=2).samples
