"""Stories in latent frames: starts of shots, blends, seeds, cuts, and clips that do not fit their story."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction as F
from typing import Any

import numpy as np
import pytest

from videogen import InputError
from videogen.backbones.geometry import LatentGeometry
from videogen.core.frame_latent_map import FrameLatentMap
from videogen.motion import Camera
from videogen.timeline import LatentTimeline, as_timeline

WAN = LatentGeometry(16, 8, 4, 16, single_first=True)
UNET = LatentGeometry(4, 8, 1, 8, single_first=False)
PAIRS = LatentGeometry(4, 8, 2, 8, single_first=False)


def compile_story(
    story: Any, frames: int, geometry: LatentGeometry = WAN, fps: Any = 16, seed: int = 5
) -> LatentTimeline:
    return as_timeline(story).compile(fps=fps, frames=frames, geometry=geometry, seed=seed)


def test_prompts_seeds_motion_and_cuts() -> None:
    story = [
        {"prompt": "red", "seconds": 1},
        {"prompt": "blue", "seconds": 1, "transition": "cut", "seed": 9, "motion": [{"kind": "camera", "pan": 8}]},
        {"prompt": "red", "transition": "hold"},
    ]
    timeline = compile_story(story, 65)
    assert timeline.prompts == ("red", "blue") and timeline.latents == 17
    found = [(s.start, s.stop, s.prompt, s.cut, s.seed) for s in timeline.shots]
    assert found == [(0, 5, 0, False, 5), (5, 9, 1, True, 9), (9, 17, 0, False, 5)]
    assert [s.motion for s in timeline.shots] == [None, Camera(pan=8), None]
    assert timeline.cuts == (5,) and list(timeline.scenes()) == [(0, 5), (5, 17)]
    assert [timeline.shot_at(latent).seed for latent in range(3, 10)] == [5, 5, 9, 9, 9, 9, 5]
    assert timeline.weights(4, 10).tolist() == [[1, 0], *[[0, 1]] * 4, [1, 0]]
    assert timeline.latent_map.frames_of(5) == range(17, 21)  # requested for frame 16, begins with a latent


def test_a_cut_before_the_first_shot_is_ignored() -> None:
    assert compile_story([{"prompt": "a", "transition": "cut"}], 65).cuts == ()


@pytest.mark.parametrize(
    ("transition", "geometry", "frames", "weights"),
    [
        ("blend(12)", WAN, 33, [0, 0, 0, 0, 0, 0.25, 0.5, 0.75, 1]),
        ("blend(0.5s)", WAN, 33, [0, 0, 0, 0, 0, 1 / 3, 2 / 3, 1, 1]),
        ("blend(1)", WAN, 33, [0, 0, 0, 0, 0, 0.5, 1, 1, 1]),
        ("blend(16)", WAN, 33, [0, 0, 0, 0, 0, 0.2, 0.4, 0.6, 0.8]),
        ("blend(3)", UNET, 20, [0] * 16 + [0.25, 0.5, 0.75, 1]),
        ("hold", WAN, 33, [0, 0, 0, 0, 0, 1, 1, 1, 1]),
    ],
)
def test_blends_rise_from_the_shots_start(
    transition: str, geometry: LatentGeometry, frames: int, weights: list[float]
) -> None:
    timeline = compile_story(
        [{"prompt": "a", "seconds": 1}, {"prompt": "b", "transition": transition}], frames, geometry
    )
    found = timeline.weights(0, timeline.latents)
    assert np.allclose(found[:, 1], weights) and np.allclose(found.sum(1), 1) and timeline.cuts == ()


def test_a_repeated_prompt_has_one_column() -> None:
    timeline = compile_story([(1, "a"), (0.5, "b"), (0.5, "a")], 33)
    assert [s.start for s in timeline.shots] == [0, 5, 7]
    assert timeline.weights(3, 8).tolist() == [[1, 0], [1, 0], [0, 1], [0, 1], [1, 0]]
    same = compile_story([{"prompt": "a", "seconds": 1}, {"prompt": "a", "transition": "blend(8)"}], 33)
    assert same.weights(5, 6).tolist() == [[1.0]]


def test_later_shots_do_not_change_earlier_frames() -> None:
    first = compile_story("[0-1] a\n[1-2, blend(8)] b\n[2-] c", 65)
    second = compile_story("[0-1] a\n[1-2, blend(8)] b\n[2-, blend(16)] d\n", 65)
    assert (
        np.array_equal(first.weights(0, 9)[:, :2], second.weights(0, 9)[:, :2]) and first.shots[:2] == second.shots[:2]
    )


def test_shots_by_frame_number_and_fractional_rates() -> None:
    timeline = compile_story({0: "a", 64: "b"}, 97, fps=F(30000, 1001))
    assert [s.start for s in timeline.shots] == [0, 17]
    assert [s.start for s in compile_story([(2, "a"), (None, "b")], 97, UNET, fps=29.97).shots] == [0, 60]


@pytest.mark.parametrize(
    ("story", "geometry", "fps", "frames"),
    [
        pytest.param([(4, "a")], WAN, 16, 65, id="4 s"),
        pytest.param([(0.01, "a")], WAN, 16, 1, id="less than a frame"),
        pytest.param([(4, "a")], UNET, 8, 32, id="a latent per frame"),
        pytest.param({0: "a", 9: "b"}, WAN, 16, None, id="open"),
    ],
)
def test_the_frames_that_a_story_needs(story: Any, geometry: LatentGeometry, fps: float, frames: int | None) -> None:
    timeline = as_timeline(story)
    assert timeline.frames(fps, geometry) == frames
    if frames is not None:
        assert timeline.compile(fps=fps, frames=frames, geometry=geometry).latents == FrameLatentMap.from_geometry(
            geometry
        ).latent_count(frames)


def test_a_story_may_end_less_than_a_latent_from_the_end_of_the_clip() -> None:
    assert [compile_story([(4, "a")], frames).latents for frames in (61, 65)] == [16, 17]


TWO = as_timeline([(4, "a"), (4, "b")])
SHORT = "shot 2, which starts at 4 s, is shorter than one latent frame of 4 frames; make it at least 0.25 s long"
LONG_BLEND = r"shot 2 begins with blend\(2s\), 32 frames, and has only about 16; blend over at most 16 frames"
BAD = [
    pytest.param(
        lambda: compile_story(TWO, 65),
        "ends at 8 s, which is frame 128 at 16 fps, .* use frames=129",
        id="clip too short",
    ),
    pytest.param(
        lambda: compile_story(TWO, 133), "the clip has 133 frames; use frames=129, or leave", id="clip too long"
    ),
    pytest.param(lambda: compile_story(TWO, 65, UNET, 8), "has 65 frames; use frames=64", id="one frame too long"),
    pytest.param(
        lambda: compile_story(TWO, 130), "frames=130 does not fill latent frames of 4; use 129 or 133", id="do not fit"
    ),
    pytest.param(lambda: compile_story("[0-4] a\n[4-4.1] b\n[4.1-] c", 129), SHORT, id="shot too short"),
    pytest.param(
        lambda: compile_story({0: "a", 64: "b", 66: "c"}, 129),
        "shot 2, which starts at frame 64, .* at least 4 frames",
        id="two frames",
    ),
    pytest.param(
        lambda: compile_story({0: "a", 200: "b"}, 129),
        "starts at frame 200, and the clip has 129 .* make the clip longer",
        id="after the end",
    ),
    pytest.param(lambda: compile_story("[0-1] a\n[1-2, blend(2s)] b", 33), LONG_BLEND, id="blend too long"),
    pytest.param(lambda: compile_story(TWO, 129, fps=0), "fps=0 must be a finite number above 0", id="fps of 0"),
    pytest.param(lambda: compile_story(TWO, 129, fps=float("nan")), "fps=nan must be", id="fps of NaN"),
    pytest.param(
        lambda: compile_story(TWO, 129).shot_at(33), "latent frame 33 is not in this clip of 33", id="latent outside"
    ),
    pytest.param(lambda: compile_story(TWO, 129).weights(4, 4), "latent frames 4 to 4 are not", id="no latents"),
    pytest.param(lambda: compile_story(TWO, 129).shot_at(-1), "latent frame -1 is not", id="latent before 0"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_refusals(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
