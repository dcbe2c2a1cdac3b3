"""Output files: written completely or not at all, and checked before anything is rendered."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from videogen.core.errors import InputError, SavedElsewhereError
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
    with pytest.raises(SavedElsewhereError, match=r"meantime.*a-2\.txt") as raised, atomic_path(final) as partial:
        partial.write_text("ours")
        final.write_text("theirs")
    assert raised.value.path == tmp_path / "a-2.txt"
    assert final.read_text() == "theirs" and (tmp_path / "a-2.txt").read_text() == "ours"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("is_folder", [False, True], ids=["a file", "a folder of frames"])
def test_a_result_that_cannot_replace_another_users_is_stored_next_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_folder: bool
) -> None:
    """As in a folder with the sticky bit, where only the owner may rename or remove a file."""
    final = tmp_path / "a"
    if is_folder:
        final.mkdir()
        (final / "frame_00000.png").write_text("theirs")
    else:
        final.write_text("theirs")

    def refuse(source: Path, target: object = None) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(source))

    monkeypatch.setattr("os.replace", refuse)
    monkeypatch.setattr(Path, "rename", refuse)
    with (
        pytest.raises(SavedElsewhereError, match=r"cannot be replaced.*a-2$") as raised,
        atomic_path(final, overwrite=True) as partial,
    ):
        partial.write_text("ours")
    assert raised.value.path.read_text() == "ours" and raised.value.exit_code == 1
    assert ((final / "frame_00000.png") if is_folder else final).read_text() == "theirs"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_disk_is_reported_with_the_final_name(tmp_path: Path) -> None:
    for name in (None, "partial"):
        with pytest.raises(OSError) as raised, atomic_path(tmp_path / "a.html") as partial:
            raise OSError(errno.ENOSPC, "No space left on device", name and str(partial))
        assert raised.value.filename == str(tmp_path / "a.html")
    assert not list(tmp_path.iterdir())


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
