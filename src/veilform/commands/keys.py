"""Commands of the certificate authority: ``veilform keys``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from veilform.commands import console
from veilform.commands.console import Json
from veilform.errors import InputError
from veilform.roles import Role

if TYPE_CHECKING:
    from veilform.keys import Entry

app = typer.Typer(no_args_is_help=True, help="Make, renew and take back parties' certificates.")

_AUTHORITY_DAYS, _PARTY_DAYS, _SOON_DAYS = 1095, 90, 14

Authority = Annotated[
    Path, typer.Argument(help="The authority's folder; keep it apart from every party's.")
]
Name = Annotated[str, typer.Option(help="What this party is called, among those of its role.")]
Out = Annotated[Path, typer.Option(help="The party's folder, to be copied to its machine.")]
Days = Annotated[int, typer.Option(help="How long it is valid.", min=1, max=825)]
Request = Annotated[
    Path | None,
    typer.Option(help="A party's request.pem: its key stays with it, and none is made here."),
]
AuthorityDays = Annotated[int, typer.Option(help="How long it is valid.", min=1, max=3650)]


@app.command()
def init(folder: Authority, days: AuthorityDays = _AUTHORITY_DAYS) -> None:
    """Make an authority in a new folder. Whoever holds it can be any party."""
    from veilform.keys import Keys

    Keys.init(folder, days)
    _say(f"Made the authority in {folder}. Keep it off line, and out of parties' machines.")


@app.command()
def request(out: Out) -> None:
    """Make a party's key on its own machine, and a request for the authority to sign."""
    from veilform.keys import new_request

    new_request(out)
    _say(
        f"Made {out}/key.pem, which stays here, and {out}/request.pem. The authority answers with "
        "`veilform keys issue ... --request request.pem`; put its files beside the key."
    )


@app.command()
def issue(
    folder: Authority,
    role: Annotated[Role, typer.Argument(help="What the party may act as.")],
    name: Name,
    out: Out,
    days: Days = _PARTY_DAYS,
    request: Request = None,
) -> None:
    """Make a new party's key and certificate; with --request, the certificate alone."""
    from veilform.keys import Keys

    entry = Keys(folder).issue(role, name, out, days, request=_request(request))
    _say(f"Made {out} for {role.value} {name!r}, valid until {entry.ends:%Y-%m-%d}.")


@app.command()
def rotate(
    folder: Authority,
    role: Annotated[Role | None, typer.Argument(help="The party's role.")] = None,
    name: Annotated[str | None, typer.Option(help="The party's name.")] = None,
    out: Annotated[Path | None, typer.Option(help="A new folder, or the party's own.")] = None,
    authority: Annotated[
        bool, typer.Option("--authority", help="Renew the authority instead of a party.")
    ] = False,
    days: Annotated[int | None, typer.Option(help="How long it is valid.", min=1)] = None,
    request: Request = None,
) -> None:
    """Make a new key and certificate. The old ones stay valid until they end or are revoked."""
    from veilform.keys import Keys

    keys = Keys(folder)
    if authority:
        if role is not None or name is not None or out is not None:
            raise InputError("give a party, or --authority")
        entry = keys.rotate_authority(days or _AUTHORITY_DAYS)
        _say(
            f"A new authority signs until {entry.ends:%Y-%m-%d}. Now `veilform keys publish` to "
            "every party, then renew their certificates, then `veilform keys retire`."
        )
        return
    if role is None or name is None or out is None:
        raise InputError("give the role, --name and --out of the party, or --authority")
    entry = keys.rotate(role, name, out, days or _PARTY_DAYS, _request(request))
    _say(f"Renewed {role.value} {name!r} in {out}, valid until {entry.ends:%Y-%m-%d}.")


@app.command()
def revoke(
    folder: Authority,
    which: Annotated[str, typer.Argument(help="A party's name, or one serial number.")],
    role: Annotated[Role | None, typer.Option(help="If two roles have such a party.")] = None,
) -> None:
    """Take certificates back. Works where the new list is: publish it to every party."""
    from veilform.keys import Keys

    revoked = Keys(folder).revoke(which, role)
    _say(
        f"Revoked {len(revoked)} certificate(s) of {which!r}. Copy {folder}/revoked.pem to every "
        "party, or use `veilform keys publish`; restart a party to end connections that are open."
    )


@app.command()
def publish(
    folder: Authority,
    parties: Annotated[list[Path], typer.Argument(help="Parties' folders.")],
) -> None:
    """Write what is public, ca.pem and revoked.pem, into parties' folders."""
    from veilform.keys import Keys

    keys = Keys(folder)
    for party in parties:
        keys.publish(party)
        _say(f"Wrote {party}/ca.pem and {party}/revoked.pem.")


@app.command()
def retire(folder: Authority) -> None:
    """Remove the old authorities, when every certificate is the new one's. Then publish."""
    from veilform.keys import Keys

    gone = Keys(folder).retire()
    _say(f"Removed {len(gone)} old authority(s). Now `veilform keys publish` to every party.")


@app.command()
def status(
    folder: Authority,
    days: Annotated[
        int, typer.Option(help="Warn of what ends within so many days.", min=0)
    ] = _SOON_DAYS,
    as_json: Json = False,
) -> None:
    """Who has which certificate until when. Exit code 1 if one must be renewed."""
    from veilform.keys import Ledger

    entries = Ledger(folder).status(dt.timedelta(days=days))
    late = _late(entries)
    if as_json:
        console.print_json({"certificates": [_row(e) for e in entries], "renew": late})
    else:
        table = Table("who", "role", "serial", "valid until", "state")
        for entry in entries:
            row = _row(entry)
            table.add_row(*(row[key] for key in ("name", "role", "serial")),
                          f"{entry.ends:%Y-%m-%d}", entry.state)  # fmt: skip
        console.out.print(table)
        for each in late:
            console.err.print(f"warning: renew {each}", markup=False, highlight=False)
    if late:
        raise typer.Exit(1)


@app.command()
def deployment(
    folder: Annotated[Path, typer.Argument(help="Where to put it; must be empty or new.")],
    days: Days = _PARTY_DAYS,
) -> None:
    """Make an authority and one party of each role: init and three times issue."""
    from veilform.keys import Keys

    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty: certificates need a new directory")
    keys = Keys.init(folder / "authority", max(days, _AUTHORITY_DAYS))
    for role in Role:
        keys.issue(role, role.value, folder / role.value, days)
    _say(
        f"Made {folder}/client, {folder}/server and {folder}/dealer. Copy each to its party's "
        f"machine, and to no other: a private key belongs to one party. {folder}/authority "
        "renews them; keep it off line."
    )


def _request(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def _late(entries: Iterable[Entry]) -> list[str]:
    """Who has no certificate that stays valid for a while, apart from those taken back."""
    states: dict[str, set[str]] = {}
    for entry in entries:
        who = f"{entry.role.value if entry.role else 'authority'} {entry.name}"
        states.setdefault(who, set()).add(entry.state)
    return [who for who, held in states.items() if "valid" not in held and held != {"revoked"}]


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "role": entry.role.value if entry.role else "authority",
        "serial": entry.serial,
        "begins": entry.begins.isoformat(),
        "ends": entry.ends.isoformat(),
        "state": entry.state,
    }


def _say(text: str) -> None:
    console.out.print(text, soft_wrap=True, highlight=False, markup=False)
