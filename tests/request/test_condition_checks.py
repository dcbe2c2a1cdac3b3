"""Conditions that a model does not take, that are missing, or that do not fit: refused before anything is computed."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.tiny import parts
from tests.tiny.table import load_rows
from videogen import InputError, MediaError, RenderRequest, UnsupportedError
from videogen.backbones.base import Backbone
from videogen.backbones.hosting.backbone import HostedBackbone
from videogen.backbones.registry import load_outline
from videogen.request.conditions import Conditions

IMAGE, CLIP, MASK = parts.image(32, 32), parts.clip(5, 32, 32), parts.mask(5, 32, 32)
EMBEDDED, TEXT, IMAGES, EDITS, INPAINTS, MOVES = (
    "embedded", "WanPipeline", "WanImageToVideoPipeline", "WanVideoToVideoPipeline", "WanVACEPipeline",
    "WanAnimatePipeline",
)  # fmt: skip
SIZE: dict[str, Any] = {"width": 32, "height": 32, "frames": 5, "steps": 2}


@cache
def backbone(name: str) -> Backbone:
    if name == EMBEDDED:
        outline = load_outline(EMBEDDED)
        assert outline is not None
        return outline
    return HostedBackbone(load_rows()[name].build(), name, "tiny")


def resolve(name: str, **values: Any) -> Any:
    own = {field: values.pop(field) for field in ("options", "frames", "continuity") if field in values}
    size: dict[str, Any] = {} if name == EMBEDDED else SIZE
    return RenderRequest("a red ball", conditions=values or None, **(size | own)).resolve(backbone(name))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"last_image": IMAGE}, "give the first frame too", id="last without first"),
        pytest.param({"mask": MASK}, "give the video that it masks", id="a mask of nothing"),
        pytest.param({"fit": "stretch"}, "unknown fit 'stretch'", id="stretching"),
        pytest.param({"strength": 1.5}, "strength=1.5 must be from 0", id="strength above 1"),
        pytest.param({"strength": "much"}, "must be a number", id="strength as text"),
        pytest.param({"images": [IMAGE]}, "must be a dict, such as {0:", id="images without their frames"),
        pytest.param({"images": {"first": IMAGE}}, "keys are frame numbers", id="a frame by name"),
        pytest.param({"control": IMAGE}, "must be a dict, such as {'depth'", id="a control without its name"),
        pytest.param({"references": IMAGE}, "must be a list of images", id="one reference"),
        pytest.param({"pose": CLIP}, "unknown condition 'pose'", id="a kind that does not exist"),
        pytest.param({"image": {"digest": "ab"}}, "object in memory", id="an object of a manifest"),
    ],
)
def test_what_is_wrong_for_every_model(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Conditions.from_value(values)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        pytest.param(EMBEDDED, {"image": IMAGE}, "takes a prompt alone; image is taken by WanImageTo", id="no images"),
        pytest.param(TEXT, {"image": IMAGE}, r"taken by WanImageToVideoPipeline \(Wan 2", id="same family first"),
        pytest.param(EMBEDDED, {"strength": 0.5}, "strength=0.5 is given, but 'embedded' takes none", id="no strength"),
        pytest.param(IMAGES, {"image": IMAGE, "audio": "a.wav"}, "takes image: no video pipeline", id="audio"),
    ],
)
def test_conditions_that_a_model_does_not_take(name: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        resolve(name, **values)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        pytest.param(IMAGES, {}, "needs image; give it with --image FILE", id="an image that is missing"),
        pytest.param(MOVES, {"image": IMAGE}, "needs control pose; give it with --control pose=FILE", id="a control"),
        pytest.param(
            MOVES,
            {"image": IMAGE, "control": {"pse": CLIP}},
            "unknown control 'pse'; did you mean 'pose'",
            id="named so",
        ),
        pytest.param(INPAINTS, {"video": CLIP, "mask": MASK[:3]}, "mask has 3 frames and video 5", id="a short mask"),
        pytest.param(
            INPAINTS, {"video": CLIP, "mask": parts.image(32, 48)}, "mask is 32x48 and video 32x32", id="a high mask"
        ),
        pytest.param(
            IMAGES,
            {"image": parts.image(64, 32), "fit": "refuse"},
            "image is 64x32, the clip 32x32",
            id="another shape",
        ),
        pytest.param(IMAGES, {"image": IMAGE, "frames": 6}, None, id="a length between two is generated longer"),
        pytest.param(IMAGES, {"image": object()}, "image=object is not an image", id="an object of another kind"),
        pytest.param(
            EDITS,
            {"video": CLIP, "options": {"heigth": 3}},
            "unknown option of WanVideoToVideoPipeline 'heigth'",
            id="an option",
        ),
        pytest.param(
            EDITS, {"video": CLIP, "options": {"num_inference_steps": 3}}, r"given by steps \(--steps\)", id="the steps"
        ),
        pytest.param(
            EDITS, {"video": CLIP, "options": {"video": CLIP}}, r"given by video=... \(--video\)", id="itself"
        ),
        pytest.param(EDITS, {"video": CLIP, "options": {"latents": 3}}, "the engine uses it itself", id="latents"),
        pytest.param(EMBEDDED, {"options": {"eta": 1}}, "takes no options of its own", id="options of our own models"),
    ],
)
def test_conditions_that_do_not_fit(name: str, values: dict[str, Any], message: str | None) -> None:
    if message is None:
        resolve(name, **values)
        return
    with pytest.raises(InputError, match=message):
        resolve(name, **values)


def test_images_outside_the_clip_are_refused_with_the_nearest_frame() -> None:
    with pytest.raises(InputError, match=r"images has frame 99, but the clip has 5 frames; use 0 to 4 \(nearest: 4\)"):
        resolve("AnimateDiffSparseControlNetPipeline", images={99: IMAGE})


def test_conditions_are_for_a_single_clip() -> None:
    with pytest.raises(UnsupportedError, match="each clip or window of a longer video"):
        RenderRequest(
            "a red ball", conditions={"image": IMAGE}, frames=300, width=32, height=32, continuity="independent"
        ).resolve(backbone(IMAGES))


def damaged(folder: Path) -> Path:
    path = folder / "damaged.png"
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:40])
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda folder: folder / "none.png", "image='.*none.png' does not exist", id="a missing file"),
        pytest.param(damaged, "damaged.png", id="a damaged image"),
        pytest.param(lambda folder: folder / "a\0b.png", "image=.*does not exist", id="a name with NUL"),
    ],
)
def test_files_that_cannot_be_read(make: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=message):
        resolve(IMAGES, image=make(tmp_path))


def test_files_are_named_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    conditions = Conditions.from_value({"image": "a.png", "images": {"24": "b.png"}, "references": ["c.png"]})
    assert conditions.to_dict() == {
        "image": str(tmp_path / "a.png"), "images": {"24": str(tmp_path / "b.png")},
        "references": [str(tmp_path / "c.png")],
    }  # fmt: skip
    assert Conditions.from_value(conditions.to_dict()) == conditions


def test_images_are_in_the_order_of_their_frames_also_from_a_manifest() -> None:
    images = {-1: "c.png", 24: "b.png", 0: "a.png", -2: "d.png"}
    stored = json.loads(json.dumps(Conditions(images=images).to_dict(), sort_keys=True))
    assert list(Conditions(images=images).images) == list(Conditions.from_value(stored).images) == [0, 24, -2, -1]
