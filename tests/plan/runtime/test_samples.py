"""CSV files of timings: what is read, and why the rest is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from veilform.errors import InputError
from veilform.plan.runtime import Sample, read_csv, write_csv

HEAD = "prompt_tokens,output_tokens,seconds\n"


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "\ufeffstd,seconds, output_tokens,prompt_tokens\n0.1,2.5,3,4\n\n,1,1,1\n", encoding="utf-8"
    )
    assert read_csv(path) == [Sample(4, 3, 2.5), Sample(1, 1, 1.0)]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    samples = [Sample(1, 1, 0.25), Sample(16, 8, 1.000001)]
    write_csv(tmp_path / "a.csv", samples)
    assert read_csv(tmp_path / "a.csv") == samples


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column prompt_tokens and no column output_tokens and no column seconds"),
        (b"prompt_tokens,seconds\n1,1\n", "no column output_tokens;"),
        (HEAD.encode(), "no samples below"),
        (HEAD.encode() + b"1,1,1\n1,2,\n", r"a\.csv, line 3: 1, 2,  are not"),
        (HEAD.encode() + b"1,2\n", "line 2: 1, 2, None are not"),
        (HEAD.encode() + b"1.5,2,1\n", "line 2: 1.5, 2, 1 are not"),
        (HEAD.encode() + b"1,2,nan\n", "line 2: seconds is nan"),
        (HEAD.encode() + b"1,2,-3\n", "line 2: seconds is -3.0"),
        (HEAD.encode() + b"1,2,0\n", "line 2: seconds is 0.0"),
        (HEAD.encode() + b"-1,2,3\n", "line 2: prompt_tokens is -1"),
        (HEAD.encode() + b"1,99999999999,3\n", "line 2: output_tokens is 99999999999"),
        (b"\xff\xfe\x00", "is no CSV file of text"),
    ],
)
def test_refuses(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_csv(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_csv(tmp_path / "none.csv")
