"""Disk and memory that a video takes: refused with both figures, and with the length that fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from videogen import InputError, RenderRequest
from videogen.backbones.registry import load_outline
from videogen.core.byte_sizes import format_bytes
from videogen.longvideo import space
from videogen.longvideo.journal.job import job_folder
from videogen.longvideo.space import check_disk, check_memory


@pytest.mark.parametrize(
    ("count", "text"), [(999, "999 bytes"), (1500, "1.5 kB"), (2 * 10**12, "2 TB"), (10**24, "1e+06 EB")]
)
def test_sizes_are_readable(count: int, text: str) -> None:
    assert format_bytes(count) == text


def test_a_long_video_must_fit_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outline = load_outline("embedded")
    assert outline is not None
    request = RenderRequest("a red ball", frames=1001, continuity="replay").resolve(outline)
    _, channels, count, height, width = outline.geometry.shape(1001, request.height, request.width)
    needed = channels * count * height * width * 4
    free = [needed]
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free[0]))
    output = tmp_path / "not" / "yet" / "there.mp4"
    check_disk(request, outline.geometry, output)
    free[0] = needed // 2
    with pytest.raises(
        InputError, match=rf"frames=1001 take at least {format_bytes(needed)} of disk .* at most 500 fr"
    ):
        check_disk(request, outline.geometry, output)
    job_folder(output).mkdir(parents=True)
    (job_folder(output) / "segment").write_bytes(b"x" * (needed - free[0]))
    check_disk(request, outline.geometry, output)  # what an earlier run stored counts


def test_a_video_in_memory_must_fit_it(monkeypatch: pytest.MonkeyPatch) -> None:
    outline = load_outline("embedded")
    assert outline is not None
    clip = RenderRequest("a red ball", continuity="off").resolve(outline)
    monkeypatch.setattr(space, "_memory_bytes", lambda: 10**9)
    check_memory(clip)
    single = replace(clip, frames=10**9)
    with pytest.raises(
        InputError, match=r"frames=1000000000 take .* TB of memory .* has 1 GB; .* leave out continuity"
    ):
        check_memory(single)
    plain = replace(RenderRequest("a red ball", device="cpu").resolve(outline), frames=20_000)
    with pytest.raises(
        InputError, match=r"take at least 1.* GB of memory at 64x64.*most 16276 frames, or a smaller size"
    ):
        check_memory(plain)  # 15 bytes per pixel where it is decoded, 3 elsewhere
    check_memory(replace(plain, device="cuda"))
    with pytest.raises(InputError, match="or render a long video into a file"):
        check_memory(replace(single, continuity="measured"))
    monkeypatch.setattr(space, "_memory_bytes", lambda: None)
    check_memory(single)
