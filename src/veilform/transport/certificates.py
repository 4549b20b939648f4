"""A deployment's own certificate authority, and the identity of each party.

    directory/client/{ca.pem, certificate.pem, key.pem}     and the same for server and dealer

Whoever holds a folder is that party, so give each machine its own folder only. The authority's key
signs three certificates and is then forgotten: it is never written, nobody can steal it, and new
certificates mean a new deployment. Whoever runs `create_deployment` has seen all three keys;
parties that do not trust one machine with that let each make its own key and have any authority
sign it with the names below.
"""

from __future__ import annotations

import datetime as dt
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from veilform.errors import InputError
from veilform.roles import Role

DOMAIN = "veilform.internal"
_CLOCK_SKEW = dt.timedelta(minutes=5)
_OTHERS = stat.S_IRWXO | stat.S_IWGRP
_Key = ec.EllipticCurvePrivateKey


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

    @classmethod
    def load(cls, directory: Path, role: Role) -> Identity:
        """The identity of ``role`` in a deployment's directory, checked as far as one side can.

        Raises:
            InputError: a file is missing, unreadable or readable by everyone, the key does not
                belong to the certificate, or the certificate is expired or another party's.
        """
        folder = Path(directory)
        # A deployment's folder, or this party's part of it copied to its own machine.
        if (folder / role.value).is_dir() or not (folder / "key.pem").is_file():
            folder = folder / role.value
        identity = cls(role, folder / "ca.pem", folder / "certificate.pem", folder / "key.pem")
        for path in (identity.authority, identity.certificate, identity.key):
            if not path.is_file():
                raise InputError(
                    f"{path} is missing: create the deployment's certificates, "
                    f"or copy the folder '{role.value}' to this machine"
                )
        if identity.key.stat().st_mode & _OTHERS:
            raise InputError(f"{identity.key} is open to other users: run chmod 600 on it")
        identity._check_content()
        return identity

    def _check_content(self) -> None:
        try:
            authority = x509.load_pem_x509_certificate(self.authority.read_bytes())
            certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
            key = serialization.load_pem_private_key(self.key.read_bytes(), None)
            matches = key.public_key() == certificate.public_key()
            certificate.verify_directly_issued_by(authority)
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


def create_deployment(directory: Path, days: int = 30, start: dt.datetime | None = None) -> None:
    """Make an authority, and a certificate and key for each of the three roles.

    Args:
        directory: is created (mode 0700; files 0600). It must not exist, or be empty.
        days: how long everything is valid, 1 to 825.
        start: when validity begins; now, unless given.

    Raises:
        InputError: the directory holds something, cannot be written, or ``days`` is out of range.
    """
    directory = Path(directory)
    if not 1 <= days <= 825:
        raise InputError(f"certificates are valid for 1 to 825 days, not {days}")
    begin = start or dt.datetime.now(dt.timezone.utc)
    period = (begin - _CLOCK_SKEW, begin + dt.timedelta(days=days))
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise InputError(f"{directory} is not empty: certificates need a new directory")
        directory.chmod(0o700)
        ca_key = ec.generate_private_key(ec.SECP256R1())
        ca = _authority(ca_key, period)
        for role in Role:
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = _certificate(role, key, ca, ca_key, period)
            _write_folder(directory / role.value, ca, certificate, key)
    except OSError as error:
        raise InputError(f"cannot write certificates to {directory}: {error.strerror}") from None


_Period = tuple[dt.datetime, dt.datetime]


def _authority(key: _Key, period: _Period) -> x509.Certificate:
    """A self-signed authority that may sign parties' certificates in our domain, nothing else."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Veilform deployment")])
    names = x509.NameConstraints([x509.DNSName(DOMAIN)], None)
    return (
        _builder(name, name, key.public_key(), period, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(names, critical=True)
        .sign(key, hashes.SHA256())
    )


def _certificate(
    role: Role, key: _Key, ca: x509.Certificate, ca_key: _Key, period: _Period
) -> x509.Certificate:
    """A party's certificate. Server and dealer listen and connect; the client only connects."""
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if role is not Role.CLIENT:
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host_name(role))])
    alternative = x509.SubjectAlternativeName([x509.DNSName(host_name(role))])
    return (
        _builder(name, ca.subject, key.public_key(), period, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(alternative, critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    period: _Period,
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


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _names_of(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return names.value.get_values_for_type(x509.DNSName)


def _write_folder(
    folder: Path, ca: x509.Certificate, certificate: x509.Certificate, key: _Key
) -> None:
    folder.mkdir(mode=0o700)
    plain = serialization.NoEncryption()  # the file's mode protects it
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    _write_new(folder / "ca.pem", ca.public_bytes(pem))
    _write_new(folder / "certificate.pem", certificate.public_bytes(pem))
    _write_new(folder / "key.pem", key.private_bytes(pem, pkcs8, plain))


def _write_new(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
