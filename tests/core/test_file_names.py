"""File names that are relative to a folder, and a folder outside of which none is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from videogen.core.errors import InputError
from videogen.core.file_names import files_within, resolve_file


def test_names_are_relative_to_a_folder_or_absolute(tmp_path: Path) -> None:
    assert resolve_file("a/b.toml", tmp_path) == tmp_path / "a" / "b.toml"
    assert resolve_file(str(tmp_path / "b.toml"), Path("elsewhere")) == tmp_path / "b.toml"


def test_a_name_stays_within_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "input"
    (folder / "inner").mkdir(parents=True)
    (folder / "out").symlink_to(tmp_path)
    with files_within(folder):
        for name in ("a.txt", "inner/../a.txt", str(folder / "a.txt")):
            assert resolve_file(name, folder).name == "a.txt"
        for name in ("../a.txt", "inner/../../a.txt", "/etc/passwd", "out/a.txt", "~/a.txt", "../input2/a.txt"):
            with pytest.raises(InputError, match="is not in the folder 'input'"):
                resolve_file(name, folder)
        with pytest.raises(InputError, match="is not a file name"):
            resolve_file("a\0b", folder)
    assert resolve_file("../a.txt", folder)
