"""Timings of a model's layers on this machine. Needs PyTorch, and nothing else of the model's.

Only the sizes of the model matter, so its config.json suffices: each layer is built with random
weights. Tensor parallelism by t is emulated on one device: a layer has heads / t heads and a t-th
of its inner width, a head that scores words a t-th of them; a classifier's head is its pooler. What
devices would exchange is not in these times; the default cost model adds it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from veilform.errors import InputError
from veilform.plan.parallel.profile import Layer, LayerProfile, Timing, scores, transformer
from veilform.plan.reading import read_json

MICRO_BATCHES = (1, 2, 4)
WARM_UP = 2


class Sizes(msgspec.Struct, frozen=True):
    """Of a BERT-like model or GPT-2, as either names them."""

    model_type: str = "model"
    hidden_size: int = 0
    num_hidden_layers: int = 0
    num_attention_heads: int = 0
    intermediate_size: int = 0
    vocab_size: int = 0
    n_embd: int = 0
    n_layer: int = 0
    n_head: int = 0
    n_inner: int | None = None
    architectures: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Of a token."""
        return self.hidden_size or self.n_embd

    @property
    def count(self) -> int:
        """Transformer layers."""
        return self.num_hidden_layers or self.n_layer

    @property
    def heads(self) -> int:
        """Of attention."""
        return self.num_attention_heads or self.n_head

    @property
    def inner(self) -> int:
        """Width of the feed-forward network."""
        return self.intermediate_size or self.n_inner or 4 * self.width

    @property
    def predicts_words(self) -> bool:
        """Whether its head scores every word, by the embedding's matrix; else it pools."""
        return bool(self.n_embd) or any("LM" in name for name in self.architectures)

    @classmethod
    def read(cls, folder: Path) -> Sizes:
        """Reads config.json.

        Raises:
            InputError: it cannot be read or does not have these sizes.
        """
        path = folder / "config.json"
        sizes = read_json(path, cls, "no model's configuration")
        if min(sizes.width, sizes.count, sizes.heads, sizes.vocab_size) < 1:
            raise InputError(f"{path} is of no BERT-like model and no GPT-2: sizes are missing")
        return sizes


def measure(
    folder: Path,
    sequence: int,
    degrees: tuple[int, ...],
    device: str | None = None,
    repeats: int = 5,
    progress: Callable[[str], None] = lambda text: None,
) -> LayerProfile:
    """Least forward seconds of each layer, for each degree of tensor parallelism and micro-batch.

    Args:
        folder: has config.json.
        sequence: tokens of a sample.
        degrees: of tensor parallelism; each divides the heads, the inner width and the words.
        device: what the profile calls this machine's kind of device; none: its own name.
        repeats: timed runs of each.
        progress: is told what is being timed.

    Raises:
        InputError: no PyTorch, no sizes, or a degree that does not divide them.
    """
    sizes = Sizes.read(folder)
    try:
        import torch
    except ImportError:
        raise InputError("timing layers needs PyTorch: pip install 'veilform[train]'") from None
    for tp in degrees:
        if tp < 1 or sizes.heads % tp or sizes.inner % tp:
            raise InputError(
                f"tensor parallel {tp} divides {sizes.heads} heads or the inner width "
                f"{sizes.inner} with a rest"
            )
    where = "cuda" if torch.cuda.is_available() else "cpu"
    name = device or (torch.cuda.get_device_name() if where == "cuda" else "cpu")
    timings = []
    for tp in degrees:
        parts = [part.to(where).eval() for part in _parts(torch, sizes, sequence, tp)]
        for micro_batch in MICRO_BATCHES:
            progress(f"tensor parallel {tp}, micro-batch {micro_batch}")
            tokens = torch.zeros(micro_batch, sequence, dtype=torch.long, device=where)
            hidden = torch.randn(micro_batch, sequence, sizes.width, device=where)
            seconds = [_seconds(torch, parts[0], tokens, repeats)]
            seconds += [_seconds(torch, part, hidden, repeats) for part in parts[1:]]
            timings.append(Timing(name, tp, micro_batch, tuple(seconds), tp > 1))
    return LayerProfile(sizes.model_type, _layers(sizes, sequence), tuple(timings))


def _layers(sizes: Sizes, sequence: int) -> tuple[Layer, ...]:
    matrix, tokens = sizes.vocab_size * sizes.width, sequence * sizes.width
    layer = transformer(sizes.width, sequence, sizes.inner, sizes.heads)
    layers = (layer,) * sizes.count
    if not sizes.predicts_words:
        embedding = Layer("embedding", parameters=matrix, output=tokens)
        return embedding, *layers, Layer("head", parameters=sizes.width**2, output=sizes.width)
    head = scores(matrix, sequence * sizes.vocab_size)
    return Layer("embedding", shared=matrix, output=tokens), *layers, head


def _parts(torch: Any, sizes: Sizes, sequence: int, tp: int) -> list[Any]:
    """Embedding, layers and head, of one of ``tp`` devices."""
    nn = torch.nn
    own = sizes.width // sizes.heads * (sizes.heads // tp)

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.before, self.between = nn.LayerNorm(sizes.width), nn.LayerNorm(sizes.width)
            self.projections = nn.Linear(sizes.width, 3 * own)
            self.output = nn.Linear(own, sizes.width)
            self.feed_forward = nn.Sequential(
                nn.Linear(sizes.width, sizes.inner // tp),
                nn.GELU(),
                nn.Linear(sizes.inner // tp, sizes.width),
            )

        def forward(self, hidden_BSD: Any) -> Any:
            shape = (*hidden_BSD.shape[:2], 3, sizes.heads // tp, -1)
            query, key, value = (
                self.projections(self.before(hidden_BSD)).view(shape).permute(2, 0, 3, 1, 4)
            )
            attended = nn.functional.scaled_dot_product_attention(query, key, value)
            hidden_BSD = hidden_BSD + self.output(attended.transpose(1, 2).flatten(2))
            return hidden_BSD + self.feed_forward(self.between(hidden_BSD))

    class Pooler(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Linear(sizes.width, sizes.width)

        def forward(self, hidden_BSD: Any) -> Any:
            return torch.tanh(self.dense(hidden_BSD[:, 0]))

    embedding = nn.Embedding(sizes.vocab_size, sizes.width)
    words = -(-sizes.vocab_size // tp)
    head = nn.Linear(sizes.width, words) if sizes.predicts_words else Pooler()
    return [embedding, *(Block() for _ in range(sizes.count)), head]


def _seconds(torch: Any, part: Any, value: Any, repeats: int) -> float:
    """The least of several runs: other work on the machine only adds."""
    times = []
    with torch.inference_mode():
        for _ in range(WARM_UP + repeats):
            _wait(torch, value)
            start = time.perf_counter()
            part(value)
            _wait(torch, value)
            times.append(time.perf_counter() - start)
    return float(np.min(times[WARM_UP:]))


def _wait(torch: Any, value: Any) -> None:
    if value.is_cuda:
        torch.cuda.synchronize()
