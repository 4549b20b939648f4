"""What an installation brings along: few packages, each with a licence that lets users use it."""

from __future__ import annotations

import importlib.metadata as metadata
import re

import pytest

CORE = {"numpy", "cryptography", "tokenizers", "msgspec", "tomli", "typer", "rich"}
PERMISSIVE = re.compile(
    r"\b(MIT|Apache|BSD|0BSD|ISC|PSF|Zlib|CC0|MPL|Unlicense|Python Software Foundation|"
    r"Mozilla Public License)", re.IGNORECASE
)  # fmt: skip


def required(package: str, extra: str = "") -> set[str]:
    """What a package requires here, without extras or with one."""
    found = set()
    for line in metadata.requires(package) or ():
        name = re.match(r"[\w.-]+", line)
        assert name is not None
        of = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if (of[1] if of else "") == extra:
            found.add(name[0].lower())
    return found


def installed_with(packages: set[str]) -> set[str]:
    """These and all that they require, of what is installed."""
    found: set[str] = set()
    waiting = list(packages)
    while waiting:
        name = waiting.pop()
        try:
            metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another platform or Python
        if name not in found:
            found.add(name)
            waiting += required(name)
    return found


def licence(package: str) -> str:
    about = metadata.metadata(package)
    classifiers = [line for line in about.get_all("Classifier") or () if "License" in line]
    return " ".join(
        [about.get("License-Expression") or "", (about.get("License") or "")[:80], *classifiers]
    )


def test_the_core_is_light() -> None:
    assert required("veilform") == CORE


@pytest.mark.parametrize(
    "package",
    sorted(installed_with(CORE | required("veilform", "gateway") | required("veilform", "images"))),
)
def test_licences_let_users_use_it(package: str) -> None:
    assert PERMISSIVE.search(licence(package)), licence(package)
