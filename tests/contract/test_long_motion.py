"""Motion of a long video: measured as its frames come, shot by shot, and reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from videogen import Engine, RenderRequest
from videogen.cli.inspect import summarize_long
from videogen.cli.report_long import long_section
from videogen.longvideo.motion import LongMotion
from videogen.motion import Camera, Drag, compile_motion
from videogen.timeline import as_timeline

EngineOf = Callable[[str], Engine]
SIZE, FRAMES = 64, 37
PAN = Camera(pan=24)


def texture(size: int) -> np.ndarray:
    """An image with enough texture to measure flow: uint8 [size, size, 3]."""
    rough = np.random.default_rng(0).uniform(0, 255, (size // 4, size // 4, 3)).astype(np.float32)
    return cv2.resize(rough, (size, size), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


def long_motion(engine: Engine, **options: Any) -> LongMotion:
    values: dict[str, Any] = {
        "prompt": "a red ball",
        "frames": FRAMES,
        "window": 21,
        "width": SIZE,
        "height": SIZE,
        "steps": 2,
        "continuity": "replay",
    }
    request = RenderRequest(**values | {"motion_backend": "warped_noise"} | options).resolve(engine.backbone)
    found = LongMotion.from_request(request, request.latent_timeline(engine.backbone.geometry), engine.backbone)
    assert found is not None
    return found


@pytest.mark.parametrize("batch", [1, 7, FRAMES])
def test_the_error_of_a_clip_that_moves_as_planned_is_small(batch: int, engine_of: EngineOf) -> None:
    motion = long_motion(engine_of("wan-2.1"), motion=PAN)
    clip = compile_motion(PAN, FRAMES, SIZE, SIZE).preview(texture(SIZE), arrows=False)
    for at in range(0, FRAMES, batch):
        motion.add(clip[at : at + batch])
    (shot,) = motion.measured["shots"]
    assert shot["shot"] == 0 and shot["target_px"] == pytest.approx(24 / (FRAMES - 1), rel=0.01)
    assert shot["error_px"] < 0.25 * shot["target_px"]
    assert shot["floor_px"] == pytest.approx(shot["error_px"], abs=0.03)  # the floor is measured on the same frames


def test_the_error_of_a_still_clip_is_its_target(engine_of: EngineOf) -> None:
    motion = long_motion(engine_of("wan-2.1"), motion=PAN)
    motion.add(np.repeat(texture(SIZE)[None], FRAMES, 0))
    (shot,) = motion.measured["shots"]
    assert shot["error_px"] == pytest.approx(shot["target_px"], rel=0.02)
    assert shot["floor_px"] < 0.25 * shot["target_px"]


def test_the_floor_of_a_flat_object_that_is_dragged(engine_of: EngineOf) -> None:
    """Only its outline moves: the error of a clip that follows the drag is that of the measurement itself."""
    drag = Drag((20, 32, 10), [(20, 32), (44, 32)])
    first = np.full((SIZE, SIZE, 3), 40, np.uint8)
    cv2.circle(first, (20, 32), 9, (220, 60, 50), -1)
    motion = long_motion(engine_of("wan-2.1"), motion=drag)
    motion.add(compile_motion(drag, FRAMES, SIZE, SIZE).preview(first, arrows=False))
    (shot,) = motion.measured["shots"]
    assert (
        shot["floor_px"] < 0.5 * shot["target_px"]
        and abs(shot["floor_px"] - shot["error_px"]) < 0.15 * shot["target_px"]
    )


def test_each_shot_is_measured_against_its_own_motion(engine_of: EngineOf) -> None:
    """The second shot moves, from latent 5 on, whose last frame is the plan's first; the first one has nothing to
    follow."""
    story = as_timeline({0: "a red ball", 17: "a blue ball"}).to_dict()
    story["shots"][1]["motion"] = [{"kind": "camera", "pan": 12.0}]
    motion = long_motion(engine_of("wan-2.1"), prompt="", story=story)
    start = motion.timeline.shots[1].start
    first = motion.timeline.latent_map.frames_of(start).stop - 1
    plan = compile_motion(
        Camera(pan=12), motion.timeline.latent_map.frame_count(motion.timeline.latents - start), SIZE, SIZE
    )
    still = np.repeat(texture(SIZE)[None], first, 0)
    motion.add(np.concatenate([still, plan.preview(texture(SIZE), arrows=False)])[:FRAMES])
    (shot,) = motion.measured["shots"]
    assert shot["shot"] == 1 and shot["error_px"] < 0.3 * shot["target_px"]


def test_a_render_reports_it(engine_of: EngineOf) -> None:
    engine = engine_of("wan-2.1")
    request = RenderRequest(
        "a red ball", frames=FRAMES, window=21, width=32, height=32, steps=2, continuity="replay", motion=Camera(pan=8),
        motion_backend="warped_noise", motion_strength=0.5,
    )  # fmt: skip
    video = engine.render(request)
    assert video.manifest is not None
    long = video.manifest["measured"]["long"]
    assert long["motion"]["strength"] == 0.5 and long["motion"]["shots"][0]["target_px"] > 0
    older = {
        **long,
        "motion": {**long["motion"], "shots": [{"shot": 0, "error_px": 0.1, "target_px": 0.3}]},
    }  # of versions before floors were measured
    assert "px/frame (target motion" in str(summarize_long(long)) and "0.10 px" in str(summarize_long(older))
    assert "0.10 px" in "".join(long_section(older, video.manifest["request"]))
    assert "px/frame (target motion" in str(summarize_long(long)) and "motion of shot 0" in "".join(
        long_section(long, video.manifest["request"])
    )


def test_a_moving_video_copies_frames_and_a_still_one_continues_them(engine_of: EngineOf) -> None:
    backbone = engine_of("wan-2.1+clean_prefix").backbone
    still = RenderRequest("a red ball", frames=FRAMES, window=21, width=SIZE, height=SIZE, steps=2)
    moved = RenderRequest(
        "a red ball", frames=FRAMES, window=21, width=SIZE, height=SIZE, steps=2, motion=PAN,
        motion_backend="warped_noise",
    )  # fmt: skip
    found = [request.resolve(backbone).clip_continuity for request in (still, moved)]
    assert [(policy.policy, policy.noise) for policy in found] == [("clean_prefix", "iid"), ("replay", "warped")]
