"""What an authority's folder says: the authorities, what they signed, what they took back."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from veilform.errors import InputError
from veilform.roles import Role
from veilform.transport.certificates import Authority
from veilform.transport.identity import SOON, name_of, read_lists, role_in

State = Literal["valid", "ends soon", "replaced", "revoked", "expired", "not valid yet"]
Revoked = dict[int, x509.RevokedCertificate]
"""By serial number."""


@dataclass(frozen=True)
class Entry:
    """A certificate, and how it stands. ``role`` is None for an authority."""

    name: str
    role: Role | None
    serial: str
    begins: dt.datetime
    ends: dt.datetime
    state: State


class Ledger:
    """An authority's folder, read.

    Raises:
        InputError: it is none, or a file in it is not what it should be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        if not self.numbers():
            raise InputError(f"{folder} holds no authority: make one with `veilform keys init`")

    def status(self, soon: dt.timedelta = SOON) -> list[Entry]:
        """The authorities, oldest first, then every certificate by role, name and age.

        Args:
            soon: a certificate that is in use and ends within this time "ends soon".
        """
        authorities = [self.load(number).certificate for number in self.numbers()]
        found = _entries(authorities, {}, soon)
        issued = _entries(self.issued(), self.revoked(), soon)
        return found + sorted(issued, key=lambda e: (e.role.value if e.role else "", e.name))

    def of(self, role: Role, name: str) -> list[Entry]:
        """A party's certificates."""
        return [each for each in self.status() if (each.role, each.name) == (role, name)]

    def issued(self) -> list[x509.Certificate]:
        """All that was signed, oldest first."""
        return [certificate for _, certificate in self.issued_files()]

    def issued_files(self) -> list[tuple[Path, x509.Certificate]]:
        """The same, with the file that each is in."""
        found = []
        for path in sorted((self.folder / "issued").glob("[0-9]*.pem")):
            try:
                found.append((path, x509.load_pem_x509_certificate(path.read_bytes())))
            except (OSError, ValueError):
                raise InputError(f"{path} is no certificate") from None
        return found

    def lists(self) -> list[x509.CertificateRevocationList]:
        """The authorities' lists of what they took back."""
        path = self.folder / "revoked.pem"
        try:
            return read_lists(path.read_bytes()) if path.is_file() else []
        except (OSError, ValueError):
            raise InputError(f"{path} is no list of revoked certificates") from None

    def revoked(self) -> Revoked:
        """What was taken back, by all authorities."""
        return {each.serial_number: each for one in self.lists() for each in one}

    def numbers(self) -> list[int]:
        """Of the authorities; the last one signs."""
        found = [re.fullmatch(r"authority-(\d+)\.pem", p.name) for p in self.folder.glob("*.pem")]
        return sorted(int(each[1]) for each in found if each)

    def paths(self, number: int) -> tuple[Path, Path]:
        """An authority's certificate and key."""
        return authority_paths(self.folder, number)

    def load(self, number: int) -> Authority:
        """An authority with its key."""
        certificate, key = self.paths(number)
        try:
            parsed = serialization.load_pem_private_key(key.read_bytes(), None)
            return Authority(x509.load_pem_x509_certificate(certificate.read_bytes()), parsed)  # type: ignore[arg-type]
        except OSError as error:
            raise InputError(f"cannot read {error.filename}: {error.strerror}") from None
        except Exception:  # whatever the parser says, it must not quote a key file
            raise InputError(f"{certificate} or {key} is damaged") from None


def authority_paths(folder: Path, number: int) -> tuple[Path, Path]:
    """Where an authority's certificate and key lie."""
    stem = f"authority-{number}"
    return folder / f"{stem}.pem", folder / f"{stem}-key.pem"


def entry(certificate: x509.Certificate, state: State) -> Entry:
    """How a certificate is told of."""
    return Entry(
        name_of(certificate),
        role_in(certificate),
        f"{certificate.serial_number:x}",
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        state,
    )


def _entries(
    certificates: list[x509.Certificate], revoked: Revoked, soon: dt.timedelta
) -> list[Entry]:
    """In the same order, which is oldest first: a later one of the same party replaces others."""
    now = dt.datetime.now(dt.timezone.utc)
    replaced: set[tuple[Role | None, str]] = set()
    found = []
    for each in reversed(certificates):
        state: State = "valid"
        party = role_in(each), name_of(each)
        if each.serial_number in revoked:
            state = "revoked"
        elif now > each.not_valid_after_utc:
            state = "expired"
        elif now < each.not_valid_before_utc:
            state = "not valid yet"
        elif party in replaced:
            state = "replaced"
        elif now + soon > each.not_valid_after_utc:
            state = "ends soon"
        if state in ("valid", "ends soon"):
            replaced.add(party)
        found.append(entry(each, state))
    return found[::-1]
