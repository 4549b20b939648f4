"""``veilform runtime``: what it prints, and one line for whatever cannot be done."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Run
from tests.plan.runtime.exact import samples

from veilform.plan import runtime as plan
from veilform.plan.runtime import Grid, RuntimeModel, Sample, huggingface, load, write_csv

ABOUT = {"model": "gpt2", "device": "cpu", "threads": 1}
MODEL = RuntimeModel(0.25, {1: 1.0, 11: 2.0, 21: 5.0, 31: 6.0}, gamma=1e-3)


@pytest.fixture
def runtime(veilform: Run) -> Run:
    """``veilform runtime`` in this process."""
    return functools.partial(veilform, "runtime")


@pytest.fixture
def timings(tmp_path: Path) -> Path:
    path = tmp_path / "timings.csv"
    write_csv(path, samples(MODEL))
    return path


def document(result: tuple[int, str, str]) -> Any:
    code, out, err = result
    assert (code, err) == (0, "")
    return json.loads(out)


def complaint(result: tuple[int, str, str]) -> str:
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_fit(runtime: Run, timings: Path) -> None:
    figures = document(runtime("fit", timings, "--json"))
    assert set(figures) >= {"beta", "alpha", "r2", "mape", "leave_one_out_error"}
    assert figures["alpha"] == pytest.approx({"1": 1.0, "11": 2.0, "21": 5.0, "31": 6.0})
    assert figures["better"] == "cache"
    assert figures["cache"]["gamma"] == pytest.approx(1e-3, rel=1e-2)
    code, out, _ = runtime("fit", timings)
    assert code == 0
    assert "Better on prompt sizes left out: the one with a cache term." in out


@pytest.mark.parametrize(("options", "gamma"), [((), 1e-3), (("--no-cache",), 0)])
def test_a_fit_is_kept_and_used(
    options: tuple[str, ...], gamma: float, runtime: Run, timings: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "m.json"
    document(runtime("fit", timings, "--save", kept, *options, "--json"))
    assert load(kept)["timings"].gamma == pytest.approx(gamma, rel=1e-2)
    sizes = ("--prompt", 16, "--output", 3)
    told = document(runtime("estimate", kept, *sizes, "--accelerators", 4, "--json"))
    same = document(runtime("estimate", timings, *sizes, "--accelerators", 4, *options, "--json"))
    assert told == pytest.approx(same)
    assert told["extrapolated"] is False
    assert told["dollars"] == pytest.approx(told["seconds"] * 4 * 4.096 / 3600)
    assert told["joules"] == pytest.approx(told["seconds"] * 4 * 400)


def test_estimate_beyond_the_profile(runtime: Run, timings: Path) -> None:
    sizes = ("--prompt", 41, "--output", 1)
    assert "outside the profiled sizes, 1 to 31" in complaint(runtime("estimate", timings, *sizes))
    code, out, _ = runtime("estimate", timings, *sizes, "--extrapolate")
    assert code == 0
    assert out.startswith("timings: 7.000 s, extrapolated, ")


def test_estimate_wants_one_model(runtime: Run, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    plan.save(path, {"a": MODEL, "b": MODEL})
    sizes = ("--prompt", 1, "--output", 1)
    assert "say which model with --name; there are a, b" in complaint(
        runtime("estimate", path, *sizes)
    )
    assert "no model 'c'" in complaint(runtime("estimate", path, *sizes, "--name", "c"))
    assert document(runtime("estimate", path, *sizes, "--name", "b", "--json"))["model"] == "b"


def test_a_cache_term_that_cannot_be_told(runtime: Run, tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    write_csv(path, [Sample(1, 1, 1.0), Sample(1, 2, 2.0)])
    assert document(runtime("fit", path, "--json"))["cache"] is None
    assert runtime("fit", path)[0] == 0
    result = runtime("fit", path, "--save", tmp_path / "m.json", "--cache")
    assert "do not determine a term" in complaint(result)


def test_denoise(runtime: Run, tmp_path: Path) -> None:
    path = tmp_path / "trials.csv"
    box = RuntimeModel(0.25, {1: 0.25, 9: 1.0}, overhead=0.5)
    write_csv(path, [*samples(box), *(Sample(p, o, 2 * t) for p, o, t in samples(box))])
    figures = document(runtime("denoise", path, "--save", tmp_path / "m.json", "--json"))
    assert figures["overhead"] == pytest.approx(0.5)
    assert load(tmp_path / "m.json")["trials"].overhead == pytest.approx(0.5)
    assert "250.00 ms an output token, 500.0 ms of overhead" in runtime("denoise", path)[1]


def test_bad_samples(runtime: Run, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("prompt_tokens,output_tokens\n1,1\n", encoding="utf-8")
    assert "no column seconds" in complaint(runtime("fit", path))
    assert "cannot read" in complaint(runtime("fit", tmp_path / "none.csv"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--prompts", "1,x"), "sizes are as 1,16,64"),
        (("--held-out", "48-12"), "sizes are as 1,16,64"),
        (("--outputs", "2,4"), "the output size 1"),
    ],
)
def test_bad_grids(options: tuple[str, ...], message: str, runtime: Run, tmp_path: Path) -> None:
    out = tmp_path / "o.csv"
    assert message in complaint(runtime("profile", "--out", out, *options))
    assert not out.exists()


def test_profile_without_torch(
    runtime: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    out = complaint(runtime("profile", "--out", tmp_path / "o.csv"))
    assert "pip install 'veilform[train]'" in out


def test_profile(runtime: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the model; the real one is in ``test_profile``."""
    measured: list[Grid] = []

    def profile(generate: object, grid: Grid, **options: object) -> plan.Profile:
        measured.append(grid)
        cells = [Sample(p, o, MODEL.estimate(p, o)) for p, o in grid.cells]
        return plan.Profile(tuple(cells), (Sample(16, 3, MODEL.estimate(16, 3)),))

    generator = huggingface.Generator(lambda p, o: None, 64, ABOUT)
    monkeypatch.setattr(huggingface, "open_model", lambda *_: generator)
    monkeypatch.setattr(plan, "profile", profile)
    sizes = ("--prompts", "1,11,21,31", "--outputs", "1,2,4", "--held-out", "16x3")
    out = tmp_path / "o.csv"
    figures = document(runtime("profile", "--out", out, *sizes, "--clock", "cpu", "--json"))
    assert measured == [Grid((1, 11, 21, 31), (1, 2, 4), ((16, 3),))]
    assert figures["held_out_error"] == pytest.approx(0, abs=1e-6)
    assert figures["clock"] == "cpu"
    assert document(runtime("fit", out, "--json"))["beta"] == pytest.approx(
        figures["beta"], rel=1e-3
    )
    assert "16 x 3" in runtime("profile", "--out", out, *sizes)[1]
    monkeypatch.setitem(ABOUT, "threads", 2)
    many = runtime("profile", "--out", out, *sizes, "--clock", "cpu")
    assert "give --threads 1" in complaint(many)
    long = ("--prompts", "1,99", "--outputs", "1,2")
    assert "takes 64 tokens; the grid has 101" in complaint(runtime("profile", "--out", out, *long))


def test_compare(runtime: Run, runtimes: Path, tmp_path: Path) -> None:
    profiles, published = runtimes / "a100", runtimes / "inference_idealized_runtimes.json"
    figures = document(runtime("compare", profiles, "--published", published, "--json"))
    assert len(figures["models"]) == 10
    assert figures["prompt_tokens"] == 512
    code, out, _ = runtime("compare", profiles, "--published", published)
    assert code == 0
    assert "81.5 (81)" in out
    wrong = runtime("compare", profiles, "--plot", tmp_path / "plot.txt")
    assert "name a file that ends in" in complaint(wrong)
