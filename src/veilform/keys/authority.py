"""A deployment's certificate authority, which issues, renews and takes back parties' certificates.

    folder/authority-1.pem, authority-1-key.pem     and -2, once the authority was rotated
    folder/issued/NUMBER-SERIAL.pem                 every certificate; no party's key
    folder/revoked.pem                              the list of each authority

Keep the folder apart from every party's, and off line if you can: who holds it can be any party.
What parties get is ``ca.pem`` (all authorities that still count) and ``revoked.pem``, both public,
and a key and certificate of their own, which exist in the folder that `issue` writes alone.
"""

from __future__ import annotations

import datetime as dt
import re
import secrets
from pathlib import Path

from cryptography import x509

from veilform.errors import InputError
from veilform.keys.ledger import Entry, Ledger, authority_paths, entry
from veilform.roles import Role
from veilform.transport import certificates as x

AUTHORITY_DAYS = 1095
PARTY_DAYS = 90
_MOST_AUTHORITY_DAYS = 3650
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Keys(Ledger):
    """An authority's folder, and what can be done with it."""

    @classmethod
    def init(
        cls, folder: Path, days: int = AUTHORITY_DAYS, start: dt.datetime | None = None
    ) -> Keys:
        """Makes an authority in a folder that must be empty or new.

        Raises:
            InputError: it is not, or ``days`` is out of range.
        """
        folder = Path(folder)
        period = x.valid_for(days, start, _MOST_AUTHORITY_DAYS)
        with x.telling(folder):
            x.new_folder(folder)
            x.new_folder(folder / "issued")
            _add_authority(folder, 1, period)
        keys = cls(folder)
        keys._write_lists({})
        return keys

    def issue(
        self,
        role: Role,
        name: str,
        out: Path,
        days: int = PARTY_DAYS,
        start: dt.datetime | None = None,
        request: bytes | None = None,
    ) -> Entry:
        """Makes a party's folder: key, certificate, authorities and their lists.

        Args:
            name: of the party: lower-case letters, digits and hyphens.
            out: must be empty or new.
            request: of `new_request`; the party has its key then, and none is made here.

        Raises:
            InputError: it is not, the party has a certificate already, or the period is too long.
        """
        if self.of(role, name):
            raise InputError(
                f"{role.value} {name!r} has a certificate: renew it with `veilform keys rotate`, "
                "or choose another name"
            )
        if request is not None:
            x.requested(request)  # before anything is made
        with x.telling(out):
            x.new_folder(out)
        return self._write_party(role, name, out, days, start, request)

    def rotate(
        self,
        role: Role,
        name: str,
        out: Path,
        days: int = PARTY_DAYS,
        request: bytes | None = None,
    ) -> Entry:
        """Gives a party a new key and certificate; its old ones stay valid until they end.

        Args:
            out: a new folder, or the party's, whose files are replaced one by one; a running
                party goes on with the old ones until all are there.
            request: as in `issue`.

        Raises:
            InputError: the party is not known.
        """
        if not self.of(role, name):
            raise InputError(
                f"there is no {role.value} {name!r} to renew: `veilform keys issue` makes one"
            )
        return self._write_party(role, name, out, days, None, request)

    def rotate_authority(self, days: int = AUTHORITY_DAYS) -> Entry:
        """Adds an authority that signs from now on. Parties trust both once `publish` told them.

        Raises:
            InputError: ``days`` is out of range.
        """
        numbers = self.numbers()
        period = x.valid_for(days, None, _MOST_AUTHORITY_DAYS)
        with x.telling(self.folder):
            certificate = _add_authority(self.folder, numbers[-1] + 1, period)
        self._write_lists(self.revoked())
        return entry(certificate, "valid")

    def retire(self) -> list[Entry]:
        """Removes all authorities but the newest, with what they have signed.

        Raises:
            InputError: there is one only, or a certificate that an old one signed is in use.
        """
        *old, newest = self.numbers()
        if not old:
            raise InputError("there is one authority only: see `veilform keys rotate --authority`")
        subject = self.load(newest).certificate.subject
        theirs = {f"{c.serial_number:x}" for c in self.issued() if c.issuer != subject}
        for each in self.status():
            if each.serial in theirs and each.state in ("valid", "ends soon"):
                raise InputError(
                    f"the certificate of {each.name!r} is the old authority's: renew it with "
                    "`veilform keys rotate`, or revoke it"
                )
        gone = self.status()[: len(old)]
        revoked = self.revoked()
        with x.telling(self.folder):
            for number in old:
                for path in self.paths(number):
                    path.unlink()
            for path, certificate in self.issued_files():
                if certificate.issuer != subject:
                    path.unlink()
        self._write_lists(revoked)
        return gone

    def revoke(self, serial_or_name: str, role: Role | None = None) -> list[Entry]:
        """Takes back one certificate by its serial number, or all of a party by its name.

        It takes effect at a party when it gets the new ``revoked.pem``, for new connections.

        Raises:
            InputError: nothing valid is called so, or parties of two roles are.
        """
        found = [
            each
            for each in self.status()
            if serial_or_name in (each.serial, each.name)
            and each.role is not None
            and role in (None, each.role)
            and each.state != "revoked"
        ]
        if not found:
            raise InputError(f"nothing that can be taken back is called {serial_or_name!r}")
        if len({each.role for each in found}) > 1:
            raise InputError(f"two roles have a party {serial_or_name!r}: say which with --role")
        now = dt.datetime.now(dt.timezone.utc)
        revoked = self.revoked()
        for one in found:
            serial = int(one.serial, 16)
            builder = x509.RevokedCertificateBuilder().serial_number(serial)
            revoked[serial] = builder.revocation_date(now).build()
        self._write_lists(revoked)
        return found

    def publish(self, party: Path) -> None:
        """Writes what is public into a party's folder: the authorities and their lists.

        Raises:
            InputError: it is no party's folder.
        """
        if not (party / "certificate.pem").is_file():
            raise InputError(f"{party} is no party's folder: it holds no certificate.pem")
        self._write_public(party)

    def _write_party(
        self,
        role: Role,
        name: str,
        out: Path,
        days: int,
        start: dt.datetime | None,
        request: bytes | None,
    ) -> Entry:
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{name!r} is no name: lower-case letters, digits and hyphens, at most 63"
            )
        authority = self.load(self.numbers()[-1])
        period = x.valid_for(days, start)
        end = authority.certificate.not_valid_after_utc
        if period[1] > end:
            raise InputError(
                f"the authority ends on {end:%Y-%m-%d}, before the certificate would: ask for "
                "fewer days, or `veilform keys rotate --authority`"
            )
        key = x.new_key() if request is None else None
        public = key.public_key() if key is not None else x.requested(request or b"")
        certificate = x.sign(authority, role, name, period, public)
        content = x.pem([certificate])
        with x.telling(out):
            # Written down before it is handed out, so that it can always be revoked.
            last = max((int(path.name[:6]) for path, _ in self.issued_files()), default=0)
            named = f"{last + 1:06d}-{certificate.serial_number:x}.pem"
            x.write(self.folder / "issued" / named, content)
            out.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write_public(out)
            if key is not None:
                x.write(out / "key.pem", x.key_pem(key))
            x.write(out / "certificate.pem", content)
        return entry(certificate, "valid")

    def _write_public(self, party: Path) -> None:
        authorities = [self.load(number).certificate for number in reversed(self.numbers())]
        if len(self.lists()) != len(authorities):  # an authority was being added, or retired
            self._write_lists(self.revoked())
        with x.telling(party):
            # A list more than authorities does no harm, an authority without a list does.
            x.write(party / "revoked.pem", (self.folder / "revoked.pem").read_bytes())
            x.write(party / "ca.pem", x.pem(authorities))

    def _write_lists(self, revoked: dict[int, x509.RevokedCertificate]) -> None:
        """Each authority lists what it has signed itself."""
        signed = {each.serial_number: each.issuer for each in self.issued()}
        previous = [
            each.extensions.get_extension_for_class(x509.CRLNumber) for each in self.lists()
        ]
        number = 1 + max((each.value.crl_number for each in previous), default=0)
        lists = []
        for authority in map(self.load, self.numbers()):
            subject = authority.certificate.subject
            own = [each for serial, each in revoked.items() if signed.get(serial) == subject]
            lists.append(x.revocation_list(authority, own, number))
        with x.telling(self.folder):
            x.write(self.folder / "revoked.pem", x.pem(lists))


def new_request(out: Path) -> None:
    """Makes a party's key where it will be used, and a request to have it signed.

    Raises:
        InputError: ``out`` holds something, or cannot be written.
    """
    with x.telling(out):
        x.new_folder(out)
        key = x.new_key()
        x.write(out / "key.pem", x.key_pem(key))
        x.write(out / "request.pem", x.request(key))


def _add_authority(folder: Path, number: int, period: x.Period) -> x509.Certificate:
    """Names differ, so that a certificate and a list tell which authority they are from."""
    name = f"Veilform authority {secrets.token_hex(4)}"
    authority = x.new_authority(name, period, signs_lists=True)
    certificate, key = authority_paths(folder, number)
    x.write(key, x.key_pem(authority.key))
    x.write(certificate, x.pem([authority.certificate]))
    return authority.certificate
