"""``veilform plan``: exact where it says so, and clear about what it cannot plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Run

from veilform.commands.plan import duration
from veilform.errors import InputError, ModelError


def planned(veilform: Run, *arguments: object) -> dict[str, Any]:
    code, out, err = veilform("plan", *arguments, "--json")
    assert (code, err) == (0, "")
    document: dict[str, Any] = json.loads(out)
    return document


def test_bytes_are_those_of_cost(veilform: Run, tiny: Path) -> None:
    document = planned(veilform, tiny, "--seq", 32, "--batch", 2)
    code, out, _ = veilform("cost", tiny, "--seq", 32, "--batch", 2, "--json")
    report = json.loads(out)
    assert code == 0
    assert document["cost"] == {key: report[key] for key in document["cost"]}
    operations = document["operations"]
    assert sum(each["up"] for each in operations.values()) == sum(
        each["up"] for each in document["cost"]["operations"].values()
    )
    assert document["layers"] == [{"activation": "quad", "attention": "2quad"}]


def test_a_slower_link_takes_longer(veilform: Run, tiny: Path) -> None:
    seconds = [
        planned(veilform, tiny, "--seq", 16, "--link", link)["online_seconds"]
        for link in ("loopback", "lan", "100mbit/10ms", "wan")
    ]
    assert seconds == sorted(set(seconds))


def test_a_budget_chooses_functions(veilform: Run, tiny: Path, tmp_path: Path) -> None:
    base = (tiny, "--seq", 16, "--link", "lan", "--act", "gelu", "--attention", "softmax")
    exact = planned(veilform, *base)
    free = planned(veilform, *base, "--budget", "3600s")
    assert {layer["attention"] for layer in free["layers"]} == {"softmax"}
    assert {layer["activation"] for layer in free["layers"]} <= {"gelu", "curve-gelu"}
    fastest = free["frontier"][0]["seconds"]
    assert free["frontier"][-1]["change"] == 0
    assert fastest < exact["online_seconds"]
    plot = tmp_path / "frontier.svg"
    tight = planned(veilform, *base, "--budget", f"{1.02 * fastest}s", "--plot", plot)
    assert tight["layers"] != free["layers"]
    assert tight["online_seconds"] == pytest.approx(fastest, rel=0.1)
    assert plot.read_bytes().startswith(b"<?xml")
    code, _, err = veilform("plan", *base, "--budget", f"{fastest / 2}s")
    assert code == 2
    assert "the fastest takes" in err


def test_the_table(veilform: Run, tiny: Path) -> None:
    code, out, _ = veilform("plan", tiny, "--seq", 16, "--link", "wan")
    assert code == 0
    for text in ("attention function", "the link dominates", "dollars a thousand", "messages"):
        assert text in out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--link", "mars"], "200mbit/40ms"),
        (["--link", "0mbit/1ms"], "carries nothing"),
        (["--act", "swish"], "no activation is called"),
        (["--act", "quad,quad"], "one for each of 1 layers"),
        (["--budget", "soon"], "write 2s"),
        (["--plot", "x.svg"], "give a budget"),
        (["--machine", "none.json"], "cannot read"),
        (["--seq", "64"], "over the limit"),
    ],
)
def test_what_cannot_be_planned(veilform: Run, tiny: Path, arguments: list[str], why: str) -> None:
    code, out, err = veilform("plan", tiny, *arguments)
    assert code in {InputError.exit_code, ModelError.exit_code}
    assert out == ""
    assert why in err


@pytest.mark.parametrize(("text", "seconds"), [("2s", 2), ("350ms", 0.35), ("1.5", 1.5)])
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0s", "-1s", "nan", "inf", "1h", "s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(InputError, match="is no time"):
        duration(text)


def test_small_weights_send_less(veilform: Run, tiny: Path) -> None:
    wide, narrow = (
        planned(veilform, tiny, "--seq", 16, "--weights", kind)["cost"]
        for kind in ("float", "int8")
    )
    for name in ("bytes_client_to_server", "bytes_server_to_client", "offline_bytes"):
        assert narrow[name] < wide[name], name
    assert narrow["messages"] == wide["messages"]
