"""Prompt grammar: variants of a caption give its tokens, captions stay, and the manifest says what was read."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from tools.world.captions import caption, vocabulary
from tools.world.scene import BACKGROUNDS, COLOURS, sample_scene
from videogen import Engine
from videogen.backbones import prompt_grammar
from videogen.backbones.prompt_grammar import normalise_moving_shapes
from videogen.backbones.registry import EMBEDDED

ORANGE = "an orange ball moves right on a black background"
PAIR = "a red ball moves left and a blue square moves left on a gray background, the camera pans left"

VARIANTS = {
    "article": ("a orange ball moves right on a black background", ORANGE),
    "definite article": ("the orange ball moves right on the black background", ORANGE),
    "no article": ("orange ball moves right on black background", ORANGE),
    "case and punctuation": ("AN Orange ball, moves RIGHT -- on a black background!", ORANGE),
    "plural": ("orange balls move right on black backgrounds", ORANGE),
    "plural auxiliary": ("orange balls are moving right on a black background", ORANGE),
    "participle": ("an orange ball moving right on a black background", ORANGE),
    "colour after the noun": ("a ball orange moves right on a black background", ORANGE),
    "verb last": ("a orange ball on a black background moves right", ORANGE),
    "verb first": ("moves right a orange ball on a black background", ORANGE),
    "background first, article": ("On a black background, a orange ball moves right", ORANGE),
    "keywords": ("black background, orange ball, moving to the right", ORANGE),
    "background without the noun": ("an orange ball moves right on black", ORANGE),
    "speed inside the motion": (
        "a orange ball moves quickly right on a black background",
        ORANGE.replace("right", "right quickly"),
    ),
    "speed first": ("slowly a red star spins on a navy background", "a red star spins slowly on a navy background"),
    "negation": ("red stars do not move on a navy background", "a red star does not move on a navy background"),
    "circles": ("green circle moves in circles on navy", "a green circle moves in a circle on a navy background"),
    "plural verb of two objects": ("red ball and blue square move left on grey, camera panning left", PAIR),
    "camera first": (f"With the camera panning left, {PAIR.partition(', ')[0]}", PAIR),
    "other preposition": ("a orange ball over a noisy background", "an orange ball over a noisy background"),
    "unknown word": ("a shiny orange balls moves right", "a shiny orange ball moves right"),
    "unknown number": ("two orange balls move right on black", "two orange ball moves right on black"),
    "article before an unknown sentence": ("The orange ball likes an red box", "an orange ball likes a red box"),
}  # fmt: skip

AS_GIVEN = {
    "nothing": "",
    "no motion, no background": "a blue square",
    "no words of the world": "The elephants dance",
    "a colour that backgrounds do not have": "a red ball on a white background",
    "two motions": "a red ball moves right and spins on a black background",
    "two backgrounds": "a red ball on a black background on a navy background",
    "two colours": "a red and blue ball",
    "speed before the motion": "a red ball slowly spins on a noisy background",
    "said with other words": "over a noisy background, a red disc slides to the left",
}


@pytest.fixture(scope="module")
def tokenizers() -> list[Any]:
    return [AutoTokenizer.from_pretrained(folder / "tokenizer") for folder in EMBEDDED.values()]


@pytest.mark.parametrize(("given", "right"), VARIANTS.values(), ids=VARIANTS)
def test_variants_have_the_tokens_of_the_caption(given: str, right: str, tokenizers: list[Any]) -> None:
    for tokenizer in tokenizers:
        assert tokenizer(normalise_moving_shapes(given)).input_ids == tokenizer(right).input_ids


@pytest.mark.parametrize("prompt", AS_GIVEN.values(), ids=AS_GIVEN)
def test_what_is_not_recognised_stays(prompt: str) -> None:
    assert normalise_moving_shapes(prompt) == prompt


@pytest.mark.parametrize(("given", "right"), VARIANTS.values(), ids=VARIANTS)
def test_normalising_twice_changes_nothing(given: str, right: str) -> None:
    assert normalise_moving_shapes(once := normalise_moving_shapes(given)) == once


def test_captions_of_the_training_stay() -> None:
    rng = np.random.default_rng(0)
    for seed in range(500):
        scene = sample_scene(seed, pairs=0.3, cameras=0.3, undescribed=seed % 3 == 0)
        for text in (caption(scene), caption(scene, rng), caption(scene, rng).upper().replace(",", "")):
            assert normalise_moving_shapes(text) == text


def test_its_words_are_those_of_the_captions() -> None:
    assert set(COLOURS) == prompt_grammar._COLOURS and set(BACKGROUNDS) == prompt_grammar._GROUNDS
    phrases = [*prompt_grammar._MOTIONS, *prompt_grammar._CAMERAS, *prompt_grammar._SHAPES, *prompt_grammar._HEADS]
    assert {word for phrase in phrases for word in phrase.split()} <= set(vocabulary())


def test_the_embedded_models_render_a_variant_as_the_caption(caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine.load("embedded")
    options: dict[str, Any] = {"frames": 1, "size": (16, 16), "steps": 1, "seed": 1}
    given = "a orange ball on a black background moves right"
    with caplog.at_level(logging.WARNING, "videogen"):
        variant = engine.generate(given, negative_prompt="an red ball", **options)
    caption = engine.generate(ORANGE, negative_prompt="a red ball", **options)
    assert np.array_equal(variant.frames, caption.frames)
    manifest, plain = variant.manifest or {}, caption.manifest or {}
    assert manifest["request"]["prompt"] == given
    assert manifest["measured"]["prompt"] == {**plain["measured"]["prompt"], "normalised": ORANGE}
    assert manifest["measured"]["negative_prompt"]["normalised"] == "a red ball"
    assert "normalised" not in plain["measured"]["prompt"] and "negative_prompt" not in plain["measured"]
    assert (
        f"the prompt is read as {ORANGE!r}" in caplog.text and "negative prompt is read as 'a red ball'" in caplog.text
    )


def test_a_model_without_a_grammar_reads_prompts_as_they_are() -> None:
    backbone = Engine.load("embedded").backbone
    backbone.training = replace(backbone.training, prompt_grammar="")
    assert backbone.normalise_prompt("a orange ball") == "a orange ball"
