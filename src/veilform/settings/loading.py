"""Settings from a file, the environment and flags, in that order; every mistake is told at once."""

from __future__ import annotations

import difflib
import os
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from veilform.errors import InputError
from veilform.models.checkpoint import is_folder, shipped
from veilform.serve.address import parse
from veilform.settings.kinds import KINDS, Settings
from veilform.spread import trust

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PREFIX = "VEILFORM_"
_ELSEWHERE = {"CONFIG", "KERNELS", "SHARED_DATA", "THREADS", "TOKEN"}
"""Variables that are no settings of a party."""
_MOST_BYTES = 1 << 20

S = TypeVar("S", bound=Settings)


class SettingsError(InputError):
    """Settings cannot be used. Attribute ``problems``: each of the reasons."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class _Given:
    """A value, and where it was given: what relative paths start from, and how to name it."""

    value: Any
    source: str
    base: Path
    text: bool = False
    """From the environment, where everything is text."""


@dataclass
class _Reading:
    """Problems found so far."""

    problems: list[str] = field(default_factory=list)

    def wrong(self, source: str, key: str, why: str) -> None:
        self.problems.append(f"{source}: {key}: {why}")


def load(
    kind: type[S],
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> S:
    """The settings of one party. Later sources win: the file, ``VEILFORM_*``, the flags.

    Relative paths of the file start at its folder, others at the working directory. From the
    environment, ``VEILFORM_MODEL`` is the path of one model; more need the file.

    Args:
        file: a TOML file.
        environment: the process's; variables without the prefix are not looked at.
        flags: by key; those that are None were not given.

    Raises:
        SettingsError: a key is unknown or missing, a value is of a wrong type or no address, or a
            file is missing. All reasons are in the message, each with its source and key.
    """
    reading = _Reading()
    given: dict[str, _Given] = {}
    if file is not None:
        base = file.parent
        for key, value in _read(file, reading).items():
            given[key] = _Given(value, str(file), base)
    for key, text in _ours(kind, environment or {}, reading).items():
        given[key] = _Given(_listed(kind, key, text), f"{PREFIX}{key.upper()}", Path(), text=True)
    for key, value in (flags or {}).items():
        if value is not None:
            flag = kind.flags.get(key, f"--{key.replace('_', '-')}")
            given[key] = _Given(_listed(kind, key, value), flag, Path())
    settings = _struct(kind, given, str(file) if file else "settings", "", reading)
    if isinstance(settings, kind):
        _each_once(settings, str(file) if file else "settings", reading)
    if reading.problems:
        raise SettingsError(reading.problems)
    assert isinstance(settings, kind)
    return settings


def _read(file: Path, reading: _Reading) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise ValueError("it is larger than 1 MiB")
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        reading.problems.append(f"cannot read {file}: {error.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValueError) as error:
        reading.problems.append(f"{file} is no TOML file: {error}")
    return {}


def _ours(
    kind: type[msgspec.Struct], environment: Mapping[str, str], reading: _Reading
) -> dict[str, str]:
    """The variables that are keys of this kind; another party's may be there, too."""
    ours, known = _keys(kind), {key for each in KINDS.values() for key in _keys(each)}
    found = {}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX)
        key = name.lower()
        if name in _ELSEWHERE:
            continue
        if key in ours:
            found[key] = text
        elif key not in known:
            reading.problems.append(f"{variable}: no such setting{_meant(key, ours)}")
    return found


def _listed(kind: type[msgspec.Struct], key: str, value: Any) -> Any:
    """A path given where a list of models is expected is one model."""
    if key == "model" and "model" in _keys(kind) and not isinstance(value, (list, tuple)):
        return [value] if isinstance(value, Mapping) else [{"path": str(value)}]
    return value


def _struct(
    kind: type[msgspec.Struct],
    given: Mapping[str, _Given],
    source: str,
    within: str,
    reading: _Reading,
) -> msgspec.Struct | None:
    """A struct of these values; None if one of them is wrong or missing."""
    hints = typing.get_type_hints(kind, include_extras=True)
    before = len(reading.problems)
    for key in given.keys() - _keys(kind):
        reading.wrong(given[key].source, within + key, f"no such setting{_meant(key, set(hints))}")
    values = {}
    for each in msgspec.structs.fields(kind):
        if each.name in given:
            one = given[each.name]
            values[each.name] = _value(hints[each.name], one, within + each.name, reading)
        elif each.required:
            variable = "" if within else f", {PREFIX}{each.name.upper()} or --{each.name}"
            reading.wrong(source, within + each.name, f"is missing: give it in the file{variable}")
    return kind(**values) if len(reading.problems) == before else None


def _value(hint: Any, given: _Given, key: str, reading: _Reading) -> Any:
    """A value as ``hint`` asks for it; of no meaning once something is wrong."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = (each for each in typing.get_args(hint) if each is not type(None))
    if typing.get_origin(hint) is tuple:
        (kind, _) = typing.get_args(hint)
        return (_names if kind is str else _rows)(kind, given, key, reading)
    plain = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
    try:
        if plain is Path:
            value: Any = Path(msgspec.convert(_fspath(given.value), str))
            if not str(given.value):
                raise ValueError("is empty")
            value = given.base / value
        else:
            value = msgspec.convert(given.value, hint, strict=not given.text)
        return _checked(_extra(hint), value, given.base)
    except msgspec.ValidationError as error:
        reading.wrong(given.source, key, str(error)[0].lower() + str(error)[1:])
    except (InputError, ValueError) as error:
        reading.wrong(given.source, key, str(error))
    return None


def _names(kind: type[str], given: _Given, key: str, reading: _Reading) -> tuple[str, ...]:
    """A list of names; in the environment, with commas between them."""
    value = given.value.split(",") if given.text else given.value
    try:
        return tuple(msgspec.convert(value, list[str]))
    except msgspec.ValidationError:
        reading.wrong(given.source, key, "expected a list of names")
        return ()


def _rows(
    kind: type[msgspec.Struct], given: _Given, key: str, reading: _Reading
) -> tuple[Any, ...]:
    """A list of tables, such as ``[[model]]``."""
    rows = given.value
    if not isinstance(rows, (list, tuple)) or not all(isinstance(row, Mapping) for row in rows):
        reading.wrong(given.source, key, f"expected tables, each under [[{key}]]")
        return ()
    if not rows:
        reading.wrong(given.source, key, f"give at least one [[{key}]]")
    found = []
    for number, row in enumerate(rows, 1):
        cells = {name: _Given(value, given.source, given.base) for name, value in row.items()}
        found.append(_struct(kind, cells, given.source, f"{key} {number}: ", reading))
    return tuple(found)


def _checked(check: str | None, value: Any, base: Path) -> Any:
    if check == "address":
        parse(value)
    elif check == "ray":
        trust.check(value, os.environ)
    elif check == "folder" and not is_folder(value):
        raise InputError(f"there is no folder {value}")
    elif check == "checkpoint" and value not in shipped():
        if not value or not is_folder(base / value):
            raise InputError(
                f"{str(base / value)!r} is neither a folder nor a shipped student "
                f"(shipped: {', '.join(shipped())})"
            )
        return str(base / value)
    return value


def _each_once(settings: Settings, source: str, reading: _Reading) -> None:
    seen = set()
    for model in getattr(settings, "model", ()):
        if (model.called, model.version) in seen:
            reading.wrong(source, "model", f"{model.called} version {model.version} is there twice")
        seen.add((model.called, model.version))


def _extra(hint: Any) -> str | None:
    for meta in getattr(hint, "__metadata__", ()):
        if isinstance(meta, msgspec.Meta) and meta.extra:
            return str(meta.extra["check"])
    return None


def _fspath(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _keys(kind: type[msgspec.Struct]) -> set[str]:
    return set(kind.__struct_fields__)


def _meant(key: str, known: set[str]) -> str:
    close = difflib.get_close_matches(key, sorted(known), 1)
    return f"; did you mean {close[0]}?" if close else f" (known: {', '.join(sorted(known))})"
