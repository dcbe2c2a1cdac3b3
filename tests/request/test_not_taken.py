"""Conditions that no pipeline takes, and several where a call takes one: refused with what to do instead."""

from __future__ import annotations

import inspect

import diffusers
import pytest

from videogen import Engine
from videogen.backbones.hosting.pipelines import NOT_TAKEN, PIPELINES
from videogen.backbones.pipeline_listing import build_table
from videogen.core.errors import InputError, UnsupportedError
from videogen.request.conditions import Conditions

#: arguments about sound: of guidance, switches, and latents that are already encoded
_OTHER = ("scale", "rescale", "latents", "embeds", "enable_sound", "sample_audio", "freeze_audio")
_SOUND = ("audio", "sound", "speech", "wave")


def test_no_hosted_pipeline_takes_a_sound_track() -> None:
    taken = {
        (name, parameter)
        for name in PIPELINES
        for parameter in inspect.signature(inspect.unwrap(getattr(diffusers, name).__call__)).parameters
        if any(word in parameter for word in _SOUND) and not parameter.endswith(_OTHER)
    }
    assert taken == set(), "a pipeline takes sound: give its row an input for it"


def test_a_sound_track_is_refused_with_the_reason_and_the_table_has_it() -> None:
    with pytest.raises(UnsupportedError, match=r"no video pipeline of diffusers .* takes a sound track"):
        Engine.load("embedded").generate("a red ball", audio="a.wav")
    assert f"No pipeline takes `audio` as an input: {NOT_TAKEN['audio']}." in build_table()


@pytest.mark.parametrize("name", ["image", "last_image"])
def test_an_image_per_prompt_is_refused_with_the_alternative(name: str) -> None:
    with pytest.raises(InputError, match=rf"{name} is a list of 2, and .* call generate once for each image"):
        Conditions.from_value({name: ["a.png", "b.png"]})
