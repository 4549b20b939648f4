"""The command line: what it prints, and one line and an exit code for whatever cannot be done."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.checkpoints import make_tiny
from tests.conftest import Run
from tests.families import make_family
from tests.serve.deployment import Deployment

from veilform.commands import console
from veilform.models.bert.sides import ServerSide
from veilform.roles import Role
from veilform.transport import Identity, create_deployment


def process(*arguments: object, **options: object) -> subprocess.CompletedProcess[bytes]:
    """The program as a process of its own."""
    command = [sys.executable, "-m", "veilform", *(os.fsencode(str(each)) for each in arguments)]
    return subprocess.run(command, capture_output=True, timeout=60, **options)  # type: ignore[call-overload,no-any-return]


def complaint(result: tuple[int, str, str], code: int) -> str:
    """The one line of an expected error."""
    got, out, err = result
    assert err.startswith("error: "), err
    assert err.count("\n") == 1, err
    assert err.endswith("\n")
    assert out == ""
    assert got == code, err
    return err


@pytest.fixture(scope="module")
def running(
    tiny_side: ServerSide,
    tiny_public: Path,
    party_identities: dict[Role, Identity],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Deployment]:
    deployment = Deployment(
        tiny_side, tiny_public, party_identities, tmp_path_factory.mktemp("deployment")
    )
    yield deployment
    deployment.close()


@pytest.fixture
def remote(running: Deployment, certificates: Path, tmp_path: Path) -> list[object]:
    """The options of ``classify`` for the running service."""
    return running.options(certificates, tmp_path / "stock")


def replaced(options: list[object], name: str, value: object) -> list[object]:
    changed = list(options)
    changed[changed.index(name) + 1] = value
    return changed


# Texts


def test_classify(veilform: Run, remote: list[object], tmp_path: Path) -> None:
    code, out, err = veilform(
        "classify", *remote, "--text", "a good film", "--text", "dull", "--json"
    )
    assert (code, err) == (0, "")
    rows = json.loads(out)
    assert [row["text"] for row in rows] == ["a good film", "dull"]
    for row in rows:
        assert set(row) == {"text", "label", "score", "cost"}
        assert row["label"] in ("NEGATIVE", "POSITIVE")
        assert 0.5 <= row["score"] <= 1
        assert set(row["cost"]) == {
            "online_seconds", "offline_seconds", "bytes_client_to_server", "bytes_server_to_client",
            "messages", "offline_bytes", "operations",
        }  # fmt: skip
    file = tmp_path / "texts"
    file.write_bytes(b"\xef\xbb\xbfa good film\r\n\n  \ndull\x85 and bad\n")
    assert "not valid UTF-8" in complaint(veilform("classify", *remote, "--file", file), 2)
    file.write_bytes("\ufeffa good film\r\n\n  \ndull\u2028bad\n".encode())
    code, out, err = veilform("classify", *remote, "--file", file)
    assert (code, err) == (0, "")
    assert "a good film" in out
    assert out.count("ATIVE") + out.count("ITIVE") >= 2


def test_classify_pairs(veilform: Run, remote: list[object], tmp_path: Path) -> None:
    file = tmp_path / "pairs"
    file.write_text("a good film\tdull\n", encoding="utf-8")
    for given in (
        ["--text", "a good film", "--text-pair", "dull", "--json"],
        ["--file", file, "--pairs", "--json"],
    ):
        code, out, err = veilform("classify", *remote, *given)
        assert (code, err) == (0, "")
        (row,) = json.loads(out)
        assert (row["text"], row["text_pair"]) == ("a good film", "dull")
    code, out, _ = veilform("classify", *remote, "--file", file, "--pairs")
    assert code == 0
    assert "good" in out


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (["--text", "a", "--text", "b", "--text-pair", "c"], "1 second texts for 2"),
        (["--text", "a", "--pairs"], "text 1 is no pair"),
        (["--text", "a", "--text-pair", " "], "text 1 is empty"),
        (["--text", ""], "text 1 is empty"),
        (["--text", " \t"], "text 1 is empty"),
        (["--text", "good " * 40], "the limit is 32. Shorten it or split it"),
        (["--text", "caf\udce9"], "not valid UTF-8; convert it first"),
        ([], "no text: give one"),
        (["--text", "a", "--file", "b"], "not both"),
        (["--file", "/nonexistent/texts"], "cannot read /nonexistent/texts: No such file"),
    ],
)
def test_texts_that_cannot_be_classified(
    veilform: Run, remote: list[object], texts: list[str], why: str
) -> None:
    assert why in complaint(veilform("classify", *remote, *texts), 2)


def test_files_that_hold_no_texts(veilform: Run, remote: list[object], tmp_path: Path) -> None:
    file = tmp_path / "texts"
    file.write_bytes(b"caf\xe9\n")
    told = complaint(veilform("classify", *remote, "--file", file), 2)
    assert "not valid UTF-8 (byte 3); convert them first, for example with iconv" in told
    file.write_bytes(b"\n \n")
    assert "there is no text in" in complaint(veilform("classify", *remote, "--file", file), 2)
    assert "cannot read" in complaint(veilform("classify", *remote, "--file", tmp_path), 2)


def test_bytes_that_are_no_utf8_in_an_argument(remote: list[object]) -> None:
    done = process("classify", *remote, "--text", "caf\udce9")
    assert done.returncode == 2
    assert done.stdout == b""
    assert b"not valid UTF-8; convert it first" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_an_empty_text_in_the_demo(veilform: Run, tiny: Path) -> None:
    assert "text 1 is empty" in complaint(veilform("demo", "--model", tiny, "--text", " "), 2)
    assert "no heldout.jsonl; give texts of your own" in complaint(
        veilform("demo", "--model", tiny), 2
    )


# Models


def test_models_that_cannot_be_served(veilform: Run, tmp_path: Path) -> None:
    for command in (["demo", "--text", "a", "--model"], ["cost", "--seq", "16"], ["check"]):
        told = veilform(*command, "no-such-model")
        assert "neither a folder nor a shipped student" in complaint(told, 3)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert complaint(veilform("cost", empty, "--seq", 16), 3)
    other = make_tiny(tmp_path / "other", architectures=["GPT2LMHeadModel"], hidden_act="swish")
    told = complaint(veilform("cost", other, "--seq", 16), 3)
    # Every reason, on one line.
    assert "GPT2LMHeadModel" in told
    assert "swish" in told
    code, out, err = veilform("check", other, "--json")
    assert (code, err) == (3, "")
    report = json.loads(out)
    assert set(report) == {"model", "can_be_served", "problems"}
    assert report["can_be_served"] is False
    assert len(report["problems"]) >= 2
    bare = make_tiny(tmp_path / "bare")
    told = complaint(veilform("demo", "--text", "a good film", "--model", bare), 3)
    assert "has no calibration.json: run `veilform calibrate` on it" in told
    code, out, _ = veilform("check", bare)
    assert code == 3
    assert "veilform calibrate" in out


def test_check(veilform: Run, tiny: Path) -> None:
    assert veilform("check", tiny, "--json")[:2] == (
        0,
        json.dumps({"model": str(tiny), "can_be_served": True, "problems": []}, indent=2) + "\n",
    )
    code, out, _ = veilform("check", tiny)
    assert code == 0
    assert "can be served privately" in out


def test_calibrate(veilform: Run, tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "model", num_hidden_layers=1)
    texts = tmp_path / "texts"
    texts.write_text("a good film\nit was dull\n")
    assert veilform("calibrate", folder, texts)[0] == 0
    assert veilform("check", folder)[0] == 0
    assert complaint(veilform("calibrate", folder, tmp_path / "none"), 2)
    assert "text 1 is no pair" in complaint(veilform("calibrate", folder, texts, "--pairs"), 2)
    texts.write_text("a good film\tit was dull\n\nit was dull\tit was good\n")
    assert veilform("calibrate", folder, texts, "--pairs")[0] == 0
    assert '"texts": 2' in (folder / "calibration.json").read_text(encoding="utf-8")


def test_check_tells_in_a_family_s_own_names(veilform: Run, tmp_path: Path) -> None:
    folder = make_family(tmp_path, "distilbert", hidden_act="gelu_new")
    code, out, _ = veilform("check", folder, "--json")
    assert code != 0
    assert "activation 'gelu_new' has no secure protocol" in json.loads(out)["problems"][0]


def test_cost(veilform: Run, tiny: Path) -> None:
    code, out, err = veilform("cost", tiny, "--seq", 16, "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert set(report) == {
        "model", "seq", "padded", "served", "batch", "messages", "messages_client_to_server",
        "messages_server_to_client", "bytes_client_to_server", "bytes_server_to_client",
        "online_bytes", "offline_bytes", "offline", "multiply_adds", "operations", "protocols",
    }  # fmt: skip
    assert report["online_bytes"] == sum(
        report[f"bytes_{way}"] for way in ("client_to_server", "server_to_client")
    )
    assert report["offline_bytes"] == sum(report["offline"].values())
    code, out, _ = veilform("cost", tiny, "--seq", 16)
    assert code == 0
    assert f"{report['messages']} messages" in out


@pytest.mark.parametrize(("seq", "padded"), [(1, 16), (16, 16), (17, 32)])
def test_cost_pads_as_a_run_does(veilform: Run, tiny: Path, seq: int, padded: int) -> None:
    code, out, _ = veilform("cost", tiny, "--seq", seq, "--json")
    report = json.loads(out)
    assert (code, report["seq"], report["padded"]) == (0, seq, padded)


def test_a_length_beyond_the_model(veilform: Run, tiny: Path) -> None:
    assert "over the limit of 32" in complaint(veilform("cost", tiny, "--seq", 33), 2)
    assert "--seq" in complaint(veilform("cost", tiny, "--seq", 0), 2)
    assert "say how many tokens a text has: --seq" in complaint(veilform("cost", tiny), 2)


# Command lines


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["classify", "public"], "Missing option '--certificates'"),
        (["cost", "model", "--seq", "many"], "Invalid value for '--seq'"),
        (["cost", "model", "--seq", "16", "--batch", "65"], "Invalid value for '--batch'"),
        (["cost"], "Missing argument"),
        (["demo", "--fast"], "No such option"),
        (["dance"], "No such command 'dance'"),
        (["keys", "deployment", "folder", "--days", "0"], "Invalid value for '--days'"),
        (["deal", "--listen", "7002"], "certificates: is missing: give it in the file"),
        (["deal", "--listen", "7002"], "--listen: listen: '7002' is no host:port"),
    ],
)
def test_command_lines_that_cannot_be_read(veilform: Run, arguments: list[str], why: str) -> None:
    told = complaint(veilform(*arguments), 2)
    assert why in told
    assert "host:port" in told or "--help" in told


def test_help_and_version(veilform: Run) -> None:
    code, out, err = veilform("--version")
    assert (code, err) == (0, "")
    assert out.startswith("veilform ")
    code, out, _ = veilform("demo", "--help")
    assert code == 0
    assert "--model" in out


# Certificates and services


def test_export(veilform: Run, tiny: Path, other_tiny: Path, tmp_path: Path) -> None:
    code, out, _ = veilform("export", tiny, tmp_path / "public")
    assert code == 0
    assert "holds none of the server's weights" in out.replace("\n", " ")
    names = {path.name for path in (tmp_path / "public").iterdir()}
    assert names == {
        "config.json", "embeddings.safetensors", "model.json", "scales.json", "tokenizer.json",
    }  # fmt: skip
    assert veilform("export", tiny, tmp_path / "public")[0] == 0, "it is there already"
    assert complaint(veilform("export", other_tiny, tmp_path / "public"), 2)


def test_expired_and_missing_certificates(
    veilform: Run, remote: list[object], tmp_path: Path
) -> None:
    expired = tmp_path / "expired"
    start = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=10)
    create_deployment(expired, days=1, start=start)
    told = veilform("classify", *replaced(remote, "--certificates", expired), "--text", "good")
    assert "expired on" in complaint(told, 2)
    told = veilform("classify", *replaced(remote, "--certificates", tmp_path), "--text", "good")
    assert "is missing: create the deployment's certificates" in complaint(told, 2)


def test_foreign_certificates(veilform: Run, remote: list[object], tmp_path: Path) -> None:
    create_deployment(tmp_path / "foreign")
    foreign = replaced(remote, "--certificates", tmp_path / "foreign")
    told = complaint(veilform("classify", *foreign, "--text", "good"), 7)
    assert "use certificates of the same deployment on both sides" in told


def test_parties_that_are_not_there(
    veilform: Run,
    remote: list[object],
    tiny: Path,
    certificates: Path,
    tmp_path: Path,
    closed_port: int,
) -> None:
    nobody = f"127.0.0.1:{closed_port}"
    for party in (Role.SERVER, Role.DEALER):
        gone = replaced(remote, f"--{party.value}", nobody)
        told = complaint(veilform("classify", *gone, "--text", "good"), 6)
        assert f"cannot reach the {party.value} at {nobody}: connection refused" in told
        assert f"start it with `veilform {party.command}`" in told
    told = veilform(
        "serve", tiny, "--certificates", certificates, "--dealer", nobody,
        "--stock", tmp_path / "server-stock", "--listen", "127.0.0.1:0",
    )  # fmt: skip
    assert f"cannot reach the dealer at {nobody}" in complaint(told, 6)


def test_a_port_in_use(
    veilform: Run, running: Deployment, tiny: Path, certificates: Path, tmp_path: Path
) -> None:
    taken = running.server_address
    told = veilform("deal", "--certificates", certificates, "--listen", taken)
    assert "address already in use; stop what uses it" in complaint(told, 6)
    told = veilform(
        "serve", tiny, "--certificates", certificates, "--dealer", taken,
        "--stock", tmp_path / "stock", "--listen", taken,
    )  # fmt: skip
    assert "address already in use; stop what uses it" in complaint(told, 6)


def test_a_folder_of_another_model(
    veilform: Run, remote: list[object], other_tiny: Path, tmp_path: Path
) -> None:
    assert veilform("export", other_tiny, tmp_path / "public")[0] == 0
    told = veilform("classify", tmp_path / "public", *remote[1:], "--text", "good")
    assert "the client's model is not one that is served here" in complaint(told, 8)
    scales = tmp_path / "public" / "scales.json"
    for content in ("", "{}", '{"private_embedding": false, "lengths": []}', "\xff"):
        scales.write_text(content, encoding="latin-1")
        told = veilform("classify", tmp_path / "public", *remote[1:], "--text", "good")
        assert "scales.json" in complaint(told, 3)
    shutil.rmtree(tmp_path / "public")
    told = veilform("classify", tmp_path / "public", *remote[1:], "--text", "good")
    assert complaint(told, 3)


# The demo, as processes


def test_demo(tiny: Path) -> None:
    texts = ["a good film", "it was very\nbad"]
    done = process("demo", "--model", tiny, "--text", texts[0], "--text", texts[1], "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    report = json.loads(done.stdout)
    assert set(report) == {
        "model", "results", "online_seconds", "offline_seconds", "bytes_client_to_server",
        "bytes_server_to_client", "messages",
    }  # fmt: skip
    assert [row["text"] for row in report["results"]] == ["a good film", "it was very bad"]
    for row in report["results"]:
        assert set(row) == {"text", "label", "score", "plain_label", "plain_score"}
        assert row["label"] == row["plain_label"]
        assert row["score"] == pytest.approx(row["plain_score"], abs=1e-2)


def test_demo_of_a_text_out_of_range(narrow_tiny: Path) -> None:
    done = process("demo", "--model", narrow_tiny, "--text", "a good film")
    assert done.returncode == 4
    assert done.stdout == b""
    assert done.stderr.startswith(
        b"error: text 1: a value left the range that the model was calibrated for"
    )
    assert done.stderr.count(b"\n") == 1


def test_an_interrupt_and_a_reader_that_leaves(tiny: Path) -> None:
    assert console.guarded(lambda: (_ for _ in ()).throw(KeyboardInterrupt)) == 128 + signal.SIGINT  # type: ignore[arg-type]
    command = [sys.executable, "-m", "veilform", "cost", str(tiny), "--seq", "16", "--json"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=30)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("text", ["[/b] great", "[red]good[/red] film"])
def test_a_text_is_shown_as_it_is(tiny: Path, text: str) -> None:
    done = process("demo", "--model", tiny, "--text", text)
    assert done.returncode == 0, done.stderr
    shown = "".join(done.stdout.decode().split())
    assert text.split()[0][:5] in shown


def test_quantize(veilform: Run, tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "float", calibrated=True)
    out = tmp_path / "small"
    options = ("--layer", "layer.1.*=float", "--layer", "*.inner=int4")
    code, said, err = veilform("quantize", folder, out, *options, "--json")
    assert (code, err) == (0, "")
    found = json.loads(said)
    assert found["calibrated"]
    assert found["small_weights"] == {
        "layer.0.qkv": 8, "layer.0.projection": 8, "layer.0.inner": 4, "layer.0.outer": 8,
    }  # fmt: skip
    assert json.loads((out / "config.json").read_text())["small_weights"] == found["small_weights"]
    assert veilform("check", out)[0] == 0
    cost = json.loads(veilform("cost", out, "--seq", "32", "--json")[1])
    plain = json.loads(veilform("cost", folder, "--seq", "32", "--json")[1])
    assert cost["bytes_client_to_server"] < plain["bytes_client_to_server"]
    assert "holds files already" in complaint(veilform("quantize", folder, out), 2)
    for given, why in (
        (["--layer", "inner"], "--layer takes PATTERN=int8, int4 or float, not 'inner'"),
        (["--layer", "*=int3"], "int4 or float, not '*=int3'"),
        (["--layer", "pooler=int8"], "no matrix is called 'pooler'"),
        (["--weights", "float"], "leaves every matrix as it is"),
        (["--texts", "/nonexistent"], "cannot read '/nonexistent'"),
    ):
        assert why in complaint(veilform("quantize", folder, tmp_path / "more", *given), 2)


def test_quantize_with_texts(veilform: Run, tmp_path: Path) -> None:
    folder, texts = make_tiny(tmp_path / "float"), tmp_path / "texts"
    code, said, _ = veilform("quantize", folder, tmp_path / "small")
    assert code == 0
    assert "It has no calibration.json: run `veilform calibrate` on it." in said
    texts.write_text("a good film\nthe film was dull\n", encoding="utf-8")
    options = ("--weights", "int4", "--texts", texts)
    code, said, _ = veilform("quantize", folder, tmp_path / "four", *options)
    assert code == 0
    assert "8 of 4 bits" in said
    assert "calibration.json" not in said
    texts.write_text("\n")
    assert "has no text" in complaint(
        veilform("quantize", folder, tmp_path / "none", "--texts", texts), 2
    )
