"""Division of a timeline into segments, policy by policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from videogen.backbones.geometry import LatentGeometry
from videogen.core.errors import InputError
from videogen.longvideo.policies.build import build_policy, divide_timeline
from videogen.longvideo.policies.look_back import look_back_schedule
from videogen.longvideo.policies.sections import Sections
from videogen.longvideo.segment_plan import SegmentPlan
from videogen.longvideo.segments import Scene, Segment, find_scenes
from videogen.request.continuity import Continuity
from videogen.request.continuity_policies import POLICIES, ROWS
from videogen.schedulers import LookBack
from videogen.timeline import LatentTimeline, as_timeline

WAN = LatentGeometry(16, 8, 4, 16, single_first=True)
UNET = LatentGeometry(4, 8, 1, 8, single_first=False)
STEPS = 10
SPECS = (*ROWS, "replay:fade=0", "replay:fade=1")


def compile_story(story: Any, frames: int, geometry: LatentGeometry = WAN) -> LatentTimeline:
    return as_timeline(story).compile(fps=16, frames=frames, geometry=geometry)


def cut(
    spec: str, story: Any = ((None, "a"),), frames: int = 197, geometry: LatentGeometry = WAN, clip: int = 9
) -> list[Segment]:
    return list(
        divide_timeline(
            compile_story(list(story), frames, geometry), Continuity.parse(spec).for_clip(clip), clip, STEPS
        )
    )


TWO_SCENES = [{"prompt": "a", "seconds": 4}, {"prompt": "b", "transition": "cut"}]


@pytest.mark.parametrize(
    "geometry", [pytest.param(WAN, id="causal VAE"), pytest.param(UNET, id="a VAE of single frames")]
)
@pytest.mark.parametrize("spec", SPECS)
def test_segments_emit_each_latent_once_and_in_order(spec: str, geometry: LatentGeometry) -> None:
    continuity = Continuity.parse(spec).for_clip(9)
    sections = isinstance(build_policy(continuity, 9, STEPS, geometry.single_first), Sections)
    made = cut(spec, TWO_SCENES, 197, geometry)
    scenes = find_scenes(compile_story(TWO_SCENES, 197, geometry))
    assert [segment.index for segment in made] == list(range(len(made)))
    assert made[0].start == 0 and made[-1].stop == scenes[-1].stop
    assert all(after.start == before.stop for before, after in pairwise(made))
    assert [segment.start for segment in made if segment.first] == [scene.start for scene in scenes], (
        "each scene begins with a first segment"
    )
    for segment in made:
        assert [segment.spans[number][slot] for number, slot in segment.emitted] == list(
            range(segment.start, segment.stop)
        )
        assert segment.frames == 9 or sections
        if geometry.single_first and not segment.first:
            assert all(slot > 0 or segment.fade for _, slot in segment.emitted), (
                "a clip's first latent decodes to a single frame, which is left out"
            )


@pytest.mark.parametrize(
    ("spec", "starts"),
    [
        pytest.param("independent", [0, 9, 17, 25], id="one latent per clip is left out: its single frame"),
        pytest.param("replay:fade=0", [0, 9, 14, 19], id="4 of 9 shared"),
        pytest.param("replay", [0, 9, 14, 19], id="copies to the end need no cross-fade"),
        pytest.param("replay:release=0.8", [0, 5, 10, 15], id="shared frames are cross-faded"),
        pytest.param("replay:overlap=5,fade=2", [0, 7, 11, 15], id="2 of 5 are cross-faded"),
        pytest.param("overlap", [0, 6, 12, 18], id="plain overlap"),
        pytest.param("cono", [0, 9, 20, 31], id="2 N - n1 - n2 = 11 per extension"),
        pytest.param("i2v_prefix", [0, 9, 17, 25], id="the last frame and 8 new"),
    ],
)
def test_where_segments_begin(spec: str, starts: list[int]) -> None:
    assert [segment.start for segment in cut(spec)][:4] == starts


def test_sections_are_as_long_as_their_windows_and_end_with_the_scene() -> None:
    made = cut("co_denoise:overlap=4,windows=3")
    assert [segment.frames for segment in made][:2] == [17, 17], "9 + 2 strides of 9 - 4 - 1"
    assert made[-1].stop == 50 and made[-1].frames >= 9
    assert all(len(segment.windows.at()) <= 3 for segment in made if segment.windows)


def test_a_scene_after_a_cut_has_a_warmup_latent() -> None:
    first, second = find_scenes(compile_story(TWO_SCENES, 197))
    assert (first.warmup, second.warmup) == (0, 1)
    assert second.stop - second.start == 50 - first.stop + 1
    assert [second.video_latent(second.start + i) for i in range(3)] == [
        second.video_start,
        second.video_start,
        second.video_start + 1,
    ]
    assert [scene.warmup for scene in find_scenes(compile_story(TWO_SCENES, 197, UNET))] == [0, 0]


def test_joins_are_where_a_seam_could_be_visible() -> None:
    assert [segment.joins for segment in cut("replay:release=0.8")][:3] == [[], [5, 6, 7, 8, 9], [10, 11, 12, 13, 14]]
    assert [segment.joins for segment in cut("cono")][:2] == [[], [9, 12]], "M after A, D after M"
    assert cut("co_denoise")[0].joins == []


@pytest.mark.parametrize("geometry", [pytest.param(WAN, id="causal VAE"), pytest.param(UNET, id="single frames")])
@pytest.mark.parametrize("spec", SPECS)
def test_a_plan_equals_the_division_of_each_scene_in_full(spec: str, geometry: LatentGeometry) -> None:
    """For every length of the last segment."""
    continuity = Continuity.parse(spec).for_clip(9)
    policy = build_policy(continuity, 9, STEPS, geometry.single_first)
    for frames in range(900, 1024, 1 if geometry is UNET else 4):
        timeline = compile_story(TWO_SCENES, frames + geometry.single_first, geometry)
        full = [segment for scene in find_scenes(timeline) for segment in policy.divide_scene(scene)]
        plan = policy.divide(timeline)
        assert len(plan) == len(full) and list(plan) == [replace(s, index=i) for i, s in enumerate(full)]
        assert plan[-1] == list(plan)[-1] and plan[2:4] == list(plan)[2:4]


@pytest.mark.parametrize("spec", [spec for spec in SPECS if Continuity.parse(spec).windows is not None])
def test_planning_a_video_of_any_length_divides_a_few_segments(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    create = Segment.__init__
    monkeypatch.setattr(Segment, "__init__", lambda self, *v, **k: (made.append(1), create(self, *v, **k))[1])
    plan = divide_timeline(compile_story([(None, "a")], 4 * 10**12 + 1), Continuity.parse(spec).for_clip(9), 9, STEPS)
    last = plan[-1]
    assert len(plan) > 10**9 and last.stop == 10**12 + 1 and len(made) < 100


def test_a_policy_without_a_period_is_divided_in_full() -> None:
    def divide(scene: Scene) -> Iterator[Segment]:
        start, length = scene.start, 1
        while start < scene.stop:
            stop = min(start + length, scene.stop)
            yield Segment(0, scene, start, stop, (), (range(start, stop),))
            start, length = stop, length + 1

    plan = SegmentPlan([Scene(0, 0, 5000, 0, 0)], divide)
    assert plan == [replace(s, index=i) for i, s in enumerate(divide(Scene(0, 0, 5000, 0, 0)))]


def test_look_back_needs_room_for_the_middle_clip() -> None:
    with pytest.raises(InputError, match="overlap=8 leaves look_back nothing"):
        cut("cono:overlap=8")


OTHER_VALUES: dict[str, Any] = {
    "overlap": 5,
    "fade": 2,
    "release": 0.3,
    "mean_regularisation": 0.4,
    "refresh": 0.5,
    "windows": 9,
}


@pytest.mark.parametrize("setting", OTHER_VALUES)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_setting_has_an_effect_or_is_refused(policy: str, setting: str) -> None:
    value = OTHER_VALUES[setting]
    spelt: list[Callable[[], Continuity]] = [
        lambda: Continuity.parse(f"{policy}:{setting}={value}"),
        lambda: Continuity.from_dict({"policy": policy, "noise": POLICIES[policy].noises[0], setting: value}),
    ]
    for spell in spelt:
        if setting in POLICIES[policy].configurable:
            assert effects(spell()) != effects(Continuity.parse(policy))
        else:
            with pytest.raises(InputError, match=f"{setting}={value} is a setting of .*, not of {policy}; leave it"):
                spell()


def effects(continuity: Continuity) -> tuple[Any, ...]:
    """What a policy's settings decide: the segments, the retained predictions, the noise's and the means' settings."""
    filled = continuity.for_clip(9)
    policy = build_policy(filled, 9, STEPS, single_first=False)
    segments = policy.divide(compile_story([(None, "a")], 90, UNET))
    return segments, policy.retained_frames, filled.noise, filled.refresh, filled.mean_regularisation


def test_every_number_of_the_look_back_can_be_set() -> None:
    spec = "look_back:overlap=2,n2=3,handover=4,release=0.7,right_release=0.4,mean_of=first"
    schedule = look_back_schedule(Continuity.parse(spec).for_clip(9), 9, 10, 1)
    assert schedule == LookBack(9, 2, 3, release=7, right_release=4, handover=4, mean_of="first", anchor=1)
    assert [segment.start for segment in cut(spec)][:4] == [0, 9, 21, 33], "2 N - n1 - handover = 12 per extension"
    with pytest.raises(InputError, match="handover=8 must be between 1 and 7"):
        cut("look_back:overlap=2,handover=8")


def test_windows_all_makes_one_clip_of_each_scene() -> None:
    made = cut("co_denoise:windows=all", TWO_SCENES, 197, UNET)
    assert [(segment.start, segment.stop) for segment in made] == [
        (scene.start, scene.stop) for scene in find_scenes(compile_story(TWO_SCENES, 197, UNET))
    ]
    with pytest.raises(InputError, match=r"windows=all makes .* 1,000,000,000,001 latent frames.*; use windows=4"):
        cut("freenoise", [(None, "a")], 4 * 10**12 + 1)
