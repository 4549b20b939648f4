"""The demo: three processes, real reviews, private answers beside plain ones."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from veilform.commands import console
from veilform.commands.console import Json
from veilform.errors import InputError, of_exit_code

HELD_OUT = "heldout.jsonl"
REVIEWS = 5


def demo(
    text: Annotated[
        list[str] | None, typer.Option(help="A text of your own; may be repeated.")
    ] = None,
    model: Annotated[str, typer.Option(help="A checkpoint folder, or a shipped student.")] = "",
    as_json: Json = False,
) -> None:
    """Start dealer, server and client on this machine, and classify held-out reviews privately."""
    from veilform.models.checkpoint import resolve
    from veilform.pipeline import DEFAULT_MODEL, PlainClassifier
    from veilform.serve.local import LocalService

    model = model or DEFAULT_MODEL
    folder = resolve(model)
    texts = console.read_texts(text, None) if text else held_out(folder, REVIEWS)
    # One line a text goes to the client process.
    texts = [" ".join(one.split()) for one in texts]
    plain = PlainClassifier(folder)
    plain_answers = plain(texts)
    with console.step("starting", as_json) as tell, LocalService(folder, progress=tell) as service:
        tell(f"classifying {len(texts)} texts privately")
        rows = _client_process(service, texts)
    results = [
        {**row, "plain_label": p["label"], "plain_score": p["score"]}
        for row, p in zip(rows, plain_answers, strict=True)
    ]
    if as_json:
        console.print_json(summary(model, results))
    else:
        _show(model, results)


def held_out(folder: Path, count: int) -> list[str]:
    """The first reviews of the model's held-out file.

    Raises:
        InputError: when the model has none.
    """
    path = folder / HELD_OUT
    if not path.is_file():
        raise InputError(f"{folder} has no {HELD_OUT}; give texts of your own with --text")
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in itertools.islice(lines, count)]


def summary(model: str, results: list[dict[str, Any]]) -> dict[str, Any]:
    """The JSON document: all answers, and the figures of the inference of median online time."""
    costs = sorted((row["cost"] for row in results), key=lambda cost: cost["online_seconds"])
    figures = costs[len(costs) // 2]
    names = ("text", "label", "score", "plain_label", "plain_score")
    shown = (
        "online_seconds",
        "offline_seconds",
        "bytes_client_to_server",
        "bytes_server_to_client",
    )
    return {
        "model": model,
        "results": [{name: row[name] for name in names} for row in results],
        **{name: figures[name] for name in (*shown, "messages")},
    }


def _client_process(service: Any, texts: list[str]) -> list[dict[str, Any]]:
    """Runs ``veilform classify`` as the third process. The texts go by its standard input."""
    command = [sys.executable, "-m", "veilform", "classify", str(service.public)]
    command += [
        "--certificates",
        str(service.certificates),
        "--stock",
        str(service.folder / "stock"),
    ]
    command += [
        "--server",
        "{}:{}".format(*service.server),
        "--dealer",
        "{}:{}".format(*service.dealer),
    ]
    command += ["--file", "-", "--json"]
    done = subprocess.run(  # noqa: S603 - our own program, no shell
        command,
        input="\n".join(texts),
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    if done.returncode:
        complaint = done.stderr.strip().removeprefix("error: ")
        raise of_exit_code(done.returncode)(complaint or "the client failed")
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def _show(model: str, results: list[dict[str, Any]]) -> None:
    table = Table(title=f"{model}: private beside plain", show_lines=True)
    table.add_column("text", overflow="fold", ratio=1)
    for name in ("private", "plain", "one inference"):
        table.add_column(name, no_wrap=True)
    for row in results:
        cost = row["cost"]
        table.add_row(
            escape(row["text"]),
            escape(f"{row['label']}\n{row['score']:.4f}"),
            escape(f"{row['plain_label']}\n{row['plain_score']:.4f}"),
            f"{cost['online_seconds']:5.2f} s online\n"
            f"{cost['offline_seconds']:5.2f} s offline\n"
            f"{cost['bytes_client_to_server'] / 1e6:5.1f} MB up\n"
            f"{cost['bytes_server_to_client'] / 1e6:5.1f} MB down\n"
            f"{cost['messages']:5d} messages",
        )
    console.out.print(table)
    same = sum(row["label"] == row["plain_label"] for row in results)
    console.out.print(
        f"{same} of {len(results)} private labels equal the plain ones. Dealer, server and client "
        "ran as three processes; the server saw no text, the client no weight.",
        soft_wrap=True,
    )
