"""A file is there whole or not at all."""

from pathlib import Path

import pytest

from veilform.files import replacing


def test_a_file_takes_its_place_when_all_went_well(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as part:
        part.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"
    with pytest.raises(TypeError), replacing(path) as part, part.open("w") as file:
        file.writelines(["sec", 3])
    assert path.read_text() == "first"
    assert [each.name for each in path.parent.iterdir()] == ["a.txt"]


def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), replacing(tmp_path / "file" / "a.txt"):
        pytest.fail("nothing can be written there")
