"""A Hugging Face causal language model as a generator to profile; needs the extra ``train``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veilform.errors import InputError
from veilform.plan.runtime.profile import Generate

NEEDS_TORCH = "profiling a model needs PyTorch and Transformers: pip install 'veilform[train]'"


@dataclass(frozen=True)
class Shape:
    """Sizes of a GPT-2 with random weights: what it says is noise, its runtime is real."""

    layers: int = 4
    width: int = 256
    heads: int = 4
    vocabulary: int = 50257
    positions: int = 1024


@dataclass(frozen=True)
class Generator:
    """A loaded model, ready to generate.

    Attributes:
        positions: tokens that prompt and output may have together; None if there is no limit.
        about: what it is and runs on, for a report.
    """

    generate: Generate
    positions: int | None
    about: dict[str, Any]

    def require(self, tokens: int) -> None:
        """Refuses texts longer than the model's.

        Raises:
            InputError: they are.
        """
        if self.positions is not None and tokens > self.positions:
            raise InputError(f"the model takes {self.positions} tokens; the grid has {tokens}")


def open_model(
    source: Path | Shape, device: str = "auto", threads: int | None = None, seed: int = 0
) -> Generator:
    """A causal language model of a folder, or a random GPT-2 of a shape.

    Greedy generation with the model's own key-value cache, in the weights' own type, and never
    ending early. On a GPU a run ends when the GPU is done.

    Args:
        device: a PyTorch device, or ``auto``: a GPU if there is one.
        threads: of PyTorch, on a CPU; default: its own choice.

    Raises:
        InputError: PyTorch is not installed, the device is not there, or the folder holds no causal
            language model.
    """
    try:
        import torch
        import transformers
    except ImportError:
        raise InputError(NEEDS_TORCH) from None
    transformers.utils.logging.disable_progress_bar()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    model = _load(source) if isinstance(source, Path) else _random(source)
    try:
        model = model.to(device).eval()
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"cannot use device {device}: {str(error).splitlines()[0]}") from None
    cuda = device.startswith("cuda")
    settings = model.generation_config
    settings.eos_token_id = None
    settings.pad_token_id = 0
    vocabulary = model.config.get_text_config().vocab_size

    def generate(prompt_tokens: int, output_tokens: int) -> object:
        ids = torch.randint(1, vocabulary, (1, prompt_tokens), device=device)
        with torch.inference_mode():
            tokens = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                num_beams=1,
                max_new_tokens=output_tokens,
                use_cache=True,
            )
        if cuda:
            torch.cuda.synchronize(device)
        assert tokens.shape[1] == prompt_tokens + output_tokens
        return tokens

    return Generator(
        generate,
        getattr(model.config.get_text_config(), "max_position_embeddings", None),
        {
            "model": model.config.model_type,
            "parameters": sum(each.numel() for each in model.parameters()),
            "type": str(model.dtype).removeprefix("torch."),
            "device": torch.cuda.get_device_name(device) if cuda else device,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    )


def _random(shape: Shape) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    if shape.heads < 1 or shape.width % shape.heads:
        raise InputError(f"a width of {shape.width} does not divide among {shape.heads} heads")
    return GPT2LMHeadModel(
        GPT2Config(
            n_layer=shape.layers,
            n_embd=shape.width,
            n_head=shape.heads,
            vocab_size=shape.vocabulary,
            n_positions=shape.positions,
        )
    )


def _load(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} is no checkpoint: it has no config.json")
    try:
        return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder} holds no causal language model: {reason}") from None
