"""A video a little longer than the native length begins as the prompt says: it is made of several clips where one pass
would begin with another colour."""

from __future__ import annotations

import pytest

from tools.judge import object_colour
from tools.world import caption, held_out
from videogen import Engine, RenderRequest
from videogen.backbones.defaults import Training

PROMPT = "a red ball moves right on a gray background"


@pytest.fixture(scope="module")
def engines() -> dict[str, Engine]:
    return {name: Engine.load(name, device="cpu") for name in ("embedded", "embedded-unet")}


@pytest.mark.parametrize(
    ("model", "frames", "window", "is_long"),
    [
        pytest.param("embedded", 33, None, False, id="the native length"),
        pytest.param("embedded", 37, None, False, id="measured to be as good in one pass"),
        pytest.param("embedded", 41, None, True, id="beyond"),
        pytest.param("embedded", 49, None, True, id="1.5 times the native length"),
        pytest.param("embedded", 49, 49, False, id="a window says what is generated at once"),
        pytest.param("embedded", 17, 13, True, id="more than a window"),
        pytest.param("embedded-unet", 24, None, False, id="a UNet is as good at 1.5 times its native length"),
        pytest.param("embedded-unet", 25, None, True, id="beyond what was measured"),
    ],
)
def test_several_clips_beyond_the_length_that_one_pass_is_good_for(
    engines: dict[str, Engine], model: str, frames: int, window: int | None, is_long: bool
) -> None:
    request = RenderRequest(PROMPT, frames=frames, window=window)
    assert request.resolve(engines[model].backbone).is_long == is_long


def test_a_model_that_was_not_measured_has_its_native_length(
    engines: dict[str, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = engines["embedded-unet"].backbone
    monkeypatch.setattr(backbone, "training", Training())
    assert backbone.single_pass_frames == backbone.defaults.frames == 16
    assert RenderRequest(PROMPT, frames=17).resolve(backbone).is_long


def test_the_first_frame_has_the_prompts_colour(engines: dict[str, Engine]) -> None:
    video = engines["embedded"].generate(PROMPT, frames=49, seed=1, steps=6)
    assert len(video.frames) == 49
    assert [object_colour(video.frames[at : at + 1]) for at in (0, 1, 24, 48)] == ["red"] * 4


@pytest.mark.slow
@pytest.mark.parametrize("frames", [37, 41, 45, 49, 66])
def test_the_first_frames_of_six_prompts_have_the_prompts_colours(engines: dict[str, Engine], frames: int) -> None:
    """At default settings; `python -m tools.bench long first-frame` measures both models."""
    for seed, scene in enumerate(held_out()[:6]):
        video = engines["embedded"].generate(caption(scene), frames=frames, seed=seed)
        assert object_colour(video.frames[:1]) == scene.things[0].colour, caption(scene)
