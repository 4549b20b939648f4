"""The header: known bytes, round trips, and one refusal for each field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilform.errors import ProtocolError
from veilform.transport.frames import (
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    Header,
    Kind,
    check_length,
    decode_header,
    encode_header,
)

GOOD = encode_header(Kind.DATA, 4096, 7)


def changed(offset: int, value: int) -> bytes:
    return GOOD[:offset] + bytes([value]) + GOOD[offset + 1 :]


def test_the_bytes_are_those_of_the_document() -> None:
    assert GOOD.hex(" ", 4) == "01020000 00100000 07000000 00000000"
    assert len(GOOD) == HEADER_BYTES == 16


def test_kinds_have_fixed_numbers() -> None:
    assert {kind.name: kind.value for kind in Kind} == {
        "CONTROL": 1,
        "DATA": 2,
        "BULK": 3,
        "ERROR": 4,
        "BYE": 5,
    }


@given(st.sampled_from(Kind), st.integers(0, MAX_PAYLOAD_BYTES), st.integers(0, 2**64 - 1))
def test_round_trip(kind: Kind, length: int, sequence: int) -> None:
    raw = encode_header(kind, length, sequence)
    assert decode_header(raw, sequence, "the server") == Header(kind, length)


@pytest.mark.parametrize(
    ("raw", "due", "says"),
    [
        (changed(0, 2), 7, "frame version 2"),
        (changed(0, 0), 7, "frame version 0"),
        (changed(1, 0), 7, "unknown kind 0"),
        (changed(1, 6), 7, "unknown kind 6"),
        (changed(2, 1), 7, "reserved bits are 0x0001"),
        (changed(3, 128), 7, "reserved bits are 0x8000"),
        (GOOD, 8, "frame number 7 where 8 is due: replayed or reordered"),
        (GOOD, 6, "frame number 7 where 6 is due: frames are missing"),
    ],
)
def test_a_wrong_field_is_named(raw: bytes, due: int, says: str) -> None:
    with pytest.raises(ProtocolError, match=f"^the server sent .*{says}"):
        decode_header(raw, due, "the server")


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**64 - 1))
def test_any_sixteen_bytes_are_a_header_or_refused(raw: bytes, due: int) -> None:
    try:
        header = decode_header(raw, due, "the server")
    except ProtocolError:
        return
    assert encode_header(header.kind, header.length, due) == raw or header.length > 2**31


def test_length_bounds_are_inclusive() -> None:
    for length in (3, 5):
        assert check_length(Header(Kind.DATA, length), 3, 5, "the client") == length
    with pytest.raises(ProtocolError, match="DATA frame of 2 bytes, allowed here: 3 to 5"):
        check_length(Header(Kind.DATA, 2), 3, 5, "the client")
    with pytest.raises(ProtocolError, match="of 9 bytes, allowed here: exactly 8"):
        check_length(Header(Kind.BULK, 9), 8, 8, "the client")


@pytest.mark.parametrize(("length", "sequence"), [(-1, 0), (2**31 + 1, 0), (0, -1), (0, 2**64)])
def test_encoding_refuses_what_does_not_fit(length: int, sequence: int) -> None:
    with pytest.raises(ValueError, match=r"bytes, not|64 bits"):
        encode_header(Kind.DATA, length, sequence)


def test_a_header_has_sixteen_bytes() -> None:
    with pytest.raises(ValueError, match="16 bytes, not 15"):
        decode_header(GOOD[:-1], 7, "the server")
