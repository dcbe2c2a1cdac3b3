"""Manifests survive tools that copy the streams of a file: they are in the comment, which every container has."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from videogen import Video
from videogen.media.metadata import encode, read_manifest

from .test_round_trips import MANIFEST, clip


def copy_streams(
    source: Path, target: Path, tags: dict[str, str] | None = None, options: dict[str, str] | None = None
) -> Path:
    """As `ffmpeg -i source -c copy target`: packets and tags (None: the source's) are passed on, and the target's muxer
    drops what it does not know."""
    with av.open(str(source)) as reading, av.open(str(target), "w", options=options or {}) as writing:
        writing.metadata.update(reading.metadata if tags is None else tags)
        track = writing.add_stream_from_template(reading.streams.video[0])
        for packet in reading.demux(reading.streams.video[0]):
            if packet.size:
                packet.stream = track
                writing.mux(packet)
    return target


@pytest.mark.parametrize(
    ("name", "copies"),
    [
        ("a.mp4", ["b.mp4"]),
        ("a.mp4", ["b.mkv"]),
        ("a.mp4", ["b.mov"]),
        ("a.mp4", ["b.mkv", "c.mp4"]),
        ("a.webm", ["b.webm"]),
        ("a.webm", ["b.mkv", "c.webm"]),
        ("a.webm", ["b.mp4"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " to ".join(value),
)
def test_a_copy_of_the_streams_has_the_manifest(tmp_path: Path, name: str, copies: list[str]) -> None:
    path = Video(clip(), 8, MANIFEST).save(tmp_path / name)
    for copy in copies:
        path = copy_streams(path, tmp_path / copy)
    assert read_manifest(path) == MANIFEST and len(Video.open(path)) == 9


def test_a_manifest_longer_than_64_kib_is_read_back(tmp_path: Path) -> None:
    manifest = {"measured": {"seams": list(np.arange(30000) / 7)}}
    for name in ("a.mp4", "a.mkv", "a.webm"):
        assert read_manifest(copy_streams(Video(clip(3), 8, manifest).save(tmp_path / name), tmp_path / f"b-{name}"))


@pytest.mark.parametrize(("suffix", "options"), [(".mp4", {"movflags": "use_metadata_tags"}), (".webm", {})])
def test_the_custom_tag_of_earlier_versions_is_read(tmp_path: Path, suffix: str, options: dict[str, str]) -> None:
    path = Video(clip()).save(tmp_path / f"a{suffix}")
    earlier = copy_streams(path, tmp_path / f"earlier{suffix}", {"videogen": encode(MANIFEST)}, options)
    assert read_manifest(earlier) == MANIFEST


@pytest.mark.parametrize("comment", ["holiday", '{"a": 1}', "videogen: not JSON", ""])
def test_other_comments_are_not_manifests(tmp_path: Path, comment: str) -> None:
    path = copy_streams(Video(clip()).save(tmp_path / "a.mp4"), tmp_path / "b.mp4", {"comment": comment})
    assert read_manifest(path) is None
