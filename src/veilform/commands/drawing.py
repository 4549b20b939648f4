"""What clients ask of a served DC-VAE: draw images from latents, encode pictures as latents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from veilform.commands import console
from veilform.commands.console import Certificates, ClientStock, DealerAt, Json, Public, ServerAt
from veilform.errors import InputError
from veilform.files import replacing

if TYPE_CHECKING:
    from veilform.serve.client import Client, InferenceCost

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
    from veilform.models.vision.generative import Decoder
    from veilform.serve.remote import remote_client
    from veilform.vision.dcvae import asking
    from veilform.vision.dcvae.images import grid, write_png

    as_png(out)
    network = asking.require(public, Decoder)
    if network.channels not in (1, 3):
        raise InputError(
            f"{public} draws images of {network.channels} channels, which no PNG file has"
        )
    given = (
        asking.latents(count, network.latent, truncation, seed)
        if latents is None
        else asking.read_latents(latents)
    )
    asking.check_latents(given, families.client_side(public))

    def connect() -> Client:
        return remote_client(public, server, dealer, certificates, stock)

    with _asking("drawing", len(given), out, connect, as_json) as (client, part, tell):
        made = asking.decode(client, given, tell)
        write_png(part, grid(made, min(GRID_COLUMNS, len(made))), scale)


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
    from veilform.models.vision.generative import Encoder
    from veilform.serve.remote import remote_client
    from veilform.vision.dcvae import asking

    if out.suffix.lower() != ".npy":
        raise InputError(f"{out}: latents are written as an .npy file; name one that ends so")
    asking.require(public, Encoder)
    pictures = families.client_side(public).encoder.encode(image)

    def connect() -> Client:
        return remote_client(public, server, dealer, certificates, stock)

    with _asking("encoding", len(pictures), out, connect, as_json) as (client, part, tell):
        found = asking.encode(client, pictures, tell)
        with part.open("wb") as file:
            np.save(file, found, allow_pickle=False)


@contextmanager
def _asking(
    what: str, total: int, out: Path, connect: Callable[[], Client], as_json: bool
) -> Iterator[tuple[Client, Path, Callable[[InferenceCost], None]]]:
    """A client, what to write in place of ``out``, and what is told of each cost; then a report.

    The file is made first, so that no run is spent on what cannot be written.
    """
    costs: list[InferenceCost] = []
    with ExitStack() as stack:
        try:
            part = stack.enter_context(replacing(out))
        except OSError as error:
            raise InputError(f"cannot write {out}: {error.strerror}") from None
        client = stack.enter_context(connect())
        bar = stack.enter_context(
            Progress(console=console.err, disable=as_json or not console.err.is_terminal)
        )
        task = bar.add_task(what, total=total)

        def tell(cost: InferenceCost) -> None:
            costs.append(cost)
            bar.advance(task)

        yield client, part, tell
    _report(out, costs, as_json)


def as_png(out: Path) -> None:
    """Raises InputError for a file that is called something else."""
    if out.suffix.lower() != ".png":
        raise InputError(f"{out}: pictures are written as PNG; name a file that ends in .png")


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
