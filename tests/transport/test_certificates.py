"""Making a deployment's certificates, and loading one's own."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import pytest
from cryptography import x509

from veilform.errors import InputError
from veilform.roles import CLIENT, DEALER, SERVER, Role
from veilform.transport import Identity, create_deployment


@pytest.fixture
def copy(deployment: Path, tmp_path: Path) -> Path:
    """A deployment that the test may damage."""
    return Path(shutil.copytree(deployment, tmp_path / "copy"))


def test_each_role_gets_its_files_and_nobody_else_may_read_them(deployment: Path) -> None:
    paths = sorted(path.relative_to(deployment) for path in deployment.rglob("*.pem"))
    names = ("ca.pem", "certificate.pem", "key.pem")
    assert paths == sorted(Path(role.value) / name for role in Role for name in names)
    for path in [deployment, *deployment.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)


def test_the_authoritys_key_is_nowhere(deployment: Path) -> None:
    authority = x509.load_pem_x509_certificate((deployment / "client/ca.pem").read_bytes())
    for role in Role:
        identity = Identity.load(deployment, role)
        own = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
        assert own.public_key() != authority.public_key()
        own.verify_directly_issued_by(authority)


def test_certificates_say_what_they_are_for(deployment: Path) -> None:
    for role in Role:
        pem = Identity.load(deployment, role).certificate.read_bytes()
        extensions = x509.load_pem_x509_certificate(pem).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [f"{role.value}.veilform.internal"]
        assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        purposes = list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        assert (x509.ExtendedKeyUsageOID.SERVER_AUTH in purposes) == (role is not CLIENT)
        assert x509.ExtendedKeyUsageOID.CLIENT_AUTH in purposes


def test_nothing_is_overwritten(deployment: Path) -> None:
    before = (deployment / "client/key.pem").read_bytes()
    with pytest.raises(InputError, match="is not empty"):
        create_deployment(deployment)
    assert (deployment / "client/key.pem").read_bytes() == before


@pytest.mark.parametrize("days", [0, -1, 826])
def test_validity_is_short(tmp_path: Path, days: int) -> None:
    with pytest.raises(InputError, match=f"1 to 825 days, not {days}"):
        create_deployment(tmp_path / "new", days)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write certificates to"):
        create_deployment(tmp_path / "file" / "below")


def test_a_repr_shows_paths_only(deployment: Path) -> None:
    identity = Identity.load(deployment, SERVER)
    secret = identity.key.read_text().splitlines()[1]
    assert secret not in repr(identity)
    assert "PRIVATE" not in repr(identity)


@pytest.mark.parametrize("name", ["ca.pem", "certificate.pem", "key.pem"])
def test_a_missing_file(copy: Path, name: str) -> None:
    (copy / "dealer" / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing: create .* copy the folder 'dealer'"):
        Identity.load(copy, DEALER)


def test_an_open_key(copy: Path) -> None:
    (copy / "client/key.pem").chmod(0o644)
    with pytest.raises(InputError, match="open to other users: run chmod 600"):
        Identity.load(copy, CLIENT)


@pytest.mark.parametrize("name", ["ca.pem", "certificate.pem", "key.pem"])
def test_a_damaged_file_is_not_quoted(copy: Path, name: str) -> None:
    (copy / "client" / name).write_text("-----BEGIN PRIVATE KEY-----\nsecret\n")
    with pytest.raises(InputError, match="holds no valid certificate") as caught:
        Identity.load(copy, CLIENT)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_another_partys_files(copy: Path) -> None:
    shutil.copy(copy / "server/key.pem", copy / "client/key.pem")
    with pytest.raises(InputError, match="does not belong to"):
        Identity.load(copy, CLIENT)
    shutil.copy(copy / "server/certificate.pem", copy / "client/certificate.pem")
    with pytest.raises(InputError, match="is not the certificate of a client"):
        Identity.load(copy, CLIENT)


def test_another_deployments_authority(copy: Path, tmp_path: Path) -> None:
    create_deployment(tmp_path / "other")
    shutil.copy(tmp_path / "other/client/ca.pem", copy / "client/ca.pem")
    with pytest.raises(InputError, match="no valid certificate of this deployment"):
        Identity.load(copy, CLIENT)


@pytest.mark.parametrize(("shift", "says"), [(-10, "expired on"), (10, "is valid from")])
def test_validity_is_checked(tmp_path: Path, shift: int, says: str) -> None:
    start = dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=shift)
    create_deployment(tmp_path / "new", days=5, start=start)
    with pytest.raises(InputError, match=says):
        Identity.load(tmp_path / "new", SERVER)
