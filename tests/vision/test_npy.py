"""Arrays of files of others: what NumPy writes is read, and nothing else, in no more memory."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from veilform.errors import InputError
from veilform.vision import npy


def saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


@given(
    array=npst.arrays(
        npst.integer_dtypes() | npst.floating_dtypes() | npst.boolean_dtypes(),
        npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    ),
    by_columns=st.booleans(),
)
def test_what_numpy_writes_is_read(array: np.ndarray, by_columns: bool) -> None:
    array = np.asfortranarray(array) if by_columns else array
    found = npy.parse(saved(array), "x")
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@given(at=st.integers(0, 200), byte=st.integers(0, 255), cut=st.integers(0, 300))
def test_damage_is_told_or_changes_numbers_alone(at: int, byte: int, cut: int) -> None:
    content = bytearray(saved(np.arange(24.0).reshape(4, 6)))
    content[at] = byte
    try:
        found = npy.parse(bytes(content[: len(content) - cut]), "x")
    except InputError:
        return
    assert found.nbytes <= len(content)


@pytest.mark.parametrize(
    "shape",
    ["(99999999999999,)", "(1180591620717411303424,)", "(True, 3)", "(-3, -1)", "(2,", "3", "()"],
)
def test_shapes_that_are_only_claimed(shape: str) -> None:
    content = saved(np.zeros(3))
    header = content[10 : content.index(b"\n")]
    other = header.replace(b"(3,)", shape.encode()).rstrip()
    with pytest.raises(InputError):
        npy.parse(content[:10] + other.ljust(len(header)) + content[10 + len(header) :], "x")


def test_objects_are_not_opened() -> None:
    with pytest.raises(InputError, match="give numbers"):
        npy.parse(saved(np.array([{}])), "x")
    with pytest.raises(InputError, match="give numbers"):
        npy.parse(saved(np.array(["a"])), "x")
    with pytest.raises(InputError, match="is no"):
        npy.parse(b"", "x")
