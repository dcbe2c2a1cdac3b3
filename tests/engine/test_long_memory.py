"""`memory=` of long videos: planned for a segment, refused before the run, more offloading where it runs out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.contract.families import wan
from tests.engine.test_out_of_memory import Shortage, denoiser
from videogen import Engine, InputError, OutOfMemoryError, RenderRequest, Video
from videogen.engine import memory_use

CLIP: dict[str, Any] = {"frames": 17, "window": 9, "width": 32, "height": 32, "steps": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "wan"
    wan(path)
    return path


def request(memory: str | None = None) -> RenderRequest:
    return RenderRequest("a red ball", memory=memory, **CLIP)


def test_too_small_a_memory_is_refused_before_the_run(folder: Path, tmp_path: Path) -> None:
    engine = Engine.load(str(folder), device="cpu")
    with Shortage(denoiser(engine), "forward", None) as shortage, pytest.raises(InputError, match="smallest plan"):
        engine.render_long(request("10kB"), tmp_path / "long.mp4")
    assert shortage.calls == 0 and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_segment_that_does_not_fit_continues_from_the_journal(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine.load(str(folder), device="cpu")
    plain = engine.render_long(request("8GB"), tmp_path / "plain.mp4")
    recorded = plain.manifest["measured"]["memory"]
    assert recorded["limit_bytes"] == 8_000_000_000 and recorded["steps_down"] == []
    with Shortage(denoiser(engine), "forward", 99) as counted:
        engine.render(request("8GB"))
    monkeypatch.setattr(memory_use, "offloads", lambda device: True)
    with Shortage(denoiser(engine), "forward", counted.calls - 1) as shortage:
        small = engine.render_long(request("8GB"), tmp_path / "small.mp4")
    steps = small.manifest["measured"]["memory"]["steps_down"]
    assert steps == [{"stage": "segment", "residency": "model offload"}]
    assert small.resumed > 0 and shortage.calls < 2 * counted.calls
    assert np.array_equal(Video.open(small.path).frames, Video.open(plain.path).frames)


@pytest.mark.slow
def test_finished_segments_stay_where_nothing_is_left(folder: Path, tmp_path: Path) -> None:
    engine = Engine.load(str(folder), device="cpu")
    with Shortage(denoiser(engine), "forward", 0), pytest.raises(OutOfMemoryError, match="denoise"):
        engine.render_long(request("8GB"), tmp_path / "long.mp4")
    done = engine.render_long(request("8GB"), tmp_path / "long.mp4", keep_job=True)
    assert done.manifest["measured"]["memory"]["residency"]["placement"] == "device"
    again = engine.redo(done.path, 1)
    assert again.manifest["measured"]["memory"]["limit_bytes"] == 8_000_000_000
