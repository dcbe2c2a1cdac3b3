"""Long videos of clips that begin with an image: each is the pipeline's own call with that image, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.contract.hosting import build, request_of
from tests.tiny import parts
from tests.tiny.table import TinyCall, load_rows
from videogen import Cancelled, Engine, InputError, RenderRequest, ResumeError, UnsupportedError, Video
from videogen.backbones.hosting.backbone import HostedBackbone

ROWS = load_rows()
WAN, LTX = "WanImageToVideoPipeline:experts", "LTXConditionPipeline:text"
SEED, STEPS = 3, 2
#: image-to-video pipelines of one lineage each
FURTHER = (
    "CogVideoXImageToVideoPipeline", "HunyuanVideoImageToVideoPipeline:token-replace", "Kandinsky5I2VPipeline",
    "LTXImageToVideoPipeline", "SkyReelsV2DiffusionForcingImageToVideoPipeline", "StableVideoDiffusionPipeline",
    "WanImageToVideoPipeline", "WanImageToVideoPipeline:expand",
)  # fmt: skip
each = pytest.mark.parametrize("name", [WAN, *(pytest.param(name, marks=pytest.mark.slow) for name in FURTHER)])
Frames = np.ndarray
Call = Callable[..., Frames]


@lru_cache(maxsize=3)
def engine_of(name: str) -> Engine:
    return Engine(HostedBackbone(build(ROWS[name], tiny_call(name)), name, "tiny"))


def tiny_call(name: str) -> TinyCall:
    return TinyCall(*ROWS[name].sizes[0], steps=STEPS)


def settings(name: str, **more: Any) -> dict[str, Any]:
    """Keywords of a request whose window is the tiny call's length."""
    call = tiny_call(name)
    found = request_of(ROWS[name], call) | {"window": call.frames, "noise": "diffusers", "negative_prompt": "blurry"}
    return found | {"seed": SEED, "image": first_image(name), "continuity": "i2v_prefix"} | more


def first_image(name: str, shade: int = 40) -> Image.Image:
    call = tiny_call(name)
    return parts.image(call.width, call.height, shade)


def call_pipeline(name: str, seed: int, prompt: str, **given: Any) -> Frames:
    """The library's own call: uint8 [f, h, w, 3]. given: a clip's images, and its length where that differs."""
    own, pipeline = ROWS[name].call(tiny_call(name)), build(ROWS[name], tiny_call(name))
    own |= {"prompt": prompt} if "prompt" in own else {}
    with torch.inference_mode():
        result = pipeline(**{**own, **given}, generator=torch.Generator().manual_seed(seed), output_type="np")
    return (np.asarray(result[0])[0] * 255).round().astype(np.uint8)


def as_image(frame: Frames) -> Image.Image:
    return Image.fromarray(frame)


@each
def test_each_clip_is_the_pipelines_own_call_on_the_last_frame(name: str) -> None:
    window = tiny_call(name).frames
    frames = 2 * window + 1  # two clips, and two frames of a third
    video = engine_of(name).generate("a red ball", **settings(name, frames=frames))
    first, parts_of_it = first_image(name), []
    for index in range(3):
        clip = call_pipeline(name, SEED + index, "a red ball", image=first)
        parts_of_it.append(clip if not index else clip[1:])
        first = as_image(clip[-1])
    assert np.array_equal(video.frames, np.concatenate(parts_of_it)[:frames])
    rows = video.manifest["measured"]["long"]["segments"]
    assert [row["first_frame"] for row in rows] == [0, window, 2 * window - 1]
    assert [row["seed"] for row in rows] == [SEED, SEED + 1, SEED + 2]


def test_between_keyframes_a_clip_has_the_first_and_the_last() -> None:
    images = {0: first_image(WAN), 4: first_image(WAN, 120), 12: first_image(WAN, 200)}
    video = engine_of(WAN).generate(
        "a red ball", **settings(WAN, image=None, images=images, frames=15, window=9, continuity=None)
    )
    one = call_pipeline(WAN, SEED, "a red ball", image=images[0], last_image=images[4], num_frames=5)
    two = call_pipeline(WAN, SEED + 1, "a red ball", image=images[4], last_image=images[12], num_frames=9)
    rest = call_pipeline(WAN, SEED + 2, "a red ball", image=images[12], num_frames=9)
    assert np.array_equal(video.frames, np.concatenate([one, two[1:], rest[1:3]]))
    assert [(row["kind"], row["frame"]) for row in video.manifest["measured"]["conditions"]] == [
        ("images", 0), ("images", 4), ("images", 12)
    ]  # fmt: skip


def test_clips_on_the_way_to_a_distant_keyframe_are_of_one_length() -> None:
    images = {"image": first_image(WAN), "last_image": first_image(WAN, 200)}
    video = engine_of(WAN).generate("a red ball", **settings(WAN, **images, frames=17, window=13, continuity=None))
    one = call_pipeline(WAN, SEED, "a red ball", image=images["image"], num_frames=9)
    two = call_pipeline(
        WAN, SEED + 1, "a red ball", image=as_image(one[-1]), last_image=images["last_image"], num_frames=9
    )
    assert np.array_equal(video.frames, np.concatenate([one, two[1:]]))


def test_a_shot_begins_a_clip_with_its_prompt_on_the_last_frame() -> None:
    video = engine_of(WAN).generate(story={0: "a red ball", 3: "a blue square"}, **settings(WAN, frames=7))
    one = call_pipeline(WAN, SEED, "a red ball", image=first_image(WAN))
    two = call_pipeline(WAN, SEED + 1, "a blue square", image=as_image(one[2]))
    assert np.array_equal(video.frames, np.concatenate([one[:3], two[1:]]))


@pytest.mark.slow
def test_a_model_that_needs_no_image_begins_without_one_also_after_a_cut() -> None:
    engine, window = engine_of(LTX), tiny_call(LTX).frames
    shots = [{"prompt": "a red ball", "seconds": 0.44}, {"prompt": "a blue square", "transition": "cut"}]
    values = settings(LTX, image=None, frames=20)  # 11 frames, and 9, at 25 frames per second
    video = engine.generate(story=shots, **values)
    one = call_pipeline(LTX, SEED, "a red ball")
    two = call_pipeline(LTX, SEED + 1, "a red ball", image=as_image(one[-1]))
    three = call_pipeline(LTX, SEED + 2, "a blue square")
    assert np.array_equal(video.frames, np.concatenate([one, two[1:3], three])) and window == 9


@pytest.mark.parametrize("name", [WAN, pytest.param("StableVideoDiffusionPipeline", marks=pytest.mark.slow)])
def test_an_interrupted_video_is_resumed(name: str, tmp_path: Path) -> None:
    engine, frames = engine_of(name), 3 * tiny_call(name).frames - 2
    values = settings(name, frames=frames)
    request = RenderRequest("a red ball", **given_of(values))
    expected = engine.render(request).frames
    with pytest.raises(Cancelled):
        engine.render_long(request, tmp_path / "clip", progress=lambda step: step.step < STEPS + 1)
    resumed = engine.render_long(request, tmp_path / "clip")
    assert resumed.resumed == 1 and np.array_equal(Video.open(tmp_path / "clip").frames, expected)


def given_of(values: dict[str, Any]) -> dict[str, Any]:
    """Keywords of `Engine.generate` as fields of a request."""
    values = dict(values)
    width, height = values.pop("size")
    given = {name: values.pop(name) for name in ("image", "last_image", "images") if name in values}
    given = {name: value for name, value in given.items() if value is not None}
    return {**values, "width": width, "height": height, "conditions": given}


def test_a_changed_image_does_not_resume_the_job(tmp_path: Path) -> None:
    engine, file = engine_of(WAN), tmp_path / "a.png"
    first_image(WAN).save(file)
    request = RenderRequest("a red ball", **given_of(settings(WAN, frames=13, image=str(file))))
    with pytest.raises(Cancelled):
        engine.render_long(request, tmp_path / "clip", progress=lambda step: step.step < STEPS + 1)
    first_image(WAN, 200).save(file)
    with pytest.raises(ResumeError, match=r"a\.png"):
        engine.render_long(request, tmp_path / "clip")


def two_shots(transition: str) -> list[dict[str, Any]]:
    """Four frames, then the rest, at 8 frames per second."""
    return [{"prompt": "a ball", "seconds": 0.5}, {"prompt": "a square", "transition": transition}]


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        pytest.param({"image": None, "images": {4: 120}}, InputError, "needs an image for frame 0", id="none at first"),
        pytest.param(
            {"image": None, "images": {0: 40, 6: 120}}, InputError, "put it at frame 4 or 8", id="an odd distance"
        ),
        pytest.param({"images": {0: 120}}, InputError, "frame 0 has two images", id="two at one frame"),
        pytest.param(
            {"image": None, "images": {0: 40, 4: 120}, "continuity": "off"}, InputError, "leave out continuity='off'",
            id="keyframes of one clip",
        ),
        pytest.param({"retries": 1}, UnsupportedError, "renders each clip once", id="retries"),
        pytest.param(
            {"story": two_shots("blend(4)")}, UnsupportedError, "let the shot begin with hold",
            id="a blend",
        ),
        pytest.param(
            {"story": two_shots("cut")}, InputError, "needs an image for a cut at frame 4",
            id="a cut without its image",
        ),
        pytest.param({"continuity": "replay"}, UnsupportedError, "its conditions are of one clip", id="replay"),
    ],
)  # fmt: skip
def test_what_cannot_be_joined_is_refused(values: dict[str, Any], error: type[Exception], message: str) -> None:
    if "images" in values:
        images = {frame: first_image(WAN, shade) for frame, shade in values["images"].items()}
        values = {**values, "images": images}
    prompt = "" if "story" in values else "a red ball"
    with pytest.raises(error, match=message):
        engine_of(WAN).generate(prompt, **settings(WAN, **{"frames": 13, "window": 9, "fps": 8, **values}))


def test_a_clip_cannot_be_regenerated_between_its_neighbours(tmp_path: Path) -> None:
    engine = engine_of(WAN)
    first_image(WAN).save(tmp_path / "a.png")
    values = given_of(settings(WAN, frames=9, image=str(tmp_path / "a.png")))
    engine.render_long(RenderRequest("a red ball", **values), tmp_path / "clip", keep_job=True)
    with pytest.raises(UnsupportedError, match="each begin with the last frame of the one before"):
        engine.redo(tmp_path / "clip", 1)


@pytest.mark.parametrize(
    ("name", "takes", "needs"),
    [
        pytest.param("WanImageToVideoPipeline", {"image"}, ("image",), id="an encoder of one image"),
        pytest.param(
            "WanImageToVideoPipeline:last-image", {"image", "last_image"}, ("image", "last_image"), id="of two"
        ),
        pytest.param(WAN, {"image", "last_image"}, ("image",), id="no encoder"),
    ],
)  # fmt: skip
def test_which_images_a_checkpoint_takes(name: str, takes: set[str], needs: tuple[str, ...]) -> None:
    backbone = engine_of(name).backbone
    assert set(backbone.accepts) == takes and backbone.needs == needs


def test_a_long_clip_of_an_image_becomes_a_chain_and_a_short_one_does_not() -> None:
    request = RenderRequest("a red ball", **given_of(settings(WAN, frames=9, window=None, continuity=None)))
    backbone = engine_of(WAN).backbone
    assert not request.resolve(backbone).is_long
    longer = RenderRequest("a red ball", **given_of(settings(WAN, frames=9, continuity=None))).resolve(backbone)
    assert longer.is_long and longer.clip_continuity.policy == "i2v_prefix"
