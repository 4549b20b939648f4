"""What every command shares: output, options, and errors as one line and an exit code."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler

from veilform.errors import InputError, VeilformError

if TYPE_CHECKING:
    from veilform.models.sides import ServerSide

LAST_S = 1.7

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
    Path, typer.Option(help="This party's folder of `veilform keys`, or the deployment's.")
]
Public = Annotated[Path, typer.Argument(help="The folder that `veilform export` made.")]
ServerAt = Annotated[str, typer.Option("--server", help="host:port of the server.")]
DealerAt = Annotated[str, typer.Option("--dealer", help="host:port of the dealer.")]
ClientStock = Annotated[
    Path, typer.Option("--stock", help="Folder for this client's stock; kept private.")
]
Pairs = Annotated[
    bool,
    typer.Option("--pairs", help="Each line of the file is a pair: two texts, a tab between them."),
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Spread the work over a Ray cluster: `local` starts one on this machine; or host:port "
        "of one that runs, with RAY_USE_TLS=1. See docs/deployment.md.",
    ),
]
LinkName = Annotated[
    str,
    typer.Option(
        "--link",
        help="Slow down what this process sends, to measure: loopback (not at all), "
        "lan (1 Gbit/s, 1 ms round trip) or wan (200 Mbit/s, 40 ms).",
    ),
]


def require_extra(extra: str, *modules: str) -> None:
    """Raises InputError, with what to install, when a module of an extra is missing."""
    if any(importlib.util.find_spec(module) is None for module in modules):
        raise InputError(f"this needs an extra: pip install 'veilform[{extra}]'")


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


def say(line: str) -> None:
    """One line on standard output, at once: a program may wait for it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def log_to_stderr(log_format: str = "text") -> None:
    """Shows what a service does, one line an event: as ``text``, or ``json``."""
    from veilform.observe.logs import JsonFormatter

    as_json = log_format == "json"
    handler: logging.Handler = (
        RichHandler(console=err, show_path=False)
        if err.is_terminal and not as_json
        else logging.StreamHandler(sys.stderr)
    )
    handler.setFormatter(JsonFormatter() if as_json else logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def stop_on_signals(
    stop: Callable[[float], object], until_stdin_closes: bool, patience_s: float = 0.0
) -> None:
    """Calls ``stop`` on Ctrl-C, on SIGTERM, and, for a child process, when its parent is gone.

    ``stop`` is given the time in which requests in work may end; at a second signal, none. A
    process that is still busy two seconds after that ends nevertheless.
    """
    called = False

    def stop_soon(*_: object) -> None:
        nonlocal called
        left = 0.0 if called else patience_s
        called = True
        # Not in the signal handler itself, which may have interrupted a lock's holder.
        threading.Thread(target=stop, args=(left,), daemon=True).start()
        last = threading.Timer(left + LAST_S, end_at_once)
        last.daemon = True
        last.start()

    signal.signal(signal.SIGTERM, stop_soon)
    signal.signal(signal.SIGINT, stop_soon)
    if until_stdin_closes:

        def watch() -> None:
            # Not sys.stdin: its lock, held in a daemon thread, would crash the interpreter's end.
            with contextlib.suppress(OSError):
                while os.read(0, 4096):
                    pass
            stop_soon()
            stop_soon()  # nobody is left to wait for an answer

        threading.Thread(target=watch, daemon=True).start()


def act_on_hangup(what: str, act: Callable[[], object]) -> None:
    """Does something again at each SIGHUP. What cannot be done is logged, and nothing else."""
    log, one_at_a_time = logging.getLogger("veilform"), threading.Lock()

    def work() -> None:
        with one_at_a_time:
            try:
                act()
                log.info("%s were read again", what)
            except VeilformError as error:
                log.error("%s stay as they were: %s", what, error)

    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=work, daemon=True).start())


def end_at_once() -> None:
    """Ends this process with code 0, without waiting for its threads."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)


def unwind_on_sigterm() -> None:
    """Lets SIGTERM end the program as Ctrl-C does, so that it removes what it made."""

    def unwind(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, unwind)


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
        raise InputError("no text: give one with --text, or --file FILE (- for standard input)")
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"the texts are not valid UTF-8 (byte {error.start}); convert them first, "
            "for example with iconv"
        ) from None
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None
    kept = [line.removesuffix("\r") for line in lines if line.strip()]
    if not kept:
        raise InputError(f"there is no text in {file}")
    return kept


def paired(
    texts: list[str], seconds: list[str] | None, in_lines: bool
) -> Sequence[str | tuple[str, str]]:
    """``texts``, each with its second text if there are any, or split in two at a tab.

    Raises:
        InputError: there are not as many seconds as texts, or a line is no pair.
    """
    from veilform.models.text import split_pairs

    if in_lines:
        return split_pairs(texts, "\t")
    if not seconds:
        return texts
    if len(seconds) != len(texts):
        raise InputError(f"{len(seconds)} second texts for {len(texts)}; give one for each --text")
    return list(zip(texts, seconds, strict=True))


def read_side(model: str, private_embedding: bool = False) -> ServerSide:
    """A model as its server holds it, at every length that it has.

    Raises:
        ModelError: there is no such model, or it cannot be served.
    """
    from veilform.models import families
    from veilform.models.checkpoint import resolve

    return families.server_side(resolve(model), private_embedding, only_calibrated=False)


_UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Click's, which newer versions of typer carry under another name."""


def guarded(run: Callable[[], object]) -> int:
    """Runs a program; an expected error becomes one line on stderr. Returns the exit code."""
    try:
        code = run()
    except VeilformError as error:
        return _complain(str(error), error.exit_code)
    except _UsageError as error:
        return _complain(_usage(error), InputError.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted", 128 + signal.SIGINT)
    except BrokenPipeError:
        # Whoever read the output has left. Nothing more can be written, at the end neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        return _complain(f"{error.filename or 'the system'}: {error.strerror or error}", 1)
    if code == 128 + signal.SIGINT:
        return _complain("interrupted", code)
    return code if isinstance(code, int) else 0


def _complain(text: str, code: int) -> int:
    line = " ".join(text.split())
    err.print(f"error: {line}", markup=False, highlight=False, soft_wrap=True)
    return code


def _usage(error: Any) -> str:
    """What was wrong with the command line, and where to read more."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "veilform"
    text = error.format_message() or "A command is missing."
    return f"{text.rstrip('.')}. See `{command} --help`."
