"""Output files: written completely or not at all, and checked before anything is rendered."""

from __future__ import annotations

from pathlib import Path

import pytest

from videogen.core.errors import InputError
from videogen.core.files import atomic_path, check_output


def test_atomic_path_is_all_or_nothing(tmp_path: Path) -> None:
    final = tmp_path / "new" / "a.txt"
    with atomic_path(final) as partial:
        partial.write_text("complete")
        assert not final.exists() and partial.suffix == ".txt"
    assert final.read_text() == "complete"
    with pytest.raises(KeyError), atomic_path(final, overwrite=True) as partial:
        partial.write_text("half")
        raise KeyError
    assert final.read_text() == "complete" and [p.name for p in final.parent.iterdir()] == ["a.txt"]


def test_a_file_created_in_the_meantime_is_not_replaced_and_the_result_is_stored(tmp_path: Path) -> None:
    final = tmp_path / "a.txt"
    with pytest.raises(InputError, match=r"a-2\.txt"), atomic_path(final) as partial:
        partial.write_text("ours")
        final.write_text("theirs")
    assert final.read_text() == "theirs" and (tmp_path / "a-2.txt").read_text() == "ours"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", ["holiday", "holiday.mp4"], ids=["folder of photos", "folder named as a video"])
def test_a_folder_of_other_files_is_never_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "photo.jpg").write_text("precious")
    with pytest.raises(InputError, match="never replaced"):
        check_output(tmp_path / name, overwrite=True)


def test_checking_an_output_creates_nothing(tmp_path: Path) -> None:
    check_output(tmp_path / "new" / "deep" / "a.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["/proc/nowhere/a.mp4", "a\0b.mp4"], ids=["no such folder can be made", "NUL"])
def test_an_impossible_output_is_refused_early(name: str) -> None:
    with pytest.raises(InputError):
        check_output(name)
