"""Conditions that contradict each other, have no effect, or leave nothing to do: refused before anything is loaded."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import parts
from tests.tiny.table import load_rows
from videogen import InputError, MediaError, RenderRequest
from videogen.backbones.hosting.backbone import HostedBackbone
from videogen.backbones.registry import load_outline
from videogen.backbones.resolvable import ResolvableModel
from videogen.request.conditions import Conditions
from videogen.techniques.effects import expected_no_effect

IMAGE = parts.image(64, 32)
LTX, COG, SVD = "LTXConditionPipeline", "CogVideoXVideoToVideoPipeline", "StableVideoDiffusionPipeline"
HUNYUAN, WAN, FUN = "HunyuanVideoPipeline", "WanImageToVideoPipeline", "CogVideoXFunControlPipeline"


@cache
def backbone(name: str) -> ResolvableModel:
    if name == "embedded":
        outline = load_outline(name)
        assert outline is not None
        return outline
    return HostedBackbone(load_rows()[name].build(), name, "tiny", {"frames": 17, "width": 64, "height": 32})


def resolve(name: str, prompt: str = "a red ball", *, fields: dict[str, Any] | None = None, **conditions: Any) -> Any:
    return RenderRequest(prompt, conditions=conditions or None, **(fields or {})).resolve(backbone(name))


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        pytest.param({"image": IMAGE, "images": {0: IMAGE}}, r"image and images\[0\] both give frame 0", id="first"),
        pytest.param(
            {"images": {16: IMAGE, -1: IMAGE}}, r"images\[16\] and images\[-1\] both give frame 16", id="last"
        ),
        pytest.param(
            {"image": IMAGE, "last_image": IMAGE, "images": {-1: IMAGE}}, "both give frame 16", id="last, by name"
        ),
        pytest.param(
            {"image": IMAGE, "video": [IMAGE] * 9}, "video and image both give frame 0", id="the video's first"
        ),
        pytest.param(
            {"images": {8: IMAGE}, "video": [IMAGE] * 9}, "video and images.8. both give frame 8", id="its last"
        ),
    ],
)
def test_two_conditions_at_one_frame(conditions: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve(LTX, **conditions)


def test_conditions_at_different_frames() -> None:
    for given in (
        {"image": IMAGE, "last_image": IMAGE, "images": {8: IMAGE}},
        {"video": [IMAGE] * 9, "images": {9: IMAGE}},
    ):
        assert resolve(LTX, **given) is not None


@pytest.mark.parametrize(
    ("name", "control", "message"),
    [
        pytest.param(
            FUN, {"a": [IMAGE] * 9, "b": [IMAGE] * 9}, r"control has 2 videos \(a, b\), and .* takes one", id="two"
        ),
        pytest.param(
            "AnimateDiffControlNetPipeline", {"a": [IMAGE], "b": [IMAGE]}, "takes one, of any name", id="one net"
        ),
        pytest.param(FUN, {"": [IMAGE] * 9}, "control has the key ''; keys are names, such as", id="without a name"),
        pytest.param(FUN, {None: [IMAGE] * 9}, "control has the key None", id="None"),
    ],
)
def test_controls_that_a_model_has_no_input_for(name: str, control: dict[Any, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve(name, control=control)


@pytest.mark.parametrize(
    ("strength", "steps", "message"),
    [
        pytest.param(0, 50, "strength=0 of 50 steps leaves .* use a strength of at least 0.02$", id="0"),
        pytest.param(0.01, 2, "use a strength of at least 0.5, or at least 100 steps", id="less than a step"),
        pytest.param(0.3, 3, "use a strength of at least 0.334, or at least 4 steps", id="0.9 of a step"),
    ],
)
def test_a_strength_that_leaves_no_step(strength: float, steps: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve(COG, fields={"steps": steps}, video=[IMAGE] * 9, strength=strength)


@pytest.mark.parametrize(("strength", "steps"), [(0.02, 50), (0.5, 2), (0.334, 3), (0.3, 4), (0.01, 100)])
def test_the_strengths_and_steps_that_are_suggested_fit(strength: float, steps: int) -> None:
    assert resolve(COG, fields={"steps": steps}, video=[IMAGE] * 9, strength=strength).options["strength"] == strength


def test_animatediff_makes_all_steps_where_it_enforces_them() -> None:
    clip = [parts.image(32, 32)] * 8
    fields = {"steps": 2, "options": {"enforce_inference_steps": True}}
    name = "AnimateDiffVideoToVideoPipeline"
    resolve(name, fields=fields, video=clip, strength=0.1)
    with pytest.raises(InputError, match=r"strength=0 of 2 steps"):
        resolve(name, fields=fields, video=clip, strength=0)


def test_ltx_s_strength_is_of_its_conditions_and_needs_one() -> None:
    resolve(LTX, image=IMAGE, strength=0)
    with pytest.raises(InputError, match=r"strength=0.5 says how much of a given image or video counts, and none is"):
        resolve(LTX, strength=0.5)
    with pytest.raises(InputError, match=r"denoise_strength=0.01 of 50 steps leaves"):
        resolve(LTX, fields={"options": {"denoise_strength": 0.01}}, image=IMAGE)


@pytest.mark.parametrize(
    ("name", "prompt", "fields", "message"),
    [
        pytest.param(
            SVD, "", {"negative_prompt": "bad"}, "no effect here: the pipeline takes none", id="negative, SVD"
        ),
        pytest.param(
            HUNYUAN,
            "a cat",
            {"negative_prompt": "bad"},
            r"no effect with true_cfg_scale=1; .*--set true_cfg_scale=6",
            id="negative, a distilled model",
        ),
        pytest.param(
            WAN,
            "a cat",
            {"negative_prompt": "bad", "guidance_scale": 1.0},
            "no effect with guidance_scale=1",
            id="negative without guidance",
        ),
        pytest.param(
            "embedded",
            "a cat",
            {"negative_prompt": "bad", "guidance_scale": 1.0},
            "no effect with guidance_scale=1",
            id="our own model",
        ),
    ],
)
def test_prompts_without_effect(name: str, prompt: str, fields: dict[str, Any], message: str) -> None:
    image = {"image": parts.image(64, 64)} if name in (SVD, WAN) else {}
    with pytest.raises(InputError, match=message):
        resolve(name, prompt, fields=fields, **image)


def test_a_prompt_that_no_one_reads_is_noted_before_the_run() -> None:
    loaded = backbone(SVD)
    assert isinstance(loaded, HostedBackbone)
    resolved = resolve(SVD, "a cat", image=parts.image(64, 64))
    assert expected_no_effect(resolved, loaded) == {"prompt": f"{SVD!r} reads none"}
    assert expected_no_effect(resolve(SVD, "", image=parts.image(64, 64)), loaded) == {}


def test_true_guidance_without_a_negative_prompt_is_noted() -> None:
    loaded = backbone(HUNYUAN)
    assert isinstance(loaded, HostedBackbone)
    fields: dict[str, Any] = {"options": {"true_cfg_scale": 6.0}, "frames": 5, "width": 32, "height": 32}
    assert "set negative_prompt" in expected_no_effect(resolve(HUNYUAN, fields=fields), loaded)["true_cfg_scale"]
    fields["negative_prompt"] = "bad"
    assert expected_no_effect(resolve(HUNYUAN, fields=fields), loaded) == {}


def test_prompts_with_an_effect() -> None:
    fields = {"negative_prompt": "bad", "options": {"true_cfg_scale": 6.0}, "frames": 5}
    assert resolve(HUNYUAN, fields=fields).negative_prompt == "bad"
    assert resolve(SVD, "", image=parts.image(64, 64)).negative_prompt == ""
    fields = {"negative_prompt": "bad", "guidance_scale": 5.0}
    assert resolve(WAN, fields=fields, image=parts.image(64, 64)).negative_prompt == "bad"


def test_a_default_negative_prompt_without_effect_is_left_out() -> None:
    """So that what is resolved resolves to the same again, though no one gave it."""
    name = next(row for row in load_rows() if row.startswith("Kandinsky5T2V"))
    resolved = resolve(name, fields={"guidance_scale": 1.0, "frames": 5})
    assert resolved.negative_prompt == ""
    assert RenderRequest.from_dict(resolved.to_dict()).resolve(backbone(name)).negative_prompt == ""


@pytest.mark.parametrize(
    "size", [pytest.param((2000, 1), id="a line"), pytest.param((64, 640), id="10 times as high as wide")]
)
def test_a_source_that_is_far_from_square_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=f"image is {size[0]}x{size[1]}: one side is more than 8 times the other"):
        resolve(WAN, image=parts.image(*size))
    fitted = resolve(WAN, fields={"width": 64, "height": 64}, image=parts.image(*size))
    assert (fitted.width, fitted.height) == (64, 64)


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [
        pytest.param("image", "", "image", id="image"),
        pytest.param("image", "  ", "image", id="blank"),
        pytest.param("images", {0: ""}, r"images\[0\]", id="images"),
        pytest.param("control", {"a": ""}, r"control\['a'\]", id="control"),
        pytest.param("references", [IMAGE, ""], r"references\[1\]", id="references"),
        pytest.param("audio", "", "audio", id="audio"),
    ],
)
def test_an_empty_name_is_not_the_working_directory(field: str, value: Any, name: str) -> None:
    with pytest.raises(InputError, match=f"{name}='.*' is not a file name"):
        Conditions(**{field: value})


def test_an_empty_first_frame_is_not_the_working_directory() -> None:
    with pytest.raises(InputError, match=r"first_frame='' is not a file name"):
        RenderRequest("a", motion=[{"kind": "camera", "pan": 4}], first_frame="")


@pytest.mark.parametrize("model", ["", " "])
def test_an_empty_model_is_not_the_working_directory(model: str) -> None:
    with pytest.raises(InputError, match=f"model={model!r} is empty; give 'embedded' or"):
        load_outline(model)


def test_sources_of_another_kind_are_named_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"image is bytes; give a path, or an image that Pillow has opened"):
        Conditions(image=b"x")
    with pytest.raises(MediaError, match=r"image='/dev/null' is not a file; give the path of an image or a video"):
        resolve(WAN, image="/dev/null")


def test_a_clip_that_is_longer_than_its_model_generates_well_names_no_option_that_was_not_given() -> None:
    fields: dict[str, Any] = {"frames": 25}
    notes = resolve(COG, fields=fields, video=[IMAGE] * 25).notes
    assert any(note.endswith("is known to follow its prompt; use at most 17") for note in notes)
    notes = resolve(COG, fields=fields | {"continuity": "off"}, video=[IMAGE] * 25).notes
    assert any(note.endswith("use several clips: leave out continuity") for note in notes)
