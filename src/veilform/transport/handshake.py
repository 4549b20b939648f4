"""TLS 1.3 with certificates on both sides, and plain words for what can go wrong with it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import ssl
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from veilform.errors import AuthenticationError, ConnectionFailed, InputError
from veilform.roles import Role
from veilform.transport.identity import Identity, host_name

_AGAIN = "use certificates of the same deployment on both sides"
_LISTS = "copy ca.pem and revoked.pem from the authority (veilform keys publish)"
_EXPIRED = "create the deployment's certificates again, or check the clocks"

# Codes of OpenSSL's x509_vfy.h for a certificate that this side refuses.
_REFUSED_HERE = {
    9: f"its certificate is not valid yet: {_EXPIRED}",
    10: f"its certificate has expired: {_EXPIRED}",
    26: "its certificate may not act in this role: check the address",
    3: f"no list of revoked certificates covers it: {_LISTS}",
    23: "its certificate was revoked by the authority",
    62: "its certificate is another role's: check the address",
} | dict.fromkeys((2, 18, 19, 20, 21, 30), f"its certificate is foreign: {_AGAIN}")

# Words in OpenSSL's reason for an alert: the peer refuses this side.
_REFUSED_THERE = {
    "ALERT_UNKNOWN_CA": f"it refused this side's certificate as foreign: {_AGAIN}",
    "ALERT_CERTIFICATE_EXPIRED": f"it refused this side's certificate as expired: {_EXPIRED}",
    "ALERT_CERTIFICATE_REVOKED": "it refused this side's certificate as revoked: get a new one",
    "ALERT_CERTIFICATE_REQUIRED": f"it demands a certificate: {_AGAIN}",
    # Also for one that is not valid yet.
    "ALERT_BAD_CERTIFICATE": f"it refused this side's certificate: {_AGAIN}, or check the clocks",
    "ALERT_CERTIFICATE_UNKNOWN": f"it refused this side's certificate: {_AGAIN}",
    "ALERT_UNSUPPORTED_CERTIFICATE": "it refused this side's certificate for this role",
    "ALERT_DECRYPT_ERROR": f"it refused this side's certificate: {_AGAIN}",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": f"it showed no certificate: {_AGAIN}",
}

# Reasons for which the other end is no Veilform party of this release.
_NOT_TLS = {
    "ALERT_PROTOCOL_VERSION": "it does not offer TLS 1.3",
    "UNSUPPORTED_PROTOCOL": "it does not offer TLS 1.3",
    "NO_PROTOCOLS_AVAILABLE": "it does not offer TLS 1.3",
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "HTTP_REQUEST": "it does not speak TLS",
    "RECORD_LAYER_FAILURE": "it does not speak TLS",
    "UNEXPECTED_EOF": "it ended the connection during the handshake",
}


def tls_context(identity: Identity, listening: bool) -> ssl.SSLContext:
    """A context that trusts the deployment's authority alone and demands a certificate.

    Raises:
        InputError: a file of the identity cannot be used.
    """
    protocol = ssl.PROTOCOL_TLS_SERVER if listening else ssl.PROTOCOL_TLS_CLIENT
    context = ssl.SSLContext(protocol)  # has no authorities until some are loaded
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.hostname_checks_common_name = False
    context.check_hostname = not listening
    context.verify_mode = ssl.CERT_REQUIRED
    if listening:
        context.num_tickets = 0  # no resumption: every connection proves both identities
    try:
        context.load_verify_locations(cafile=str(identity.authority))
        if identity.must_know_revoked():
            context.load_verify_locations(cafile=str(identity.revoked))
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        context.load_cert_chain(str(identity.certificate), str(identity.key), password=_no_password)
    except (OSError, ValueError) as error:
        raise InputError(
            f"the certificates in {identity.key.parent} cannot be used "
            f"({_name(error)}): create them again"
        ) from None
    return context


def role_of(certificate: dict[str, Any], whence: str) -> Role:
    """The role in a peer's verified certificate.

    Raises:
        AuthenticationError: it names none of the three roles, or more than one.
    """
    names = certificate.get("subjectAltName", ())
    for role in Role:
        if names == (("DNS", host_name(role)),):
            return role
    raise AuthenticationError(f"{whence} was refused: its certificate names no role. {_AGAIN}")


def key_of(certificate: bytes) -> str:
    """SHA-256 of the public key in a verified certificate (DER), in hexadecimal."""
    key = x509.load_der_x509_certificate(certificate).public_key()
    return hashlib.sha256(
        key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    ).hexdigest()


def prepare(connection: socket.socket) -> None:
    """Send small messages at once, and notice a peer that vanished."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def explain(error: Exception, whence: str) -> ConnectionFailed:
    """The error to raise for a failed handshake with ``whence`` ("the dealer at host:port")."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = _REFUSED_HERE.get(error.verify_code, f"its certificate is refused: {_name(error)}")
        return AuthenticationError(f"{whence} was refused: {why}")
    if isinstance(error, TimeoutError):
        return ConnectionFailed(f"{whence} did not complete the handshake in time")
    reason = _name(error)
    for word, why in _REFUSED_THERE.items():
        if reason.endswith(word):
            return AuthenticationError(f"no connection with {whence}: {why}")
    for word, why in _NOT_TLS.items():
        if word in reason:
            return ConnectionFailed(f"no connection with {whence}: {why}")
    return ConnectionFailed(f"the handshake with {whence} failed: {reason}")


def system_reason(error: Exception) -> str:
    """The operating system's words for an error, in lower case as the middle of a sentence."""
    number = error.errno if isinstance(error, OSError) else None
    if number is not None and number > 0 and not isinstance(error, socket.gaierror):
        return os.strerror(number).lower()
    return str(getattr(error, "strerror", None) or error).lower()


def close_quietly(connection: socket.socket) -> None:
    """Close, whatever state it is in."""
    with contextlib.suppress(OSError):
        connection.close()


def _name(error: BaseException) -> str:
    """OpenSSL's name for a failure, or the system's text."""
    if isinstance(error, ssl.SSLEOFError):
        return "UNEXPECTED_EOF"
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
    return str(reason or type(error).__name__)


def _no_password() -> str:
    raise ValueError("the key is encrypted")  # never prompt
