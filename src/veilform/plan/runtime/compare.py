"""The paper's comparison of ten language models by idealized runtime, from their profiles.

Sizes in parameters are the providers' own figures; layers, widths and A100s of 80 GB are those of
the paper's profiling scripts (github.com/stanford-crfm/helm-efficiency). A size of 52.4 billion for
Cohere's model is that of HELM's model list (crfm.stanford.edu/helm).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veilform import plotting
from veilform.errors import InputError
from veilform.plan.runtime.cost import A100, Accelerator, dollars, joules
from veilform.plan.runtime.model import RuntimeModel
from veilform.plan.runtime.quality import fit_both
from veilform.plan.runtime.samples import Sample, read_csv


@dataclass(frozen=True)
class Subject:
    """One of the ten.

    Attributes:
        published: its name in the published file of idealized runtimes.
        profile: its samples' file, without ``.csv``; two models of one shape share one.
        billions: parameters, in 10^9.
        accelerators: A100s that it runs on.
        stages: copies of the profiled layers that run one after the other: 35 of the 530B model's
            105 layers were timed, on 8 of its 24 GPUs. Its seconds are so many times the profile's.
    """

    name: str
    published: str
    profile: str
    billions: float
    layers: int
    width: int
    accelerators: int
    stages: int = 1


TEN = (
    Subject("GPT-J", "together/gpt-j-6b", "gptj_6b", 6, 28, 4096, 1),
    Subject("J1-Large v1", "ai21/j1-large", "ai21_j1_large", 7.5, 32, 4096, 1),
    Subject("J1-Grande v1", "ai21/j1-grande", "ai21_j1_grande", 17, 50, 5120, 1),
    Subject("Anthropic v4-s3", "anthropic/stanford-online-all-v4-s3", "anthropic", 52, 64, 8192, 4),
    Subject("Cohere XL", "cohere/xlarge-20220609", "anthropic", 52.4, 64, 8192, 4),
    Subject("YaLM", "together/yalm", "yalm", 100, 80, 10240, 4),
    Subject("GPT-3 davinci", "openai/davinci", "openai_davinci", 175, 96, 12288, 8),
    Subject("BLOOM", "together/bloom", "bloom", 176, 70, 14336, 8),
    Subject("J1-Jumbo v1", "ai21/j1-jumbo", "ai21_j1_jumbo", 178, 76, 13824, 8),
    Subject("TNLG v2", "microsoft/TNLGv2_530B", "mt_nlg", 530, 105, 20480, 24, stages=3),
)


@dataclass(frozen=True)
class Request:
    """What each of the models is asked for."""

    prompt_tokens: int = 512
    output_tokens: int = 32


def compare(
    folder: Path,
    request: Request | None = None,
    published: Mapping[str, RuntimeModel] | None = None,
    accelerator: Accelerator = A100,
    pue: float = 1.0,
) -> list[dict[str, Any]]:
    """A row for each of :data:`TEN`, the smallest first, by the published form of the model.

    Args:
        folder: the profiles, ``PROFILE.csv`` each.
        published: the published fits, to set beside ours.

    Raises:
        InputError: a profile is missing or cannot be fitted, a published model is missing, or the
            request is outside the profiled sizes.
    """
    request = request or Request()
    rows = []
    for subject in TEN:
        fits = fit_both(_samples(folder, subject))
        model = fits.published.model
        seconds = model.estimate(request.prompt_tokens, request.output_tokens)
        used = subject.accelerators
        row: dict[str, Any] = {
            "name": subject.name,
            "billions": subject.billions,
            "layers": subject.layers,
            "width": subject.width,
            "accelerators": used,
            "beta": model.beta,
            "alpha": model.estimate(request.prompt_tokens, 1),
            "seconds": seconds,
            "dollars": dollars(seconds, used, accelerator.price),
            "joules": joules(seconds, used, accelerator.watts, pue),
            "r2": fits.published.r2,
            "mape": fits.published.mape,
            "leave_one_out_error": fits.published.leave_one_out_error,
        }
        if published is not None:
            row["published_beta"] = _named(published, subject.published).beta
        rows.append(row)
    return rows


def plot(rows: Sequence[Mapping[str, Any]], request: Request, path: Path) -> None:
    """Runtime against model size, both logarithmic, as an SVG, PNG or PDF file.

    Raises:
        InputError: as :func:`veilform.plotting.new`.
    """
    figure, axes = plotting.new(path, height=5.5)
    sizes = [row["billions"] for row in rows]
    whole = [row["seconds"] for row in rows]
    first = [row["alpha"] for row in rows]
    axes.loglog(sizes, whole, "o", label=f"{request.output_tokens} output tokens")
    axes.loglog(sizes, first, "s", mfc="none", label="the first of them")
    left = False
    for index in reversed(range(len(rows))):
        # Models of like size would write over one another: their names go to either side in turn.
        crowded = index + 1 < len(rows) and sizes[index + 1] < 1.3 * sizes[index]
        left = crowded and not left
        axes.annotate(
            rows[index]["name"], (sizes[index], whole[index]), fontsize=8,
            xytext=(-7 if left else 7, 0), textcoords="offset points",
            ha="right" if left else "left", va="center",
        )  # fmt: skip
    axes.set_xlim(min(sizes) / 1.6, 2.4 * max(sizes))
    axes.set_xlabel("parameters, $10^9$")
    axes.set_ylabel(f"idealized seconds, {request.prompt_tokens} prompt tokens")
    axes.legend(frameon=False)
    plotting.save(figure, path)


def _samples(folder: Path, subject: Subject) -> list[Sample]:
    samples = read_csv(folder / f"{subject.profile}.csv")
    return [Sample(p, o, subject.stages * seconds) for p, o, seconds in samples]


def _named(models: Mapping[str, RuntimeModel], name: str) -> RuntimeModel:
    if name not in models:
        raise InputError(f"the published runtimes have no {name}")
    return models[name]
