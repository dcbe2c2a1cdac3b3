"""Continuity's words, and the segments that each policy cuts a timeline into."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from videogen.backbones.base import LatentGeometry
from videogen.core.errors import InputError, UnsupportedError
from videogen.longvideo.segments import Segment, scenes, segments
from videogen.request.continuity import COMBINED, POLICIES, Continuity, automatic
from videogen.timeline import LatentTimeline, as_timeline

WAN = LatentGeometry(16, 8, 4, 16, single_first=True)
UNET = LatentGeometry(4, 8, 1, 8, single_first=False)
STEPS = 10
CHAINS = ("independent", "overlap", "replay", "replay:fade=0", "replay:fade=1", "clean_prefix", "i2v_prefix", "cono")
SECTIONS = ("co_denoise", "freenoise", "window_attention")


def shown(story: Any, frames: int, geometry: LatentGeometry = WAN) -> LatentTimeline:
    return as_timeline(story).compile(fps=16, frames=frames, geometry=geometry)


def cut(
    words: str, story: Any = ((None, "a"),), frames: int = 197, geometry: LatentGeometry = WAN, clip: int = 9
) -> list[Segment]:
    return segments(shown(list(story), frames, geometry), Continuity.parse(words).for_clip(clip), clip, STEPS)


TWO_SCENES = [{"prompt": "a", "seconds": 4}, {"prompt": "b", "transition": "cut"}]


@pytest.mark.parametrize(
    "geometry", [pytest.param(WAN, id="causal VAE"), pytest.param(UNET, id="a VAE of single frames")]
)
@pytest.mark.parametrize("words", [*CHAINS, *SECTIONS])
def test_segments_emit_each_latent_once_and_in_order(words: str, geometry: LatentGeometry) -> None:
    made = cut(words, TWO_SCENES, 197, geometry)
    of = scenes(shown(TWO_SCENES, 197, geometry))
    assert [segment.index for segment in made] == list(range(len(made)))
    assert made[0].start == 0 and made[-1].stop == of[-1].stop
    assert all(after.start == before.stop for before, after in pairwise(made))
    assert [segment.start for segment in made if segment.first] == [scene.start for scene in of], "a scene begins anew"
    for segment in made:
        assert [segment.spans[number][slot] for number, slot in segment.emitted] == list(
            range(segment.start, segment.stop)
        )
        assert segment.frames == 9 or segment.windows is not None or words == "window_attention"
        if geometry.single_first and not segment.first:
            assert all(slot > 0 or segment.fade for _, slot in segment.emitted), (
                "a clip's first latent is a picture, so it is not shown"
            )


@pytest.mark.parametrize(
    ("words", "starts"),
    [
        pytest.param("independent", [0, 9, 17, 25], id="one latent more than is shown: the picture"),
        pytest.param("replay:fade=0", [0, 9, 14, 19], id="4 of 9 shared"),
        pytest.param("replay", [0, 9, 14, 19], id="what is copied to the end needs no cross-fade"),
        pytest.param("replay:release=0.8", [0, 5, 10, 15], id="the shared ones are cross-faded"),
        pytest.param("replay:overlap=5,fade=2", [0, 7, 11, 15], id="2 of 5 are cross-faded"),
        pytest.param("overlap", [0, 6, 12, 18], id="plain overlap"),
        pytest.param("cono", [0, 9, 20, 31], id="2 N - n1 - n2 = 11 an extension"),
        pytest.param("i2v_prefix", [0, 9, 17, 25], id="the last frame and 8 new"),
    ],
)
def test_where_segments_begin(words: str, starts: list[int]) -> None:
    assert [segment.start for segment in cut(words)][:4] == starts


def test_sections_are_as_long_as_their_windows_and_end_with_the_scene() -> None:
    made = cut("co_denoise:overlap=4,windows=3")
    assert [segment.frames for segment in made][:2] == [17, 17], "9 + 2 strides of 9 - 4 - 1"
    assert made[-1].stop == 50 and made[-1].frames >= 9
    assert all(len(segment.windows.at()) <= 3 for segment in made if segment.windows)


def test_a_scene_after_a_cut_leads_in_with_a_picture_that_is_not_shown() -> None:
    first, second = scenes(shown(TWO_SCENES, 197))
    assert (first.lead, second.lead) == (0, 1)
    assert second.stop - second.start == 50 - first.stop + 1
    assert [second.video_latent(second.start + i) for i in range(3)] == [second.shown, second.shown, second.shown + 1]
    assert [scene.lead for scene in scenes(shown(TWO_SCENES, 197, UNET))] == [0, 0]


def test_joins_are_where_a_seam_could_show() -> None:
    assert [segment.joins for segment in cut("replay:release=0.8")][:3] == [[], [5, 6, 7, 8, 9], [10, 11, 12, 13, 14]]
    assert [segment.joins for segment in cut("cono")][:2] == [[], [9, 12]], "M after A, D after M"
    assert cut("co_denoise")[0].joins == []


@pytest.mark.parametrize("words", [*POLICIES, *COMBINED])
def test_words_and_plain_data_are_the_same(words: str) -> None:
    parsed = Continuity.parse(words)
    assert Continuity.from_dict(parsed.to_dict()) == Continuity.of(parsed.to_dict()) == Continuity.of(parsed) == parsed
    assert parsed.for_clip(9).for_clip(9) == parsed.for_clip(9), "a resolved one stays"


def test_combinations_and_settings() -> None:
    assert Continuity.parse("cono") == Continuity("look_back", noise="cono", pull=0.2)
    assert Continuity.parse("cono:pull=0,refresh=0.3") == Continuity("look_back", noise="cono", refresh=0.3)
    assert Continuity.parse(" freenoise:overlap=4 ") == Continuity("co_denoise", noise="freenoise", overlap=4)
    found = [
        automatic(per_frame_timesteps=a, temporal_blocks=b).policy
        for a, b in ((True, False), (False, True), (False, False))
    ]
    assert found == ["clean_prefix", "overlap", "replay"]


def model(continuity: Continuity) -> None:
    continuity.check_model(per_frame_timesteps=False, first_frame=False, temporal_blocks=False, name="m")


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        pytest.param(lambda: Continuity.parse("replya"), InputError, "did you mean 'replay'", id="misspelt"),
        pytest.param(lambda: Continuity.parse("replay:overlap"), InputError, "no name=value", id="no value"),
        pytest.param(
            lambda: Continuity.parse("replay:overlpa=3"), InputError, "did you mean 'overlap'", id="setting misspelt"
        ),
        pytest.param(lambda: Continuity.parse("replay:overlap=0"), InputError, "overlap=0 must be", id="no overlap"),
        pytest.param(lambda: Continuity.parse("replay:overlap=x"), InputError, "overlap='x' must be", id="no number"),
        pytest.param(lambda: Continuity.parse("replay:release=1.2"), InputError, r"release=1\.2 must be", id="release"),
        pytest.param(
            lambda: Continuity.parse("replay:noise=cono"), InputError, "belong together", id="noise of another"
        ),
        pytest.param(
            lambda: Continuity.parse("replay:refresh=0.1"), InputError, r"refresh=0\.1 is of noise=cono", id="refresh"
        ),
        pytest.param(
            lambda: Continuity.parse("independent:pull=0.1"), InputError, "does not keep", id="pull to nothing"
        ),
        pytest.param(lambda: Continuity.parse("cono:fade=2"), InputError, "fade=2 is of overlap and replay", id="fade"),
        pytest.param(
            lambda: Continuity.parse("replay:overlap=2,fade=3").for_clip(9),
            InputError,
            "fade=3 is more than",
            id="fade too long",
        ),
        pytest.param(
            lambda: Continuity.parse("replay").for_clip(2),
            InputError,
            "2 latent frames is too short",
            id="clip too short",
        ),
        pytest.param(
            lambda: cut("cono:overlap=8"), InputError, "overlap=8 leaves look_back nothing", id="look_back's overlap"
        ),
        pytest.param(
            lambda: model(Continuity("clean_prefix")), UnsupportedError, "a timestep for each frame", id="no timesteps"
        ),
        pytest.param(lambda: model(Continuity("i2v_prefix")), UnsupportedError, "a first frame", id="no first frame"),
        pytest.param(
            lambda: model(Continuity("window_attention")), UnsupportedError, "temporal layers", id="no temporal layers"
        ),
    ],
)
def test_refusals(call: Callable[[], Any], kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        call()
