"""What holds a seed does not show it, whoever prints it."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console

from veilform.correlation.stockfile import Header
from veilform.correlation.store import new_id
from veilform.roles import SERVER
from veilform.serve import messages as say
from veilform.serve.dealers import Answered
from veilform.serve.pending import Pending
from veilform.transport.control import Control

SEED = b"sixteen secrets!"


@pytest.mark.parametrize(
    "holder",
    [
        say.Welcome(say.PROTOCOL, new_id(), SEED, new_id()),
        say.Dealt(new_id(), SEED),
        Header(SERVER, "0" * 64, SEED, 1),
        Answered(None, SEED),  # type: ignore[arg-type]
        Pending("0" * 64, SEED),
    ],
    ids=lambda holder: type(holder).__name__,
)
def test_a_text_form_shows_no_seed(holder: object) -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print(holder, [holder])
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    for text in (repr(holder), str(holder), f"{holder}", repr([holder]), printed):
        assert type(holder).__name__ in text
        assert "secrets" not in text
        assert SEED.hex() not in text


def test_no_control_message_has_a_text_form_of_its_own() -> None:
    messages = [each for each in Control.__subclasses__() if each.__module__ == say.__name__]
    assert len(messages) > 10
    for message in messages:
        assert message.__repr__ is Control.__repr__


def test_an_answer_of_the_dealer_is_no_tuple() -> None:
    """A generic named tuple cannot be defined in Python 3.10."""
    assert dataclasses.is_dataclass(Answered)
    assert not issubclass(Answered, tuple)
