"""Long videos on hosted text-to-video pipelines: clip after clip and window by window, and what is refused."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.contract.test_hosted_techniques import ROWS, engine_of, settings
from videogen import Cancelled, Engine, InputError, RenderRequest, UnsupportedError, Video
from videogen.backbones.animatediff import AnimateDiffBackbone
from videogen.backbones.geometry import LatentGeometry
from videogen.backbones.wan import WanBackbone
from videogen.request.fitting import check_scenes

CORE = ("HunyuanVideoPipeline", "LTXPipeline")
FURTHER = (
    "AllegroPipeline", "AnimateDiffPipeline", "AnyFlowPipeline", "CogVideoXPipeline", "EasyAnimatePipeline",
    "HunyuanVideo15Pipeline", "Kandinsky5T2VPipeline", "LattePipeline", "MochiPipeline", "MotifVideoPipeline",
    "SanaVideoPipeline", "SkyReelsV2Pipeline", "TextToVideoSDPipeline", "WanPipeline",
)  # fmt: skip
each = pytest.mark.parametrize("name", [*CORE, *(pytest.param(name, marks=pytest.mark.slow) for name in FURTHER)])
WINDOWED = pytest.mark.parametrize("policy", ["independent", "replay", "co_denoise"])


def clip_settings(name: str) -> dict[str, Any]:
    """Without a length; a clip has several latent frames."""
    found = settings(name)
    frames = found.pop("frames")
    longest = max(length for length, *_ in ROWS[name].sizes)
    return found | {"window": longest if engine_of(name).backbone.geometry.temporal > 1 else frames}


def render(engine: Engine, values: dict[str, Any], **more: Any) -> np.ndarray:
    found: np.ndarray = engine.generate("a red ball", **({"steps": 3, "seed": 1} | values | more)).frames
    return found


def longer_than(engine: Engine, window: int) -> int:
    """Frames of a video of about two clips."""
    return engine.backbone.geometry.frame_map.round_up(2 * window)


@each
@WINDOWED
def test_a_video_of_several_clips(name: str, policy: str) -> None:
    engine, values = engine_of(name), clip_settings(name)
    frames = longer_than(engine, values["window"])
    first, again = (render(engine, values, frames=frames, continuity=policy) for _ in range(2))
    assert first.shape[0] == frames and np.array_equal(first, again)
    assert not np.array_equal(first, render(engine, values, frames=frames, continuity=policy, seed=2))


@each
@WINDOWED
def test_one_clip_of_full_length_is_the_plain_one(name: str, policy: str) -> None:
    engine, values = engine_of(name), clip_settings(name)
    length = {"frames": values["window"]}
    plain = render(engine, values | length, continuity="off")
    assert np.array_equal(render(engine, values | length, continuity=policy), plain)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "written_here"), [("WanPipeline", WanBackbone), ("AnimateDiffPipeline", AnimateDiffBackbone)]
)
@pytest.mark.parametrize("policy", ["independent", "replay", "co_denoise", "cono"])
def test_it_is_the_video_of_the_family_that_is_written_here(name: str, written_here: type, policy: str) -> None:
    hosted, values = engine_of(name), clip_settings(name)
    own = Engine(written_here(ROWS[name].build(), name, ""))
    frames = longer_than(hosted, values["window"])
    scale = {"guidance_scale": 4.0, "negative_prompt": "blurry", "frames": frames, "continuity": policy}
    expected = render(own, {key: value for key, value in values.items() if key != "options"}, **scale)
    assert np.array_equal(render(hosted, values, **scale), expected)


@pytest.mark.parametrize("policy", ["replay", "co_denoise:windows=2"])
def test_an_interrupted_video_is_resumed(policy: str, tmp_path: Path) -> None:
    name = "HunyuanVideoPipeline"
    engine, values = engine_of(name), clip_settings(name) | {"frames": 33, "steps": 3, "seed": 1, "continuity": policy}
    request = RenderRequest("a red ball", **values)
    expected = render(engine, values)
    with pytest.raises(Cancelled):
        engine.render_long(request, tmp_path / "clip", progress=lambda step: step.step < 4)
    resumed = engine.render_long(request, tmp_path / "clip")
    assert resumed.resumed == 1 and resumed.frames == len(expected) == 33
    assert np.array_equal(Video.open(tmp_path / "clip").frames, expected)


SHOTS = [
    {"prompt": "a red ball", "seconds": 2},
    {"prompt": "a blue square", "seconds": 2, "transition": "blend(8)"},
]


@pytest.mark.parametrize("policy", ["replay", "co_denoise"])
def test_prompts_blend(policy: str) -> None:
    """Up to the blend the video is that of the first prompt; a shot with the same prompt changes nothing."""
    engine = engine_of("HunyuanVideoPipeline")
    values = clip_settings("HunyuanVideoPipeline") | {"steps": 3, "seed": 1, "fps": 8, "continuity": policy}
    video = engine.generate(story=SHOTS, **values).frames
    alone = [engine.generate(prompt, frames=32, **values).frames for prompt in ("a red ball", "a blue square")]
    assert video.shape == alone[0].shape and not any(np.array_equal(video, one) for one in alone)
    same = engine.generate(story=[SHOTS[0], {**SHOTS[1], "prompt": "a red ball"}], **values).frames
    assert np.array_equal(same, alone[0])


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["replay", "co_denoise"])
def test_blended_prompts_are_those_of_the_family_that_is_written_here(policy: str) -> None:
    """But for the rounding of averages before and after guidance."""
    hosted = engine_of("WanPipeline")
    values = clip_settings("WanPipeline") | {"steps": 3, "seed": 1, "fps": 8, "continuity": policy}
    values |= {"guidance_scale": 4.0, "negative_prompt": "blurry", "story": SHOTS}
    own = Engine(WanBackbone(ROWS["WanPipeline"].build(), "WanPipeline", ""))
    expected = own.generate(**{key: value for key, value in values.items() if key != "options"}).frames
    difference = np.abs(hosted.generate(**values).frames.astype(int) - expected.astype(int))
    assert difference.max() <= 1 and np.isin(0, difference)


def test_a_prompt_that_changes_within_a_scene_of_a_pipeline_with_sound_is_refused() -> None:
    values = clip_settings("Kandinsky6TI2VAPipeline") | {"steps": 3, "seed": 1, "fps": 8}
    with pytest.raises(UnsupportedError, match=r"shot 2 changes the prompt without a cut.*its sound is carried"):
        engine_of("Kandinsky6TI2VAPipeline").generate(story=SHOTS, continuity="replay", **values)


@pytest.mark.slow
def test_clips_in_sections_and_with_conditions_are_refused() -> None:
    values: dict[str, Any] = {"frames": 33, "continuity": "replay", "window": 9, "steps": 2}
    with pytest.raises(UnsupportedError, match="its pipeline runs its steps once each, in order"):
        engine_of("HeliosPipeline").generate("a red ball", **values)
    given = settings("StableVideoDiffusionPipeline") | values | {"window": 3}
    with pytest.raises(UnsupportedError, match="its conditions are of one clip"):
        engine_of("StableVideoDiffusionPipeline").generate("a red ball", **given)


@pytest.mark.slow
def test_a_solver_that_takes_over_an_estimate_is_refused_with_windows() -> None:
    name = "CogVideoXPipeline"
    engine = Engine(engine_of(name).backbone)
    scheduler = engine.backbone.pipeline.scheduler
    from diffusers import CogVideoXDPMScheduler

    engine.backbone.pipeline.scheduler = CogVideoXDPMScheduler.from_config(scheduler.config)
    try:
        with pytest.raises(UnsupportedError, match="takes over old_pred_original_sample from step to step"):
            render(engine, clip_settings(name), frames=41, continuity="co_denoise")
    finally:
        engine.backbone.pipeline.scheduler = scheduler


@pytest.mark.slow
def test_a_video_that_does_not_fill_its_latents_has_the_length_that_was_requested() -> None:
    """CogVideoX's VAE decodes pairs of latent frames after the first."""
    name = "CogVideoXPipeline"
    assert len(render(engine_of(name), clip_settings(name), frames=37, continuity="replay")) == 37


@pytest.mark.parametrize(("cuts", "fits"), [((), True), ((5,), True), ((6,), False)])
def test_each_scene_has_latent_frames_in_the_groups_that_the_vae_decodes(cuts: tuple[int, ...], fits: bool) -> None:
    """Eleven latent frames; scenes after the first have one more in front."""
    geometry = LatentGeometry(4, 8, 4, 16, single_first=True, latent_step=2)
    model: Any = SimpleNamespace(name="tiny", geometry=geometry)
    bounds = [*pairwise((0, *cuts, 11))]
    timeline: Any = SimpleNamespace(scenes=lambda: iter(bounds), latent_map=geometry.frame_map, cuts=cuts)
    with nullcontext() if fits else pytest.raises(InputError, match="decodes 2 at once"):
        check_scenes(timeline, model)
