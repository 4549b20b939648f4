"""Settings from file, environment and flags: who wins, and what a mistake is called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from veilform.errors import InputError, ModelError
from veilform.models.checkpoint import resolve
from veilform.settings import DealSettings, GatewaySettings, ServeSettings, load
from veilform.settings.loading import SettingsError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the folders that the files below name."""
    for name in ("certs", "etc/certs", "etc/film", "etc/public"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(here: Path, text: str) -> Path:
    path = here / "etc/party.toml"
    path.write_text(text, encoding="utf-8")
    return path


SERVE = """
certificates = "certs"
dealer = "dealer:7002"
stock = "stock"
[[model]]
path = "film"
[[model]]
name = "review"
version = "2"
path = "minilm-l6-sentiment"
private_embedding = true
"""


def test_a_file(here: Path) -> None:
    settings = load(ServeSettings, written(here, SERVE))
    assert settings.certificates == here / "etc/certs"
    assert settings.stock == here / "etc/stock"  # made when the server starts
    assert settings.listen == "127.0.0.1:7001"
    film, review = settings.model
    assert (film.called, film.version, film.path) == ("film", "1", str(here / "etc/film"))
    assert (review.called, review.version, review.private_embedding) == ("review", "2", True)
    assert review.path == "minilm-l6-sentiment"
    assert settings.published(film) is None


def test_flags_before_environment_before_file(here: Path) -> None:
    file = written(here, 'certificates = "certs"\nlisten = "file:1"\nlink = "lan"')
    environment = {"VEILFORM_LISTEN": "environment:2", "VEILFORM_CERTIFICATES": "certs"}
    assert load(DealSettings, file).listen == "file:1"
    told = load(DealSettings, file, environment)
    assert (told.listen, told.certificates, told.link) == ("environment:2", Path("certs"), "lan")
    assert load(DealSettings, file, environment, {"listen": "flag:3"}).listen == "flag:3"
    assert load(DealSettings, file, environment, {"listen": None}).listen == "environment:2"


def test_text_of_the_environment_becomes_numbers_and_one_model(here: Path) -> None:
    names = {"CERTIFICATES": "certs", "SERVER": "s:1", "DEALER": "d:2", "STOCK": "stock",
             "MODEL": "etc/public", "SESSIONS": "3", "PATIENCE_S": "2.5",
             "HOST_NAMES": "a.example,b"}  # fmt: skip
    settings = load(GatewaySettings, None, {f"VEILFORM_{k}": v for k, v in names.items()})
    assert (settings.sessions, settings.patience_s) == (3, 2.5)
    assert settings.host_names == ("a.example", "b")
    assert [model.called for model in settings.model] == ["public"]


def test_all_mistakes_are_told_at_once(here: Path) -> None:
    file = written(
        here,
        'certificates = "gone"\nlissten = "a:1"\nlink = 3\nlisten = "nowhere"\nstock = ""\n'
        '[[model]]\npath = "gone"\n[[model]]\nname = "../up"\npaths = "film"\n',
    )
    with pytest.raises(SettingsError) as caught:
        load(ServeSettings, file)
    told = "\n".join(caught.value.problems)
    for each in (
        f"{file}: lissten: no such setting; did you mean listen?",
        f"{file}: certificates: there is no folder {here / 'etc/gone'}",
        f"{file}: dealer: is missing: give it in the file, VEILFORM_DEALER or --dealer",
        f"{file}: link: expected `str`, got `int`",
        f"{file}: listen: 'nowhere' is no host:port",
        f"{file}: stock: is empty",
        f"{file}: model 1: path: '{here / 'etc/gone'}' is neither a folder nor a shipped student",
        f"{file}: model 2: name: expected `str` matching regex",
        f"{file}: model 2: paths: no such setting; did you mean path?",
        f"{file}: model 2: path: is missing",
    ):
        assert each in told
    assert len(caught.value.problems) == 10
    assert isinstance(caught.value, InputError)


def test_a_model_that_is_there_twice(here: Path) -> None:
    file = written(here, SERVE + '[[model]]\npath = "film"\n')
    with pytest.raises(SettingsError, match="film version 1 is there twice"):
        load(ServeSettings, file)


@pytest.mark.parametrize("model", ['model = "film"', "model = []", "model = [1]"])
def test_models_are_tables(here: Path, model: str) -> None:
    # A path alone is one model, as in the environment; its base is not the file's then.
    file = written(here, SERVE.split("[[model]]")[0] + model)
    with pytest.raises(SettingsError, match=r"model: (expected tables|give at least one)"):
        load(ServeSettings, file)


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        ("VEILFORM_LISTN", "a:1", "VEILFORM_LISTN: no such setting; did you mean listen?"),
        ("VEILFORM_LISTEN", "a", "VEILFORM_LISTEN: listen: 'a' is no host:port"),
        ("VEILFORM_LINK", "carrier pigeon", "VEILFORM_LINK: link: expected `str` matching"),
    ],
)
def test_mistakes_in_the_environment(here: Path, variable: str, text: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(DealSettings, None, {"VEILFORM_CERTIFICATES": "certs", variable: text})
    (problem,) = caught.value.problems
    assert problem.startswith(says)


def test_other_variables_are_left_alone(here: Path) -> None:
    environment = {**os.environ, "VEILFORM_CERTIFICATES": "certs", "VEILFORM_KERNELS": "portable"}
    environment["VEILFORM_STOCK"] = "another party's"
    assert load(DealSettings, None, environment).link == "loopback"


@pytest.mark.parametrize("content", [b"certificates", b"\xff", b"x" * 2_000_000])
def test_a_file_that_is_no_toml(here: Path, content: bytes) -> None:
    path = here / "party.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"party.toml is no TOML file"):
        load(DealSettings, path)


def test_a_file_that_is_missing(here: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read gone.toml: No such file"):
        load(DealSettings, Path("gone.toml"))


@pytest.mark.parametrize("name", ["d" * 5000, "d/" * 3000, "nul\0"])
def test_a_path_that_no_system_has(name: str) -> None:
    with pytest.raises(SettingsError, match="there is no folder"):
        load(DealSettings, flags={"certificates": Path(name)})
    with pytest.raises(ModelError, match="neither a folder nor a shipped student"):
        resolve(name)
