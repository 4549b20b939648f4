"""The command that makes a model's weights small: quantize."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from veilform.commands import console
from veilform.commands.console import Json, Model, Pairs
from veilform.errors import InputError


class Weights(str, Enum):
    """Bits of a matrix's weights."""

    INT8 = "int8"
    INT4 = "int4"
    FLOAT = "float"


BITS = {Weights.INT8: 8, Weights.INT4: 4, Weights.FLOAT: 0}


def quantize(
    model: Model,
    out: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    weights: Annotated[Weights, typer.Option(help="Of the layers' matrices.")] = Weights.INT8,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            help="PATTERN=int8, int4 or float for matrices that differ, such as "
            "'layer.0.*=float' or '*.inner=int4'; the first that fits counts."
        ),
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(help="A file of typical texts, one a line: rounds better, and calibrates."),
    ] = None,
    pairs: Pairs = False,
    as_json: Json = False,
) -> None:
    """Make a model whose weights are small integers: the server's products take fewer operations.

    The folder holds plain float weights, which Hugging Face loads as before; its config.json says
    which matrices are small, and whoever serves them checks it.
    """
    from veilform.models import families
    from veilform.models.bert.calibrate import read_texts
    from veilform.models.bert.calibration import CALIBRATION
    from veilform.models.bert.quantize import quantize as write
    from veilform.models.checkpoint import resolve
    from veilform.models.text import split_pairs

    families.require_texts(resolve(model), "quantized")
    policy = [*map(_exception, layer or []), ("*", BITS[weights])]
    given: Sequence[bytes | tuple[bytes, bytes]] | None = None
    if texts is not None:
        lines = read_texts(texts)
        if not lines:
            raise InputError(f"{texts} has no text")
        given = split_pairs(lines, b"\t") if pairs else lines
    with Progress(console=console.err, disable=as_json or not console.err.is_terminal) as progress:
        task = progress.add_task("rounding", total=None)
        bits = write(
            resolve(model), out, policy, given,
            lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip
    calibrated = (out / CALIBRATION).is_file()
    if as_json:
        found = {"model": model, "out": str(out), "small_weights": bits, "calibrated": calibrated}
        console.print_json(found)
        return
    counted = {n: sum(b == n for b in bits.values()) for n in sorted(set(bits.values()))}
    made = ", ".join(f"{count} of {n} bits" for n, count in counted.items())
    console.out.print(f"Wrote {out}: matrices of small integers: {made}.", markup=False)
    if not calibrated:
        console.out.print(f"It has no {CALIBRATION}: run `veilform calibrate` on it.")


def _exception(given: str) -> tuple[str, int]:
    pattern, equals, kind = given.rpartition("=")
    if not equals or not pattern or kind not in [each.value for each in Weights]:
        raise InputError(f"--layer takes PATTERN=int8, int4 or float, not {given!r}")
    return pattern, BITS[Weights(kind)]
