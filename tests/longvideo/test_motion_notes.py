"""Notes on the files of a long video's motion are recorded in its manifest, once each."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.media.test_foreign_videos import write
from tests.media.test_round_trips import clip
from videogen.longvideo.motion import LongMotion
from videogen.motion import Camera, Transfer


def test_notes_of_all_shots_are_measured_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", clip(10), sound_s=1)
    request: Any = SimpleNamespace(height=32, width=48, fps=10)
    settings: Any = SimpleNamespace(spec=Transfer(path), control="warped_noise", strength=0.9)
    shots = [SimpleNamespace(motion=motion, start=0, stop=8) for motion in (Camera(pan=2), Transfer(path))]
    frame_map = SimpleNamespace(frame_count=lambda latents: latents)
    timeline: Any = SimpleNamespace(latents=11, latent_map=frame_map, shots=shots)
    backbone: Any = None
    motion = LongMotion(request, settings, timeline, backbone)
    assert "notes" not in motion.measured
    for key in (1, 0, None, 1):
        motion._plan_of(key)
    silent, held = sorted(motion.measured["notes"], key=lambda note: "its last frame is held" in note)
    assert silent == f"{path}: its sound is not used: the clip is silent" and "its last frame is held" in held
