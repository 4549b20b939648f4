"""T(p, o) = alpha(p) + beta (o - 1): the fit, the estimate, the published schema."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plan.runtime.exact import models, samples

from veilform.errors import InputError
from veilform.plan.runtime import RuntimeModel, Sample, fit_both, load, save
from veilform.plan.runtime.model import interpolate
from veilform.plan.runtime.quality import left_out_errors, sawtooth

MODEL = RuntimeModel(0.25, {1: 1.0, 11: 2.0, 21: 5.0})


class TestFit:
    @given(models())
    def test_exact_samples_give_the_model_back(self, model: RuntimeModel) -> None:
        found = RuntimeModel.fit(samples(model))
        assert found.alpha == pytest.approx(model.alpha)
        assert found.beta == pytest.approx(model.beta)
        assert found.gamma == 0

    @given(models(), st.floats(1e-6, 1e-3))
    def test_the_cache_term_is_found(self, model: RuntimeModel, gamma: float) -> None:
        model = replace(model, gamma=gamma)
        found = RuntimeModel.fit(samples(model), cache=True)
        assert found.gamma == pytest.approx(gamma, rel=1e-4)
        assert found.beta == pytest.approx(model.beta, rel=1e-4)

    def test_is_least_squares(self) -> None:
        """The slope through the origin of these two points is 8 / 5."""
        given_ = [Sample(1, 1, 1.0), Sample(1, 2, 3.0), Sample(1, 3, 4.0)]
        assert RuntimeModel.fit(given_).beta == pytest.approx((1 * 2 + 2 * 3) / (1 + 4))

    def test_repeated_cells_count_each(self) -> None:
        given_ = [Sample(1, 1, 1.0), Sample(1, 1, 3.0), Sample(1, 2, 4.0), Sample(1, 2, 6.0)]
        model = RuntimeModel.fit(given_)
        assert model.alpha == {1: 2.0}
        assert model.beta == pytest.approx(3.0)

    @pytest.mark.parametrize(
        ("given_", "message"),
        [
            ([], "no samples"),
            ([Sample(1, 2, 1.0)], "no sample of 1 prompt tokens with 1 output token"),
            ([Sample(1, 1, 1.0), Sample(8, 2, 1.0)], "no sample of 8 prompt tokens"),
            ([Sample(1, 1, 1.0), Sample(8, 1, 1.0)], "one output token: time longer"),
            ([Sample(1, 1, 2.0), Sample(1, 2, 1.0)], "do not grow with the output"),
            ([Sample(1, 1, math.nan)], "sample 1: seconds is nan"),
            ([Sample(1, 1, math.inf)], "sample 1: seconds is inf"),
            ([Sample(1, 1, 1.0), Sample(1, 2, -1.0)], r"sample 2: seconds is -1\.0"),
            ([Sample(0, 1, 1.0)], "prompt_tokens is 0"),
            ([(1.5, 1, 1.0)], r"prompt_tokens is 1\.5"),
            ([(1, math.nan, 1.0)], "output_tokens is nan"),
            ([Sample(1, 0, 1.0)], "output_tokens is 0"),
        ],
    )
    def test_refuses(self, given_: list[Sample], message: str) -> None:
        with pytest.raises(InputError, match=message):
            RuntimeModel.fit(given_)

    def test_two_slopes_need_two_longer_cells(self) -> None:
        given_ = [Sample(1, 1, 1.0), Sample(1, 2, 2.0)]
        with pytest.raises(InputError, match="more than one prompt or longer output"):
            RuntimeModel.fit(given_, cache=True)
        assert fit_both(given_).cache is None


class TestEstimate:
    @pytest.mark.parametrize(
        ("prompt", "output", "seconds"),
        [(1, 1, 1.0), (6, 1, 1.5), (11, 1, 2.0), (12, 1, 2.3), (21, 5, 6.0)],
    )
    def test_is_linear_between_prompt_sizes(self, prompt: int, output: int, seconds: float) -> None:
        assert MODEL.estimate(prompt, output) == pytest.approx(seconds)

    @given(models())
    def test_is_continuous(self, model: RuntimeModel) -> None:
        """At a knot it is alpha itself; one token further it moves by the slope there only."""
        sizes = list(model.alpha)
        for low, high in pairwise(sizes):
            slope = abs(model.alpha[high] - model.alpha[low]) / (high - low)
            told = [interpolate(model.alpha, p) for p in (low, low + 1, high - 1, high)]
            assert told[0] == model.alpha[low]
            assert told[-1] == model.alpha[high]
            assert abs(told[1] - told[0]) <= slope * (1 + 1e-9) + 1e-12
            assert abs(told[-1] - told[-2]) <= slope * (1 + 1e-9) + 1e-12

    def test_context_of_each_step_counts(self) -> None:
        model = RuntimeModel(0.0, {10: 1.0}, gamma=1.0)
        assert model.estimate(10, 4) == 1.0 + 11 + 12 + 13

    def test_overhead_is_part_of_it(self) -> None:
        assert replace(MODEL, overhead=7.0).estimate(1, 1) == 8.0

    @pytest.mark.parametrize("prompt", [22, 4000])
    def test_refuses_or_extends_beyond_the_profile(self, prompt: int) -> None:
        with pytest.raises(InputError, match="outside the profiled sizes, 1 to 21"):
            MODEL.estimate(prompt, 1)
        assert MODEL.estimate(prompt, 1, extrapolate=True) == pytest.approx(5 + 0.3 * (prompt - 21))

    def test_refuses_what_has_no_answer(self) -> None:
        with pytest.raises(InputError, match="at least one prompt token"):
            MODEL.estimate(1, 0)
        with pytest.raises(InputError, match="too few to extrapolate"):
            RuntimeModel(1.0, {8: 1.0}).estimate(9, 1, extrapolate=True)
        with pytest.raises(InputError, match="no positive time extrapolates"):
            RuntimeModel(1.0, {8: 2.0, 9: 1.0}).estimate(99, 1, extrapolate=True)


class TestSchema:
    @given(models(1), st.none() | st.floats(0, 1), st.sampled_from([0.0, 1e-6]))
    def test_round_trip(self, model: RuntimeModel, overhead: float | None, gamma: float) -> None:
        model = replace(model, overhead=overhead, gamma=gamma)
        assert RuntimeModel.from_json(json.loads(json.dumps(model.to_json()))) == model

    def test_keys_are_the_published_ones(self) -> None:
        assert replace(MODEL, overhead=0.5).to_json() == {
            "runtime_per_output_token": 0.25,
            "runtime_for_prompt_tokens": {"1": 1.0, "11": 2.0, "21": 5.0},
            "overhead": 0.5,
        }

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "is no JSON"),
            ("[]", "holds no models"),
            ("{}", "holds no models"),
            ('{"a": 1}', "a has no runtime_for_prompt_tokens"),
            ('{"a": {"runtime_for_prompt_tokens": {"1": 1}}}', "a has no runtime_per_output_token"),
            (
                '{"a": {"runtime_per_output_token": "1", "runtime_for_prompt_tokens": {"1": 1}}}',
                "something that is no number",
            ),
            (
                '{"a": {"runtime_per_output_token": 1, "runtime_for_prompt_tokens": {"x": 1}}}',
                "something that is no number",
            ),
            (
                '{"a": {"runtime_per_output_token": 1, "runtime_for_prompt_tokens": {}}}',
                "at least one prompt size",
            ),
            (
                '{"a": {"runtime_per_output_token": NaN, "runtime_for_prompt_tokens": {"1": 1}}}',
                "finite and not negative",
            ),
            (
                '{"a": {"runtime_per_output_token": 1, "runtime_for_prompt_tokens": {"0": 1}}}',
                "must be at least 1",
            ),
        ],
    )
    def test_refuses(self, content: str, message: str, tmp_path: Path) -> None:
        path = tmp_path / "models.json"
        path.write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=message):
            load(path)

    def test_a_file_holds_models_by_name(self, tmp_path: Path) -> None:
        save(tmp_path / "m.json", {"a": MODEL, "b/c": replace(MODEL, gamma=1e-6)})
        assert load(tmp_path / "m.json") == {"a": MODEL, "b/c": replace(MODEL, gamma=1e-6)}
        with pytest.raises(InputError, match="cannot read"):
            load(tmp_path / "none.json")


class TestQuality:
    def test_exact_samples_have_no_error(self) -> None:
        figures = fit_both(samples(MODEL)).to_json()
        assert figures["r2"] == pytest.approx(1)
        assert figures["mape"] == pytest.approx(0)
        assert figures["better"] == "published"

    def test_a_size_is_left_out_and_told_from_its_neighbours(self) -> None:
        assert left_out_errors({1: 1.0, 2: 5.0, 3: 3.0}) == pytest.approx([3 / 5])
        assert left_out_errors({1: 1.0, 3: 3.0}) == []

    def test_sawtooth(self) -> None:
        """A prompt just above a knot is told to take less than at the knot."""
        alpha = {1: 1.0, 100: 2.0, 200: 2.2}
        assert sawtooth(alpha, 100) == 2.0
        assert sawtooth(alpha, 110) == pytest.approx(2.2 * 110 / 200)
        assert sawtooth(alpha, 400) == pytest.approx(4.4)

    def test_the_cache_term_must_be_worth_it(self) -> None:
        growing = fit_both(samples(replace(MODEL, gamma=1e-2)))
        assert growing.better is growing.cache
        shrinking = fit_both(samples(replace(MODEL, gamma=-1e-3)))
        assert shrinking.better is shrinking.published

    def test_one_prompt_size_decides_nothing(self) -> None:
        fits = fit_both(samples(RuntimeModel(0.1, {8: 1.0}, gamma=1e-2)))
        assert fits.better is fits.published
        assert fits.to_json()["leave_one_out_error"] is None
        assert fits.to_json()["sawtooth_error"] is None
