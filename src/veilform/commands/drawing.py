"""What clients ask of a served DC-VAE: draw images from latents, encode pictures as latents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from veilform.commands import console
from veilform.commands.console import Certificates, ClientStock, DealerAt, Json, Public, ServerAt
from veilform.errors import InputError
from veilform.files import replacing

if TYPE_CHECKING:
    from collections.abc import Callable

    from veilform.serve.client import InferenceCost

GRID_COLUMNS = 8
Scale = Annotated[int, typer.Option(help="Pixels of the file along each pixel.", min=1, max=16)]


def draw(
    public: Public,
    certificates: Certificates,
    server: ServerAt,
    dealer: DealerAt,
    stock: ClientStock,
    out: Annotated[Path, typer.Option(help="The PNG file to write.")],
    count: Annotated[int, typer.Option(help="How many images.", min=1, max=4096)] = 8,
    latents: Annotated[
        Path | None,
        typer.Option(help="Draw from these latents: an .npy file, as `encode` writes it."),
    ] = None,
    truncation: Annotated[
        float | None, typer.Option(help="Draw entries of latents again that are larger.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the latents; by default nobody can repeat them.", min=0)
    ] = None,
    scale: Scale = 2,
    as_json: Json = False,
) -> None:
    """Draw images privately by a running service. Latents and images stay on this machine."""
    from veilform.models import families
    from veilform.serve.remote import remote_client
    from veilform.vision.dcvae import asking
    from veilform.vision.dcvae.images import grid, write_png

    as_png(out)
    network = asking.require(public, asking.DECODER).network
    width, channels = network.image[-1], network.wires()[-1][-1]
    if channels not in (1, 3):
        raise InputError(f"{public} draws images of {channels} channels, which no PNG file has")
    given = (
        asking.latents(count, width, truncation, seed)
        if latents is None
        else asking.read_latents(latents)
    )
    asking.check_latents(given, families.client_side(public))
    costs: list[InferenceCost] = []
    with (
        _replacing(out) as part,
        remote_client(public, server, dealer, certificates, stock) as client,
        _progress("drawing", len(given), as_json) as bar,
    ):
        made = asking.decode(client, given, _told(costs, bar))
        write_png(part, grid(made, min(GRID_COLUMNS, len(made))), scale)
    _report(out, costs, as_json)


def encode(
    public: Public,
    certificates: Certificates,
    server: ServerAt,
    dealer: DealerAt,
    stock: ClientStock,
    image: Annotated[
        list[Path], typer.Option("--image", help="A picture; may be given more than once.")
    ],
    out: Annotated[Path, typer.Option(help="The .npy file of latents to write.")],
    as_json: Json = False,
) -> None:
    """Encode pictures privately by a running service. They and their latents stay here."""
    import numpy as np

    from veilform.models import families
    from veilform.serve.remote import remote_client
    from veilform.vision.dcvae import asking

    if out.suffix.lower() != ".npy":
        raise InputError(f"{out}: latents are written as an .npy file; name one that ends so")
    asking.require(public, asking.ENCODER)
    pictures = families.client_side(public).encoder.encode(image)
    costs: list[InferenceCost] = []
    with (
        _replacing(out) as part,
        remote_client(public, server, dealer, certificates, stock) as client,
        _progress("encoding", len(pictures), as_json) as bar,
    ):
        found = asking.encode(client, pictures, _told(costs, bar))
        with part.open("wb") as file:
            np.save(file, found, allow_pickle=False)
    _report(out, costs, as_json)


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """So that no run is spent on what cannot be written."""
    with ExitStack() as stack:
        try:
            part = stack.enter_context(replacing(out))
        except OSError as error:
            raise InputError(f"cannot write {out}: {error.strerror}") from None
        yield part


def as_png(out: Path) -> None:
    """Raises InputError for a file that is called something else."""
    if out.suffix.lower() != ".png":
        raise InputError(f"{out}: pictures are written as PNG; name a file that ends in .png")


def _told(costs: list[InferenceCost], bar: Progress) -> Callable[[int, InferenceCost], None]:
    def tell(done: int, cost: InferenceCost) -> None:
        costs.append(cost)
        bar.update(bar.task_ids[0], completed=done)

    return tell


def _progress(what: str, total: int, as_json: bool) -> Progress:
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console.err,
        disable=as_json or not console.err.is_terminal,
    )  # fmt: skip
    bar.add_task(what, total=total)
    return bar


def _report(out: Path, costs: list[InferenceCost], as_json: bool) -> None:
    online, offline = (
        sum(getattr(cost, name) for cost in costs) / len(costs)
        for name in ("online_seconds", "offline_seconds")
    )
    if as_json:
        rows: list[dict[str, Any]] = [cost._asdict() for cost in costs]
        console.print_json({"file": str(out), "images": len(costs), "costs": rows})
        return
    console.out.print(
        f"Wrote {out}: {len(costs)} image(s), each in {online:.2f} s online and {offline:.2f} s "
        "before.",
        highlight=False, markup=False,
    )  # fmt: skip
