"""What commands do for image models: import, calibrate, classify, costs in two settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from veilform.commands import console
from veilform.commands.console import Json
from veilform.errors import InputError

if TYPE_CHECKING:
    from veilform.models.sides import ServerSide
    from veilform.models.vision.config import Classifier
    from veilform.plan.two_settings import Settings
    from veilform.serve.client import Client

Images = Annotated[
    list[Path] | None,
    typer.Option("--image", help="A picture, for an image model; may be given more than once."),
]
SHOWN = 3
"""Labels of each picture in a table."""


def import_(
    weights: Annotated[
        Path,
        typer.Argument(
            help="A state dict with torchvision's names (.safetensors), or a program of "
            "torch.export.save (.pt2)."
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="The model's folder; must be empty or new.")],
    config: Annotated[
        str,
        typer.Option(
            help='resnet18, resnet32, mobilenet_v2; or a JSON file: {"family": "resnet", "height": '
            '32, "width": 32, "channels": 3, "classes": 10, ...}.'
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            help="A file with the label of each class, one a line; by default the config's."
        ),
    ] = None,
    preprocessor: Annotated[
        Path | None,
        typer.Option(
            help="A folder's preprocessor_config.json, as Hugging Face has it; by default pictures "
            "are resized and scaled to [0, 1]."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make an image model's folder from its tensors. Needs no PyTorch; opens no pickle."""
    from veilform.models.vision.preprocess import PREPROCESSOR, Preprocessing
    from veilform.vision import importing

    family, names = _family(config)
    how = None
    if preprocessor is not None:
        if preprocessor.name != PREPROCESSOR or not preprocessor.is_file():
            raise InputError(f"{preprocessor} is no file called {PREPROCESSOR}")
        how = Preprocessing.read(preprocessor.parent, family.network().image)
    if labels is not None:
        names = console.read_texts(None, labels)
    with console.step("reading the tensors", as_json):
        importing.write(folder, family, importing.read_tensors(weights), how, names)
    if as_json:
        console.print_json({"folder": str(folder), "classes": family.classes})
        return
    console.out.print(
        f"Wrote {folder}. Next: veilform calibrate {folder} --images PICTURES.",
        highlight=False, markup=False,
    )  # fmt: skip


def _family(config: str) -> tuple[Classifier, Sequence[str] | None]:
    """The network, and the labels that its config file names."""
    from veilform.models.checkpoint import MAX_CONFIG_BYTES, read_json
    from veilform.models.vision.config import classifier, parse
    from veilform.models.vision.described import labels_of
    from veilform.plan.random_network import NETWORKS

    if config in NETWORKS:
        return NETWORKS[config], None
    path = Path(config)
    if not path.is_file():
        raise InputError(f"{config} is neither a file nor one of {', '.join(NETWORKS)}")
    document = read_json(path.parent, path.name, MAX_CONFIG_BYTES)
    family = classifier(parse(document))
    return family, labels_of(document, family.classes)


def named_network(model: str) -> ServerSide | None:
    """A network of random weights, if that is its name."""
    from veilform.plan.random_network import NETWORKS, random_network_side

    return random_network_side(NETWORKS[model]) if model in NETWORKS else None


def two_settings(side: ServerSide) -> Settings:
    """An image model's convolutions with a dealer and without.

    Raises:
        InputError: it takes something else.
    """
    from veilform.models.vision.sides import Side
    from veilform.plan import two_settings as both

    if not isinstance(side, Side):
        raise InputError("--dealer-free counts convolutions: it is for image models")
    return both.settings(side.network, side.scales)


def show_settings(both: Settings) -> None:
    """Each convolution in both settings, and the sums without a dealer."""
    table = Table(title="Convolutions of one image, with a dealer and without")
    table.add_column("convolution", overflow="fold")
    for name in ("here", "M products", "MiB dealt", "without", "MiB sent"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in both.convolutions:
        free, shown = row.transferred, ("", "")
        if free is not None:
            shown = f"{way(free.tile)} {free.receiver}", f"{free.bits / 2**23:,.1f}"
        table.add_row(
            row.name, way(row.tile), f"{row.dealt.multiply_adds / 1e6:,.1f}",
            f"{row.dealt.offline_bytes / 2**20:,.2f}", *shown,
        )  # fmt: skip
    console.out.print(table)
    free_ = both.free
    console.out.print(
        f"Without a dealer, by oblivious transfer: {_mib(free_.direct)} for direct convolutions, "
        f"{_mib(free_.adaptive)} by the best ways, {_mib(free_.others)} for ReLU and truncation; "
        f"{free_.saved:.2f} times fewer in all.",
        highlight=False,
    )


def way(tile: int) -> str:
    """How a convolution is computed."""
    return f"F({tile},3)" if tile else "direct"


def calibrate(folder: Path, source: str, count: int, as_json: bool) -> None:
    """Keeps in a folder where ReLUs are clipped, from some pictures of a source."""
    from veilform.models import families
    from veilform.vision import calibration, datasets

    if families.of(folder) is not families.IMAGES:
        raise InputError(f"{folder} takes texts: give a file of texts in place of --images")
    images = datasets.unlabelled(source, count)
    with Progress(console=console.err, disable=as_json or not console.err.is_terminal) as progress:
        task = progress.add_task("calibrating", total=len(images))
        clips = calibration.calibrate_on(
            folder, images, lambda done, total: progress.update(task, completed=done)
        )
    if as_json:
        console.print_json({"model": str(folder), "images": len(images), "clips": clips})
        return
    console.out.print(
        f"Calibrated on {len(images)} images; wrote {folder}/clips.json and winograd.json.",
        highlight=False, markup=False,
    )  # fmt: skip


def classify(
    images: list[Path], public: Path, connect: Callable[[], Client], as_json: bool
) -> None:
    """Labels of pictures, by a running service; they are read before anything is connected."""
    from veilform.models import families
    from veilform.models.answers import IMAGES
    from veilform.pipeline import TOP, SecureImageClassifier

    IMAGES.require(families.described(public))
    encoded = families.client_side(public).encoder.encode(images)
    rows: list[dict[str, Any]] = []
    with (
        console.step("connecting", as_json) as tell,
        SecureImageClassifier(connect()) as classifier,
    ):
        tell(f"image 1 of {len(images)}")
        for number, answer in enumerate(classifier.each(encoded), 1):
            tell(f"image {min(number + 1, len(images))} of {len(images)}")
            assert isinstance(answer, list), "nothing leaves its range"
            assert classifier.last_cost is not None
            rows.append(
                {
                    "image": str(images[number - 1]),
                    **answer[0],
                    "labels": answer[:TOP],
                    "cost": classifier.last_cost._asdict(),
                }
            )
    if as_json:
        console.print_json(rows)
        return
    table = Table("image", "labels and scores", "online s", "offline s")
    for row in rows:
        best = ", ".join(f"{each['label']} {each['score']:.3f}" for each in row["labels"][:SHOWN])
        cost = row["cost"]
        table.add_row(
            escape(row["image"]), escape(best), f"{cost['online_seconds']:.2f}",
            f"{cost['offline_seconds']:.2f}",
        )  # fmt: skip
    console.out.print(table)


def _mib(bits: int) -> str:
    return f"{bits / 2**23:,.1f} MiB"
