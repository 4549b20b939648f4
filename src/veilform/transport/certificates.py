"""X.509 for a deployment: authorities, parties' certificates, lists of those taken back.

`create_deployment` makes all of a deployment at once and forgets the authority's key, for the
demonstration and for tests. `veilform.keys` keeps an authority, which renews and revokes.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from veilform.errors import InputError
from veilform.roles import Role
from veilform.transport.identity import DOMAIN, host_name

_CLOCK_SKEW = dt.timedelta(minutes=5)
_MOST_DAYS = 825
_CURVE = "secp256r1"
Key = ec.EllipticCurvePrivateKey
Period = tuple[dt.datetime, dt.datetime]


@dataclass(frozen=True, repr=False)
class Authority:
    """An authority's certificate and key."""

    certificate: x509.Certificate
    key: Key


def create_deployment(directory: Path, days: int = 30, start: dt.datetime | None = None) -> None:
    """Make an authority, and a certificate and key for each of the three roles.

    The authority's key signs three certificates and is then forgotten: it is never written, nobody
    can steal it, and new certificates mean a new deployment.

    Args:
        directory: is created (mode 0700; files 0600). It must not exist, or be empty.
        days: how long everything is valid, 1 to 825.
        start: when validity begins; now, unless given.

    Raises:
        InputError: the directory holds something, cannot be written, or ``days`` is out of range.
    """
    directory = Path(directory)
    period = valid_for(days, start)
    with telling(directory):
        new_folder(directory)
        authority = new_authority("Veilform deployment", period, signs_lists=False)
        for role in Role:
            key = new_key()
            certificate = sign(authority, role, host_name(role), period, key.public_key())
            party = new_folder(directory / role.value)
            write(party / "ca.pem", pem([authority.certificate]))
            write(party / "certificate.pem", pem([certificate]))
            write(party / "key.pem", key_pem(key))


def valid_for(days: int, start: dt.datetime | None = None, most: int = _MOST_DAYS) -> Period:
    """From a little before ``start`` (for clocks that differ) until ``days`` after it.

    Raises:
        InputError: out of range.
    """
    if not 1 <= days <= most:
        raise InputError(f"certificates are valid for 1 to {most} days, not {days}")
    begin = start or dt.datetime.now(dt.timezone.utc)
    return begin - _CLOCK_SKEW, begin + dt.timedelta(days=days)


def new_authority(name: str, period: Period, signs_lists: bool) -> Authority:
    """A self-signed authority that may sign parties' certificates in our domain, nothing else.

    Args:
        signs_lists: it can take certificates back; parties then demand its list.
    """
    key = new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = x509.NameConstraints([x509.DNSName(DOMAIN)], None)
    certificate = (
        _builder(subject, subject, key.public_key(), period, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True, signs_lists=signs_lists), critical=True)
        .add_extension(names, critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def new_key() -> Key:
    """A party's key, on P-256, because every OpenSSL build accepts it."""
    return ec.generate_private_key(ec.SECP256R1())


def request(key: Key) -> bytes:
    """What a party sends an authority in place of its key: the public one, signed by itself."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "request")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def requested(pem: bytes) -> ec.EllipticCurvePublicKey:
    """The public key in a request. Nothing else that it asks for is looked at.

    Raises:
        InputError: it is no request, or its sender does not hold the key.
    """
    try:
        parsed = x509.load_pem_x509_csr(pem)
        key = parsed.public_key()
        proven = parsed.is_signature_valid
    except Exception:
        raise InputError("this is no request of `veilform keys request`") from None
    if not proven or not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != _CURVE:
        raise InputError("this request is not signed by its own key on P-256")
    return key


def sign(
    authority: Authority, role: Role, name: str, period: Period, key: ec.EllipticCurvePublicKey
) -> x509.Certificate:
    """A party's certificate.

    Server and dealer listen and connect; the client only connects. The role is the certificate's
    only alternative name, which is what peers check; ``name`` tells parties of one role apart.
    """
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if role is not Role.CLIENT:
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = authority.certificate.subject
    alternative = x509.SubjectAlternativeName([x509.DNSName(host_name(role))])
    return (
        _builder(subject, issuer, key, period, authority.key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(alternative, critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def revocation_list(
    authority: Authority,
    revoked: Iterable[x509.RevokedCertificate],
    number: int,
    now: dt.datetime | None = None,
) -> x509.CertificateRevocationList:
    """The certificates that an authority has taken back.

    It stays good until its authority ends: a list that ran out would stop every connection, and a
    date in it would not bring a party the next one.

    Args:
        number: grows from list to list.
    """
    begin = (now or dt.datetime.now(dt.timezone.utc)) - _CLOCK_SKEW
    end = max(authority.certificate.not_valid_after_utc, begin + dt.timedelta(seconds=1))
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.certificate.subject)
    for each in revoked:
        builder = builder.add_revoked_certificate(each)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    return (
        builder.last_update(begin)
        .next_update(end)
        .add_extension(identifier, critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def pem(parts: Iterable[x509.Certificate | x509.CertificateRevocationList]) -> bytes:
    """Certificates or lists, one after the other."""
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in parts)


def key_pem(key: Key) -> bytes:
    """A private key. It is not encrypted: the file's mode protects it."""
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def new_folder(folder: Path) -> Path:
    """Make a folder, mode 0700, which must not exist, or be empty.

    Raises:
        InputError: it holds something.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise InputError(f"{folder} is not empty: certificates need a new directory")
    folder.chmod(0o700)
    return folder


def write(path: Path, content: bytes) -> None:
    """Put a file, mode 0600, in place at once: a reader finds the old one or the new one."""
    part = path.with_name(f".{path.name}.new")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


@contextlib.contextmanager
def telling(folder: Path) -> Iterator[None]:
    """Says what the system has against writing there."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write certificates to {folder}: {error.strerror}") from None


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    period: Period,
    issuer_key: ec.EllipticCurvePublicKey,
) -> x509.CertificateBuilder:
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(period[0])
        .not_valid_after(period[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(identifier, critical=False)
    )


def _usage(authority: bool, signs_lists: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=signs_lists,
        encipher_only=False,
        decipher_only=False,
    )
