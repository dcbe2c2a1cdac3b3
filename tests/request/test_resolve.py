"""Resolution against a model: its defaults, the recorded request, and no second resolution."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from videogen import Engine, InputError, RenderRequest, UnsupportedError
from videogen.backbones.clip_spec import ClipSpec
from videogen.backbones.registry import load_outline
from videogen.request.continuity import Continuity
from videogen.request.continuity_policies import general_policy
from videogen.request.resolve import clip_frames, resolved_for
from videogen.request.resolved import ResolvedRequest

PROMPT = "a red ball moves right on a black background"
LONG: dict[str, Any] = {"frames": 120, "continuity": "replay"}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load("embedded-unet", device="cpu")


def test_unset_fields_take_the_models_defaults(engine: Engine) -> None:
    resolved, defaults = RenderRequest(PROMPT).resolve(engine.backbone), engine.backbone.defaults
    assert (resolved.frames, resolved.width, resolved.height) == (defaults.frames, defaults.width, defaults.height)
    assert (resolved.steps, resolved.guidance_scale, resolved.fps) == (
        defaults.steps,
        defaults.guidance_scale,
        defaults.fps,
    )
    assert (resolved.attention, resolved.propagation, resolved.motion) == (None, None, None)
    assert resolved.continuity == "off" and not resolved.is_long and resolved.guided


@pytest.mark.parametrize("values", [pytest.param({}, id="a clip"), pytest.param(LONG, id="long")])
def test_a_family_may_fit_the_clip_to_its_model(
    values: dict[str, Any], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `Backbone.fit` returns is what runs and what is recorded."""

    def fit(spec: ClipSpec) -> ClipSpec:
        return replace(spec, width=spec.width // 64 * 64, steps=min(spec.steps, 4))

    monkeypatch.setattr(engine.backbone, "fit", fit)
    resolved = RenderRequest(PROMPT, width=100, height=64, steps=9, **values).resolve(engine.backbone)
    assert (resolved.width, resolved.height, resolved.steps) == (64, 64, 4)
    assert (resolved.to_dict()["width"], resolved.to_dict()["steps"]) == (64, 4)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({}, id="a clip"),
        pytest.param(LONG, id="long"),
        pytest.param({"seconds": 20.0}, id="long, in seconds"),
        pytest.param({"seconds": 1.0}, id="a clip in seconds"),
        pytest.param({"frames": 120, "continuity": "measured"}, id="measured"),
        pytest.param({"motion": {"kind": "camera", "pan": 4.0}}, id="a motion"),
        pytest.param(
            LONG | {"motion": {"kind": "camera", "pan": 4.0}, "motion_backend": "warped_noise"}, id="long motion"
        ),
        pytest.param({"guidance_scale": 1.0}, id="no guidance"),
        pytest.param({"attention": "adaptive", "recall": 0.9, "propagate": "every:2"}, id="techniques"),
        pytest.param({"prompt": "", "story": {0: PROMPT, 30: "a blue ball"}, "frames": 60}, id="a story"),
    ],
)
def test_the_recorded_request_resolves_to_the_same_values(values: dict[str, Any], engine: Engine) -> None:
    resolved = RenderRequest(**{"prompt": PROMPT} | values).resolve(engine.backbone)
    recorded = RenderRequest.from_dict(resolved.to_dict())
    assert all(
        value is not None
        for name, value in resolved.to_dict().items()
        if name in ("frames", "window", "dtype", "device")
    )
    again = recorded.resolve(engine.backbone)
    assert again == replace(resolved, request=again.request) and again.to_dict() == resolved.to_dict()


def test_configurations_are_objects(engine: Engine) -> None:
    resolved = RenderRequest(PROMPT, **LONG, attention="adaptive", propagate="every:2").resolve(engine.backbone)
    assert resolved.attention is not None and resolved.attention.recall == 0.95
    assert resolved.propagation is not None and isinstance(resolved.clip_continuity, Continuity)
    assert resolved.clip_continuity.overlap is not None


def test_a_resolved_request_is_not_resolved_again(engine: Engine) -> None:
    resolved = RenderRequest(PROMPT).resolve(engine.backbone)
    assert resolved_for(resolved, engine.backbone) is resolved
    other = replace(resolved, model="embedded")
    with pytest.raises(InputError, match="is for model='embedded'"):
        resolved_for(other, engine.backbone)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({}, id="plain"),
        pytest.param({"motion": {"kind": "camera", "pan": 4.0}, "motion_backend": "warped_noise"}, id="with a motion"),
    ],
)
def test_another_policy_or_length_needs_no_second_resolution(
    values: dict[str, Any], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = RenderRequest(PROMPT, frames=120, retries=2, attention="adaptive", continuity="measured", **values)
    resolved = request.resolve(engine.backbone)
    named = replace(request, continuity="overlap").resolve(engine.backbone)
    monkeypatch.setattr(RenderRequest, "__post_init__", lambda self: pytest.fail("another request was made"))
    joined = resolved.with_continuity("overlap", engine.backbone)
    assert joined.continuity == named.continuity and joined.to_dict() == named.to_dict()
    short = joined.shorten(40)
    assert (short.frames, short.retries, short.to_dict()["frames"]) == (40, 0, 40)
    with pytest.raises(UnsupportedError, match="a first frame"):
        resolved.with_continuity("i2v_prefix", engine.backbone)


def test_a_single_clip_becomes_a_long_video_of_one_segment(engine: Engine) -> None:
    for request in (RenderRequest(PROMPT), RenderRequest(PROMPT).resolve(engine.backbone)):
        segmented = resolved_for(request, engine.backbone, segmented=True)
        assert segmented.clip_continuity.policy == general_policy() and segmented.frames == 16
    off = RenderRequest(PROMPT, continuity="off")
    assert not resolved_for(off, engine.backbone, segmented=True).is_long
    moving = RenderRequest(PROMPT, motion={"kind": "drag", "path": [[8, 8], [20, 8]]}, motion_backend="dual_clock")
    with pytest.raises(UnsupportedError, match="dual_clock warps the first frame of a single clip"):
        resolved_for(moving.resolve(engine.backbone), engine.backbone, segmented=True)


@pytest.mark.parametrize(("frames", "generated"), [(1, 1), (2, 5), (33, 33), (34, 37), (37, 37), (48, 49), (49, 49)])
def test_a_clip_of_any_length_is_generated_longer_and_cut(frames: int, generated: int) -> None:
    backbone = load_outline("embedded")
    assert backbone is not None
    for length in ({"frames": frames}, {"seconds": frames / backbone.defaults.fps}):
        resolved = RenderRequest(PROMPT, continuity="off", **cast(Any, length)).resolve(backbone)
        assert (resolved.frames, resolved.generated_frames) == (frames, generated)
        assert resolved.to_dict()["frames"] == frames and resolved.clip_spec().frames == generated
        assert any("left out" in note for note in resolved.notes) == (frames != generated)


@pytest.mark.parametrize(
    ("values", "at_once"),
    [
        pytest.param({"frames": 37}, None, id="as many as are good"),
        pytest.param({"frames": 41}, None, id="several clips"),
        pytest.param({"frames": 41, "continuity": "off"}, 41, id="one clip"),
        pytest.param({"frames": 38, "continuity": "off"}, 41, id="one clip that is cut"),
        pytest.param({"frames": 45, "window": 45}, 45, id="one window"),
        pytest.param({"frames": 200, "window": 41}, 41, id="many windows"),
        pytest.param({"frames": 200, "window": 33}, None, id="smaller windows"),
    ],
)
def test_more_frames_at_once_than_the_model_is_good_for_are_noted(values: dict[str, Any], at_once: int | None) -> None:
    backbone = load_outline("embedded")
    assert backbone is not None and backbone.single_pass_frames == 37
    notes = " ".join(RenderRequest(PROMPT, **values).resolve(backbone).notes)
    assert (f"{at_once} frames at once are more than the 37" in notes) == (at_once is not None)


def test_a_single_clip_has_no_policy(engine: Engine) -> None:
    with pytest.raises(InputError, match="'off' is not a policy"):
        _ = RenderRequest(PROMPT).resolve(engine.backbone).clip_continuity


def test_render_takes_both_forms(engine: Engine) -> None:
    request = RenderRequest(PROMPT, frames=2, width=16, height=16, steps=1)
    resolved = request.resolve(engine.backbone)
    assert isinstance(resolved, ResolvedRequest)
    assert (engine.render(request).frames == engine.render(resolved).frames).all()


@pytest.mark.parametrize(
    ("values", "frames"),
    [
        pytest.param({"frames": 7}, 7, id="frames"),
        pytest.param({"seconds": 2.5}, 20, id="seconds"),
        pytest.param({}, 16, id="the default"),
        pytest.param({"prompt": "", "story": "[00:00-00:04] a red ball"}, 32, id="a story"),
    ],
)
def test_length(values: dict[str, Any], frames: int) -> None:
    assert clip_frames(RenderRequest(**{"prompt": PROMPT} | values), 8, 16) == frames


@pytest.mark.parametrize(
    ("seconds", "note"),
    [
        pytest.param(2.0, "", id="a number of frames"),
        pytest.param(1.999, "", id="nearly"),
        pytest.param(0.01, "the video has 1, 0.125 s", id="less than a frame"),
        pytest.param(1.06, "the video has 8, 1 s", id="between two frames"),
    ],
)
def test_a_duration_that_is_changed_is_reported(seconds: float, note: str, engine: Engine) -> None:
    notes = RenderRequest(PROMPT, seconds=seconds).resolve(engine.backbone).notes
    assert ([note] if note else []) == [text[-len(note) :] for text in notes]


def test_errors_on_a_length_in_seconds_name_them(engine: Engine) -> None:
    for values in ({"continuity": "off"}, {"window": 41}):
        with pytest.raises(InputError, match=r"\(seconds=10 at 8 fps: 80 frames\)$"):
            RenderRequest(PROMPT, seconds=10.0, **cast(Any, values)).resolve(engine.backbone)
    with pytest.raises(InputError, match="width=60") as raised:
        RenderRequest(PROMPT, seconds=2.0, width=60).resolve(engine.backbone)
    assert "seconds" not in str(raised.value)
