"""``--check``: a table of what is right and what is wrong with a party's settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape
from rich.table import Table

from veilform.commands import console
from veilform.errors import InputError

if TYPE_CHECKING:
    from veilform.settings.kinds import Settings

_SIGNS = {"right": "[green]ok[/]", "warning": "[yellow]warning[/]", "wrong": "[red]wrong[/]"}


def report(
    kind: type[Settings],
    file: Path | None,
    flags: Mapping[str, Any],
    reach: bool,
    as_json: bool,
) -> None:
    """Checks, prints what was found, and ends with code 2 if something is wrong.

    Args:
        reach: connect to the other parties, too.
    """
    from veilform.settings.checking import check

    with console.step("checking", as_json):
        findings = list(check(kind, file, os.environ, flags, reach))
    wrong = any(finding.state == "wrong" for finding in findings)
    if as_json:
        rows = [{"what": f.what, "state": f.state, "text": f.text} for f in findings]
        console.print_json({"ready": not wrong, "findings": rows})
    else:
        table = Table("what", "", "found")
        for finding in findings:
            table.add_row(escape(finding.what), _SIGNS[finding.state], escape(finding.text))
        console.out.print(table)
    if wrong:
        raise typer.Exit(InputError.exit_code)
