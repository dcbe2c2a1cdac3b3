"""Disk cache: entries are complete or absent, and bounded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from videogen.core.disk_cache import CACHES, CacheKind, DiskCache

KIND = CacheKind("trial", "what a test stores", b"trial-1\n", 1000)


def test_an_entry_is_read_as_it_was_written(tmp_path: Path) -> None:
    cache = DiskCache(KIND, tmp_path)
    assert cache.read("a") is None
    cache.write("a", b"content")
    cache.write("b", b"")
    assert cache.read("a") == b"content" and cache.read("b") == b"" and cache.size_bytes() == 2 * (8 + 20) + 7
    cache.clear()
    assert cache.read("a") is None and not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["flipped", "short", "empty", "long"])
def test_a_damaged_entry_is_absent(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = DiskCache(KIND, tmp_path)
    cache.write("a", b"content")
    path = tmp_path / "a.trial"
    content = path.read_bytes()
    path.write_bytes(
        {"flipped": content[:-1] + b"x", "short": content[:-1], "empty": b"", "long": content + b"0"}[damage]
    )
    assert cache.read("a") is None and "damaged" in caplog.text


def test_the_oldest_entries_are_evicted(tmp_path: Path) -> None:
    cache = DiskCache(KIND, tmp_path, limit_bytes=300)
    for age, key in ((3, "old"), (2, "middle"), (1, "young")):
        cache.write(key, bytes(100))
        if (tmp_path / f"{key}.trial").exists():
            os.utime(tmp_path / f"{key}.trial", (1000 - age, 1000 - age))
    assert [key for key in ("old", "middle", "young") if cache.read(key) is not None] == ["middle", "young"]


def test_a_folder_that_is_not_writable_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = DiskCache(KIND, tmp_path / "file" / "inside")
    cache.write("a", b"1")
    cache.write("b", b"2")
    assert cache.read("a") is None and caplog.text.count("not cached on disk") == 1


def test_each_kind_has_a_folder_of_its_own() -> None:
    assert len({kind.folder for kind in CACHES}) == len({kind.magic for kind in CACHES}) == len(CACHES)
