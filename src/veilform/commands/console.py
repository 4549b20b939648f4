"""What every command shares: output, options, and errors as one line and an exit code."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler

from veilform.errors import InputError, VeilformError

out = Console()
err = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Model = Annotated[
    str,
    typer.Argument(
        help="A checkpoint folder, or the name of a shipped student.", show_default=True
    ),
]
Certificates = Annotated[
    Path, typer.Option(help="Folder made by `veilform certificates`, or this party's part of it.")
]
Listen = Annotated[str, typer.Option(help="host:port to listen at; port 0 takes a free one.")]


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


@contextlib.contextmanager
def step(text: str, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """A spinner with a text that the caller may change; silent when quiet or not on a terminal."""
    if quiet or not err.is_terminal:
        yield lambda text: None
        return
    with err.status(text) as status:
        yield status.update


def log_to_stderr() -> None:
    """Shows what a service does, one line an event."""
    handler: logging.Handler = (
        RichHandler(console=err, show_path=False)
        if err.is_terminal
        else logging.StreamHandler(sys.stderr)
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], format="%(message)s")


def stop_on_signals(stop: Callable[[], None], until_stdin_closes: bool) -> None:
    """Calls ``stop`` on Ctrl-C, on SIGTERM, and, for a child process, when its parent is gone."""

    def stop_soon(*_: object) -> None:
        # Not in the signal handler itself, which may have interrupted a lock's holder.
        threading.Thread(target=stop, daemon=True).start()

    signal.signal(signal.SIGTERM, stop_soon)
    signal.signal(signal.SIGINT, stop_soon)
    if until_stdin_closes:

        def watch() -> None:
            sys.stdin.read()
            stop()

        threading.Thread(target=watch, daemon=True).start()


def read_texts(texts: list[str] | None, file: Path | None) -> list[str]:
    """Texts of the command line, or one a line of a file (``-``: standard input).

    Raises:
        InputError: no text, both ways at once, or bytes that are not UTF-8.
    """
    if texts and file:
        raise InputError("give texts or --file, not both")
    if texts:
        for text in texts:
            # The shell's bytes that are not UTF-8 arrive as lone surrogates.
            if any("\ud800" <= c <= "\udfff" for c in text):
                raise InputError(
                    "a text is not valid UTF-8; convert it first, for example with iconv"
                )
        return texts
    if file is None:
        raise InputError("no text: give one as an argument, or --file FILE (- for standard input)")
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(
            f"the texts are not valid UTF-8 (byte {error.start}); convert them first, for example with iconv"
        ) from None
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None
    kept = [line for line in lines if line.strip()]
    if not kept:
        raise InputError(f"there is no text in {file}")
    return kept


def guarded(run: Callable[[], None]) -> None:
    """Runs a program; an expected error becomes one line on stderr and an exit code."""
    try:
        run()
    except VeilformError as error:
        err.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        err.print("interrupted", markup=False)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
