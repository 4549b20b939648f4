"""The published A100 profiles and runtimes: what others found, found again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from veilform.errors import InputError
from veilform.plan.runtime import RuntimeModel, compare, fit_both, load, read_csv
from veilform.plan.runtime.compare import TEN, Request

PROFILES = (
    "ai21_j1_grande", "ai21_j1_jumbo", "ai21_j1_large", "anthropic", "bloom", "gpt2",
    "gpt_neox_20b", "gptj_6b", "mt_nlg", "openai_ada", "openai_davinci", "opt_66b", "yalm",
)  # fmt: skip
KINDS = ("idealized", "denoised")


@pytest.mark.parametrize("name", PROFILES)
def test_a_refit(name: str, runtimes: Path) -> None:
    figures = fit_both(read_csv(runtimes / "a100" / f"{name}.csv")).to_json()
    assert figures["r2"] >= 0.998
    assert figures["leave_one_out_error"] <= 0.065
    assert 0.0945 < figures["sawtooth_error"] < 0.1445  # 10 to 14 %, rounded
    assert figures["cache"]["r2"] >= figures["r2"]


def test_the_cache_term_fits_gpt_neox(runtimes: Path) -> None:
    """Its later tokens take visibly longer after longer prompts."""
    figures = fit_both(read_csv(runtimes / "a100" / "gpt_neox_20b.csv")).to_json()
    assert figures["better"] == "cache"
    assert figures["cache"]["mape"] < 0.5 * figures["mape"]


@pytest.mark.parametrize("kind", KINDS)
def test_published_files_round_trip(kind: str, runtimes: Path) -> None:
    path = runtimes / f"inference_{kind}_runtimes.json"
    models = load(path)
    written = {name: model.to_json() for name, model in models.items()}
    assert written == json.loads(path.read_text(encoding="utf-8"))
    assert all((model.overhead is None) == (kind == "idealized") for model in models.values())


def test_the_ten(runtimes: Path) -> None:
    published = load(runtimes / "inference_idealized_runtimes.json")
    rows = compare.compare(runtimes / "a100", Request(512, 32), published)
    assert len(rows) == len(TEN) == 10
    for row in rows:
        assert row["beta"] == pytest.approx(row["published_beta"], abs=1e-3)
    assert [row["billions"] for row in rows] == sorted(row["billions"] for row in rows)
    by_name = {row["name"]: row for row in rows}
    davinci, bloom = by_name["GPT-3 davinci"], by_name["BLOOM"]
    assert davinci["seconds"] == pytest.approx(0.179 + 31 * 0.0815, abs=2e-3)
    assert davinci["dollars"] == pytest.approx(davinci["seconds"] * 8 * 4.096 / 3600)
    # As many parameters on as many GPUs, in 96 layers instead of 70.
    assert davinci["seconds"] > 1.25 * bloom["seconds"]


def test_a_plot_of_the_ten(runtimes: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    request = Request()
    rows = compare.compare(runtimes / "a100", request)
    assert "published_beta" not in rows[0]
    compare.plot(rows, request, tmp_path / "a.svg")
    assert b"J1-Jumbo" in (tmp_path / "a.svg").read_bytes()


def test_comparison_without_its_data(runtimes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*gptj_6b\.csv"):
        compare.compare(tmp_path)
    other = {"someone/else": RuntimeModel(1.0, {1: 1.0})}
    with pytest.raises(InputError, match="no together/gpt-j-6b"):
        compare.compare(runtimes / "a100", published=other)
