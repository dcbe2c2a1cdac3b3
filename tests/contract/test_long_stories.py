"""Stories as long videos: cuts, later shots, shots that repeat a prompt, seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.contract.long_cases import LENGTHS, PROMPT, EngineOf, long_request
from videogen import UnsupportedError


@pytest.mark.parametrize("policy", ["replay", "cono", "co_denoise"])
@pytest.mark.parametrize("name", ["wan-2.1", "animatediff"])
def test_after_a_cut_nothing_depends_on_earlier_shots(name: str, policy: str, engine_of: EngineOf) -> None:
    engine, frames = engine_of(name), 23 if name == "animatediff" else 56
    fps = engine.backbone.defaults.fps
    cut = 28 if name != "animatediff" else 10

    def story(first: str) -> dict[str, Any]:
        second = {"prompt": "a blue square", "start": f"{cut}/{fps}", "end": None, "transition": "cut", "seed": 5}
        return {"unit": "seconds", "shots": [{"prompt": first, "start": "0", "end": f"{cut}/{fps}"}, second]}

    red, blue = (
        engine.render(long_request(name, policy, prompt="", story=story(p), frames=frames, seed=3))
        for p in (PROMPT, "a blue ball")
    )
    begins = cut + 1 if name != "animatediff" else cut  # one latent decodes to frames 25 to 28
    assert len(red) == frames and np.array_equal(red.frames[begins:], blue.frames[begins:])
    assert not np.array_equal(red.frames[:begins], blue.frames[:begins])


@pytest.mark.parametrize("name", ["wan-2.1", "animatediff"])
def test_later_shots_change_nothing_before_them(name: str, engine_of: EngineOf) -> None:
    engine, (window, _, frames) = engine_of(name), LENGTHS.get(name, (21, 32, 56))
    late = {0: PROMPT, 2 * window: "a blue square"}
    one, other = (
        engine.render(long_request(name, "replay", prompt="", story=s, frames=frames)).frames
        for s in (late, {0: PROMPT})
    )
    assert np.array_equal(one[:window], other[:window]) and not np.array_equal(one[2 * window :], other[2 * window :])


@pytest.mark.parametrize("name", ["wan-2.1", "animatediff"])
def test_one_prompt_in_many_shots_is_one_prompt(name: str, engine_of: EngineOf) -> None:
    engine, (window, _, frames) = engine_of(name), LENGTHS.get(name, (21, 32, 56))
    story = {0: PROMPT, window: PROMPT, 2 * window: PROMPT}
    several = engine.render(long_request(name, "replay", prompt="", story=story, frames=frames)).frames
    assert np.array_equal(several, engine.render(long_request(name, "replay", frames=frames)).frames)


def test_seeds_that_would_have_no_effect_are_refused(engine_of: EngineOf) -> None:
    story = [{"prompt": "a", "seconds": 1.5}, {"prompt": "b", "seed": 4}]
    with pytest.raises(UnsupportedError, match="shot 2's seed=4 has no effect under continuity look_back"):
        engine_of("wan-2.1").render(long_request("wan-2.1", "cono", prompt="", story=story))
