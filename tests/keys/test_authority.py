"""The authority: what it issues, renews and takes back, and who is let in after each."""

from __future__ import annotations

import datetime as dt
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from veilform.errors import AuthenticationError, ConnectionFailed, InputError
from veilform.keys import Entry, Keys, new_request
from veilform.roles import CLIENT, DEALER, SERVER, Role
from veilform.transport import Identity, Listener, Settings, connect
from veilform.transport.certificates import new_key
from veilform.transport.identity import name_of

HOST = "127.0.0.1"
QUICK = Settings(timeout_s=5.0, close_timeout_s=1.0)
DAY = dt.timedelta(days=1)
Submit = Callable[..., Future[Any]]


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    made = Keys.init(tmp_path / "authority")
    for role, name in ((SERVER, "server"), (CLIENT, "a"), (CLIENT, "b")):
        made.issue(role, name, tmp_path / name)
    return made


@pytest.fixture
def submit() -> Iterator[Submit]:
    with ThreadPoolExecutor(2) as pool:
        yield pool.submit


@pytest.fixture
def listener(keys: Keys, tmp_path: Path) -> Iterator[Listener]:
    identity = Identity.load(tmp_path / "server", SERVER)
    with Listener(HOST, 0, identity, settings=QUICK, handshake_timeout_s=2.0) as each:
        yield each


def unchecked(folder: Path, role: Role) -> Identity:
    """As an attacker uses a folder: without looking at what is in it."""
    return Identity(role, folder / "ca.pem", folder / "certificate.pem", folder / "key.pem")


def gets_in(listener: Listener, identity: Identity, submit: Submit, expect: Role = SERVER) -> None:
    coming = submit(listener.accept, {CLIENT}, 5.0)
    try:
        connect(HOST, listener.port, identity, expect, 5.0, settings=QUICK).close()
    finally:
        error = coming.exception(10)
        if error is None:
            coming.result()[0].close()


def refusal(listener: Listener, identity: Identity, submit: Submit, expect: Role = SERVER) -> str:
    with pytest.raises(AuthenticationError) as caught:
        gets_in(listener, identity, submit, expect)
    return str(caught.value)


def states(keys: Keys, name: str) -> list[str]:
    return [entry.state for entry in keys.status() if entry.name == name]


def test_what_a_party_gets(keys: Keys, tmp_path: Path) -> None:
    names = {"ca.pem", "revoked.pem", "certificate.pem", "key.pem"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == names
    for path in tmp_path.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)
    pem = Identity.load(tmp_path / "a", CLIENT).certificate.read_bytes()
    assert name_of(x509.load_pem_x509_certificate(pem)) == "a"
    key = (tmp_path / "a/key.pem").read_bytes()
    assert all(key not in p.read_bytes() for p in keys.folder.rglob("*.pem"))  # nobody keeps it


def test_parties_of_one_authority_meet(listener: Listener, tmp_path: Path, submit: Submit) -> None:
    gets_in(listener, Identity.load(tmp_path / "a", CLIENT), submit)
    gets_in(listener, Identity.load(tmp_path / "b", CLIENT), submit)


def test_a_revoked_client_is_refused_once_the_server_has_the_list(
    listener: Listener, keys: Keys, tmp_path: Path, submit: Submit
) -> None:
    client = Identity.load(tmp_path / "a", CLIENT)
    (entry,) = keys.revoke("a")
    assert states(keys, "a") == ["revoked"]
    gets_in(listener, client, submit)  # the server has not heard of it
    keys.publish(tmp_path / "server")
    assert "refused this side's certificate as revoked" in refusal(listener, client, submit)
    gets_in(listener, Identity.load(tmp_path / "b", CLIENT), submit)
    keys.publish(tmp_path / "a")
    with pytest.raises(InputError, match="was revoked"):
        Identity.load(tmp_path / "a", CLIENT)
    assert int(entry.serial, 16) in keys.revoked()


def test_a_revoked_server_is_refused_by_its_client(
    listener: Listener, keys: Keys, tmp_path: Path, submit: Submit
) -> None:
    keys.revoke("server")
    keys.publish(tmp_path / "a")
    told = refusal(listener, Identity.load(tmp_path / "a", CLIENT), submit)
    assert "its certificate was revoked by the authority" in told


def test_a_renewed_certificate_is_taken_up_by_a_running_party(
    listener: Listener, keys: Keys, tmp_path: Path, submit: Submit,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    (old,) = (entry for entry in keys.status() if entry.name == "server")
    keys.rotate(SERVER, "server", tmp_path / "server")
    assert states(keys, "server") == ["replaced", "valid"]
    keys.revoke(old.serial)
    keys.publish(tmp_path / "a")  # which now refuses the old certificate
    with caplog.at_level(logging.INFO):
        gets_in(listener, Identity.load(tmp_path / "a", CLIENT), submit)
    assert "the certificates of the server were renewed" in caplog.text


def test_half_of_a_renewal_changes_nothing(
    listener: Listener, keys: Keys, tmp_path: Path, submit: Submit,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    keys.rotate(SERVER, "server", tmp_path / "new")
    shutil.copy(tmp_path / "new/key.pem", tmp_path / "server/key.pem")
    gets_in(listener, Identity.load(tmp_path / "a", CLIENT), submit)
    assert "new certificates are not in use" in caplog.text
    shutil.copy(tmp_path / "new/certificate.pem", tmp_path / "server/certificate.pem")
    keys.revoke(next(e for e in keys.status() if e.state == "replaced").serial)
    keys.publish(tmp_path / "a")
    gets_in(listener, Identity.load(tmp_path / "a", CLIENT), submit)


def test_the_old_certificate_of_a_renewed_client_still_counts(
    listener: Listener, keys: Keys, tmp_path: Path, submit: Submit
) -> None:
    keys.rotate(CLIENT, "a", tmp_path / "a2")
    gets_in(listener, Identity.load(tmp_path / "a", CLIENT), submit)
    gets_in(listener, Identity.load(tmp_path / "a2", CLIENT), submit)


def test_a_new_authority_takes_over_step_by_step(
    listener: Listener, keys: Keys, tmp_path: Path, submit: Submit
) -> None:
    a, b = (Identity.load(tmp_path / name, CLIENT) for name in "ab")
    keys.rotate_authority()
    with pytest.raises(InputError, match="'a' is the old authority's: renew it"):
        keys.retire()
    for name in ("server", "a", "b"):
        keys.publish(tmp_path / name)
    gets_in(listener, a, submit)  # old and old
    keys.rotate(CLIENT, "a", tmp_path / "a")
    gets_in(listener, a, submit)  # new and old
    keys.rotate(SERVER, "server", tmp_path / "server")
    gets_in(listener, b, submit)  # old and new
    keys.revoke("b")  # which the old authority signed
    keys.publish(tmp_path / "server")
    assert "as revoked" in refusal(listener, b, submit)
    assert len(keys.retire()) == 1
    for name in ("server", "a"):
        keys.publish(tmp_path / name)
    gets_in(listener, a, submit)
    assert "as foreign" in refusal(listener, b, submit)
    assert [entry.name for entry in keys.status() if entry.role] == ["a", "server"]


def test_a_key_that_never_leaves_its_party(
    listener: Listener, keys: Keys, tmp_path: Path, submit: Submit
) -> None:
    new_request(tmp_path / "c")
    request = (tmp_path / "c/request.pem").read_bytes()
    keys.issue(CLIENT, "c", tmp_path / "answer", request=request)
    assert not (tmp_path / "answer/key.pem").exists()
    for path in (tmp_path / "answer").iterdir():
        shutil.copy(path, tmp_path / "c" / path.name)
    gets_in(listener, Identity.load(tmp_path / "c", CLIENT), submit)


def test_a_request_decides_nothing_but_the_key(keys: Keys, tmp_path: Path) -> None:
    """Whatever it asks for, name and role are the authority's to say."""
    asked = x509.SubjectAlternativeName([x509.DNSName("server.veilform.internal")])
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    builder = builder.add_extension(asked, critical=False)
    request = builder.sign(new_key(), hashes.SHA256()).public_bytes(Encoding.PEM)
    entry = keys.issue(CLIENT, "c", tmp_path / "c", request=request)
    assert (entry.role, entry.name) == (CLIENT, "c")
    weak = builder.sign(ec.generate_private_key(ec.SECP384R1()), hashes.SHA256())
    for bad in (b"", b"nonsense", weak.public_bytes(Encoding.PEM)):
        with pytest.raises(InputError, match=r"this is no request|not signed by its own key"):
            keys.issue(CLIENT, "d", tmp_path / "d", request=bad)
    assert not (tmp_path / "d").exists()


# Attacks


def test_a_client_of_another_authority(listener: Listener, tmp_path: Path, submit: Submit) -> None:
    Keys.init(tmp_path / "others").issue(CLIENT, "a", tmp_path / "foreign")
    for name in ("ca.pem", "revoked.pem"):
        shutil.copy(tmp_path / "server" / name, tmp_path / "foreign" / name)
    told = refusal(listener, unchecked(tmp_path / "foreign", CLIENT), submit)
    assert "refused this side's certificate as foreign" in told


@pytest.mark.parametrize(
    ("days_ago", "here", "there"),
    [(9, "expired on", "as expired"), (-9, "is valid from", "or check the clocks")],
)
def test_a_client_out_of_date(
    listener: Listener, keys: Keys, tmp_path: Path, submit: Submit,
    days_ago: int, here: str, there: str,
) -> None:  # fmt: skip
    start = dt.datetime.now(dt.timezone.utc) - days_ago * DAY
    keys.issue(CLIENT, "late", tmp_path / "late", days=5, start=start)
    assert states(keys, "late") == ["expired" if days_ago > 0 else "not valid yet"]
    with pytest.raises(InputError, match=here):
        Identity.load(tmp_path / "late", CLIENT)
    assert there in refusal(listener, unchecked(tmp_path / "late", CLIENT), submit)


def test_a_servers_key_used_as_a_client(listener: Listener, tmp_path: Path, submit: Submit) -> None:
    server = tmp_path / "server"
    (server.parent / "client").mkdir()
    for path in server.iterdir():
        shutil.copy(path, tmp_path / "client" / path.name)
    with pytest.raises(InputError, match="is not the certificate of a client"):
        Identity.load(tmp_path / "client", CLIENT)
    told = refusal(listener, unchecked(tmp_path / "client", CLIENT), submit)
    assert "it does not talk to the server here" in told


def test_a_client_that_poses_as_the_server(keys: Keys, tmp_path: Path, submit: Submit) -> None:
    thief = unchecked(tmp_path / "b", SERVER)  # listens with a client's certificate
    with Listener(HOST, 0, thief, settings=QUICK, handshake_timeout_s=2.0) as listener:
        told = refusal(listener, Identity.load(tmp_path / "a", CLIENT), submit)
    assert "may not act in this role" in told or "another role's" in told


def test_a_dealer_that_poses_as_the_server(keys: Keys, tmp_path: Path, submit: Submit) -> None:
    keys.issue(DEALER, "dealer", tmp_path / "dealer")
    with Listener(HOST, 0, Identity.load(tmp_path / "dealer", DEALER), settings=QUICK) as listener:
        told = refusal(listener, Identity.load(tmp_path / "a", CLIENT), submit)
    assert "its certificate is another role's" in told


def test_the_list_cannot_be_left_out_or_be_anothers(
    listener: Listener, keys: Keys, tmp_path: Path, submit: Submit
) -> None:
    other = Keys.init(tmp_path / "others")
    listed = tmp_path / "a/revoked.pem"
    shutil.copy(other.folder / "revoked.pem", listed)
    with pytest.raises(InputError, match="is not the list of this authority"):
        Identity.load(tmp_path / "a", CLIENT)
    told = refusal(listener, unchecked(tmp_path / "a", CLIENT), submit)
    assert "no list of revoked certificates covers it" in told
    listed.write_text("nothing")
    with pytest.raises(InputError, match="is not the list of this authority"):
        Identity.load(tmp_path / "a", CLIENT)
    listed.unlink()
    with pytest.raises(InputError, match=r"revoked\.pem is missing"):
        Identity.load(tmp_path / "a", CLIENT)
    with pytest.raises((InputError, ConnectionFailed)):
        connect(HOST, listener.port, unchecked(tmp_path / "a", CLIENT), SERVER, 2.0)


# Mistakes


def test_mistakes(keys: Keys, tmp_path: Path) -> None:
    for act, says in (
        (lambda: Keys(tmp_path), "holds no authority"),
        (lambda: Keys.init(tmp_path / "a"), "is not empty"),
        (lambda: keys.issue(CLIENT, "c", tmp_path / "a"), "is not empty"),
        (lambda: keys.issue(CLIENT, "a", tmp_path / "c"), "has a certificate"),
        (lambda: keys.issue(CLIENT, "../c", tmp_path / "c"), "is no name"),
        (lambda: keys.issue(CLIENT, "c.d", tmp_path / "c"), "is no name"),
        (lambda: keys.issue(CLIENT, "c", tmp_path / "c", days=0), "1 to 825 days"),
        (lambda: keys.rotate(CLIENT, "c", tmp_path / "c"), "there is no client 'c'"),
        (lambda: keys.revoke("c"), "nothing that can be taken back"),
        (lambda: keys.publish(tmp_path / "authority"), "is no party's folder"),
        (lambda: keys.retire(), "one authority only"),
    ):
        with pytest.raises(InputError, match=says):
            act()
    keys.issue(DEALER, "a", tmp_path / "dealer")
    with pytest.raises(InputError, match="two roles have a party 'a'"):
        keys.revoke("a")
    assert len(keys.revoke("a", DEALER)) == 1
    short = Keys.init(tmp_path / "short", days=10)
    with pytest.raises(InputError, match="the authority ends on"):
        short.issue(CLIENT, "a", tmp_path / "c")
    (keys.folder / "authority-1-key.pem").write_text("secret")
    with pytest.raises(InputError, match="is damaged") as caught:
        keys.revoke("b")
    assert "secret" not in str(caught.value)


def test_a_warning_in_the_log(keys: Keys, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    start = dt.datetime.now(dt.timezone.utc) - 50 * DAY
    keys.issue(SERVER, "late", tmp_path / "late", days=60, start=start)
    identity = Identity.load(tmp_path / "late", SERVER)
    with Listener(HOST, 0, identity):
        pass
    (record,) = caplog.records
    assert "in 9 days: get a new one (veilform keys rotate)" in record.message
    fresh = Identity.load(tmp_path / "server", SERVER)
    assert fresh.warning() is None
    keys.issue(SERVER, "short", tmp_path / "short", days=3)  # meant to be short: no news
    assert Identity.load(tmp_path / "short", SERVER).warning() is None
    assert "has ended" in str(fresh.warning(fresh.ends() + DAY))


# The commands


def test_the_commands(veilform: Any, tmp_path: Path) -> None:
    folder, party = tmp_path / "ca", tmp_path / "hospital"
    assert veilform("keys", "init", folder)[0] == 0
    assert veilform("keys", "issue", folder, "client", "--name", "hospital", "--out", party)[0] == 0
    assert Identity.load(party, CLIENT)
    code, out, _ = veilform("keys", "status", folder, "--json")
    report = json.loads(out)
    assert (code, report["renew"]) == (0, [])
    assert [row["state"] for row in report["certificates"]] == ["valid", "valid"]
    code, out, err = veilform("keys", "status", folder, "--days", 100)
    assert code == 1
    assert "ends soon" in out
    assert err == "warning: renew client hospital\n"
    rotated = veilform("keys", "rotate", folder, "client", "--name", "hospital", "--out", party)
    assert rotated[0] == 0
    serial = report["certificates"][1]["serial"]
    assert veilform("keys", "revoke", folder, serial)[0] == 0
    assert veilform("keys", "publish", folder, party)[0] == 0
    assert Identity.load(party, CLIENT)
    assert veilform("keys", "request", "--out", tmp_path / "own")[0] == 0
    own = ["client", "--name", "own", "--out", tmp_path / "answer"]
    asked = veilform("keys", "issue", folder, *own, "--request", tmp_path / "own/request.pem")
    assert asked[0] == 0
    assert veilform("keys", "issue", folder, *own, "--request", tmp_path / "gone")[0] == 2
    assert veilform("keys", "rotate", folder, "--authority")[0] == 0
    assert veilform("keys", "rotate", folder)[0] == 2
    assert veilform("keys", "rotate", folder, "server", "--authority")[0] == 2
    assert veilform("keys", "retire", folder)[0] == 2


def test_a_whole_deployment(veilform: Any, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert veilform("keys", "deployment", folder)[0] == 0
    for role in Role:
        assert Identity.load(folder, role)
    code, _, err = veilform("keys", "deployment", folder)
    assert code == 2
    assert "is not empty" in err


def test_entries_hold_no_key(keys: Keys) -> None:
    shown = repr(keys.status()) + repr(keys)
    assert "PRIVATE" not in shown
    assert all(isinstance(entry, Entry) for entry in keys.status())
