"""A party's identity: where its authority, certificate and key lie, checked before they are used.

    folder/{ca.pem, certificate.pem, key.pem}, and revoked.pem of an authority that can revoke

`ca.pem` may hold several authorities, while one takes over from another. Whether `revoked.pem` must
be there is written in the authorities' own certificates (the key usage ``crl_sign``), so that
nobody loses the check with the file.
"""

from __future__ import annotations

import datetime as dt
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from veilform.errors import InputError
from veilform.roles import Role

DOMAIN = "veilform.internal"
SOON = dt.timedelta(days=14)
"""A certificate that ends within this time is warned of, but a short one in its last third only."""
_OTHERS = stat.S_IRWXO | stat.S_IWGRP


def host_name(role: Role) -> str:
    """The name in a party's certificate, such as ``server.veilform.internal``."""
    return f"{role.value}.{DOMAIN}"


@dataclass(frozen=True)
class Identity:
    """Where a party's authority, certificate and private key lie. Holds no key itself."""

    role: Role
    authority: Path
    certificate: Path
    key: Path

    @property
    def revoked(self) -> Path:
        """Certificates that their authority has taken back: a list from each authority."""
        return self.authority.with_name("revoked.pem")

    @classmethod
    def load(cls, directory: Path, role: Role) -> Identity:
        """The identity of ``role`` in a deployment's directory, checked as far as one side can.

        Raises:
            InputError: a file is missing, unreadable or readable by everyone, the key does not
                belong to the certificate, or the certificate is expired, revoked or another
                party's.
        """
        folder = Path(directory)
        # A deployment's folder, or this party's part of it copied to its own machine.
        if (folder / role.value).is_dir() or not (folder / "key.pem").is_file():
            folder = folder / role.value
        identity = cls(role, folder / "ca.pem", folder / "certificate.pem", folder / "key.pem")
        identity.check()
        return identity

    def check(self) -> None:
        """Looks at the files again, which may have been renewed.

        Raises:
            InputError: as in `load`.
        """
        for path in (self.authority, self.certificate, self.key):
            if not path.is_file():
                raise InputError(
                    f"{path} is missing: create the deployment's certificates, "
                    f"or copy the folder '{self.role.value}' to this machine"
                )
        if self.key.stat().st_mode & _OTHERS:
            raise InputError(f"{self.key} is open to other users: run chmod 600 on it")
        self._check_content()

    def ends(self) -> dt.datetime:
        """When the first of the certificate and its authority ends.

        Raises:
            InputError: the certificate cannot be read.
        """
        return self._period()[1]

    def warning(self, now: dt.datetime | None = None) -> str | None:
        """What to say of a certificate that ends soon; None if it does not.

        Raises:
            InputError: the certificate cannot be read.
        """
        begin, end = self._period()
        left = end - (now or dt.datetime.now(dt.timezone.utc))
        if left > min(SOON, (end - begin) / 3):
            return None
        when = f"ends on {end:%Y-%m-%d}, in {left.days} days" if left.days >= 0 else "has ended"
        return f"{self.certificate} {when}: get a new one (veilform keys rotate)"

    def must_know_revoked(self) -> bool:
        """Whether an authority of this party can take certificates back."""
        return any(_signs_lists(each) for each in _certificates(self.authority))

    def _period(self) -> tuple[dt.datetime, dt.datetime]:
        try:
            certificate, issuer, _ = self._parse()
        except Exception:  # whatever the parser says, it must not quote a key file
            raise InputError(f"{self.certificate} cannot be read") from None
        end = min(certificate.not_valid_after_utc, issuer.not_valid_after_utc)
        return certificate.not_valid_before_utc, end

    def _parse(self) -> tuple[x509.Certificate, x509.Certificate, bool]:
        """The certificate, its issuer, and whether the key belongs to it. Any error."""
        certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        key = serialization.load_pem_private_key(self.key.read_bytes(), None)
        issuer = _issuer(certificate, _certificates(self.authority))
        return certificate, issuer, key.public_key() == certificate.public_key()

    def _check_content(self) -> None:
        try:
            certificate, authority, matches = self._parse()
        except OSError as error:
            raise InputError(f"cannot read {self.key.parent}: {error.strerror}") from None
        except Exception:  # whatever the parser says, it must not quote a key file
            raise InputError(
                f"{self.key.parent} holds no valid certificate of this deployment: "
                "copy the folder again, or create the certificates again"
            ) from None
        if not matches:
            raise InputError(f"{self.key} does not belong to {self.certificate}")
        if _names_of(certificate) != [host_name(self.role)]:
            raise InputError(f"{self.certificate} is not the certificate of a {self.role.value}")
        now = dt.datetime.now(dt.timezone.utc)
        for what, path in ((authority, self.authority), (certificate, self.certificate)):
            if now > what.not_valid_after_utc:
                raise InputError(
                    f"{path} expired on {what.not_valid_after_utc:%Y-%m-%d}: "
                    "create the deployment's certificates again"
                )
            if now < what.not_valid_before_utc:
                raise InputError(
                    f"{path} is valid from {what.not_valid_before_utc:%Y-%m-%d} only: "
                    "check this machine's clock"
                )
        if _signs_lists(authority):
            self._check_not_revoked(certificate, authority)

    def _check_not_revoked(
        self, certificate: x509.Certificate, authority: x509.Certificate
    ) -> None:
        again = "copy revoked.pem from the authority (veilform keys publish)"
        if not self.revoked.is_file():
            raise InputError(f"{self.revoked} is missing: {again}")
        try:
            lists = read_lists(self.revoked.read_bytes())
            listed = next(each for each in lists if each.issuer == authority.subject)
            signed = listed.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
        except (OSError, ValueError, TypeError, StopIteration):
            signed = False
        if not signed:
            raise InputError(f"{self.revoked} is not the list of this authority: {again}")
        if listed.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
            raise InputError(
                f"{self.certificate} was revoked: get a new one (veilform keys rotate)"
            )


def read_lists(pem: bytes) -> list[x509.CertificateRevocationList]:
    """The revocation lists in a file, one of each authority.

    Raises:
        ValueError: something else is in it.
    """
    end = b"-----END X509 CRL-----"
    parts = pem.split(end)
    if parts.pop().strip():
        raise ValueError("no revocation list")
    return [x509.load_pem_x509_crl(part.strip() + b"\n" + end + b"\n") for part in parts]


def name_of(certificate: x509.Certificate) -> str:
    """A party's own name, such as ``hospital-a``; several parties have one role."""
    (attribute,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(attribute.value)


def role_in(certificate: x509.Certificate) -> Role | None:
    """The role that a certificate is for."""
    names = _names_of(certificate)
    return next((role for role in Role if names == [host_name(role)]), None)


def _certificates(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(path.read_bytes())


def _issuer(certificate: x509.Certificate, authorities: list[x509.Certificate]) -> x509.Certificate:
    """The authority that signed.

    Raises:
        ValueError: none of them.
    """
    for authority in authorities:
        try:
            certificate.verify_directly_issued_by(authority)
        except Exception:  # noqa: S112 - not this one, for whatever reason
            continue
        return authority
    raise ValueError("signed by another authority")


def _signs_lists(authority: x509.Certificate) -> bool:
    return authority.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign


def _names_of(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return names.value.get_values_for_type(x509.DNSName)
