"""Techniques off, the engine's frames are those of diffusers' own pipeline for the same seed, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from tests.contract.families import VARIANTS, Variant
from videogen import Engine, RenderRequest
from videogen.schedulers.diffusers_scheduler import build_scheduler

PROMPT, NEGATIVE = "a red ball moves right on a black background", "blurry"
STEPS = 4


def cases() -> list[Any]:
    rows = []
    for variant in VARIANTS.values():
        for solver in variant.solvers:
            rows.append(
                pytest.param(variant, solver, variant.clips[0], 4.0, id=f"{variant.name}-{solver or 'own'}-guided")
            )
        rows.append(pytest.param(variant, None, variant.clips[0], 1.0, id=f"{variant.name}-no-guidance"))
        for clip in variant.clips[1:]:
            rows.append(pytest.param(variant, None, clip, 4.0, id=f"{variant.name}-{'x'.join(map(str, clip))}"))
    return rows


def reference(
    folder: Path, variant: Variant, solver: str | None, clip: tuple[int, int, int], scale: float, seeds: list[int]
) -> np.ndarray:
    """uint8 frames [batch, f, h, w, 3] of the library's pipeline: round(255 x) of its float output."""
    pipeline = getattr(diffusers, variant.pipeline).from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = build_scheduler(solver, pipeline.scheduler)
    frames, width, height = clip
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    count = len(seeds)
    result = pipeline(
        prompt=[PROMPT] * count if count > 1 else PROMPT,
        negative_prompt=[NEGATIVE] * count if count > 1 else NEGATIVE,
        num_frames=frames, width=width, height=height, num_inference_steps=STEPS, guidance_scale=scale,
        generator=generators if count > 1 else generators[0], output_type="np", **variant.call,
    ).frames  # fmt: skip
    return np.round(255 * np.asarray(result)).astype(np.uint8)


@pytest.mark.parametrize(("variant", "solver", "clip", "scale"), cases())
def test_frames_equal_the_library_bit_for_bit(
    variant: Variant, solver: str | None, clip: tuple[int, int, int], scale: float,
    checkpoint: Callable[[str], Path], engine_of: Callable[[str], Engine],
) -> None:  # fmt: skip
    frames, width, height = clip
    video = engine_of(variant.name).generate(
        PROMPT, negative_prompt=NEGATIVE if scale > 1 else None, frames=frames, size=(width, height), steps=STEPS,
        guidance_scale=scale, seed=3, solver=solver, noise="diffusers",
    )  # fmt: skip
    expected = reference(checkpoint(variant.name), variant, solver, clip, scale, [3])[0]
    assert video.frames.shape == expected.shape
    assert np.array_equal(video.frames, expected)
    assert expected.std() > 1  # flat frames would prove nothing


@pytest.mark.parametrize("name", VARIANTS)
def test_a_batch_equals_the_library_with_a_generator_per_sample(
    name: str, checkpoint: Callable[[str], Path], engine_of: Callable[[str], Engine]
) -> None:
    variant = VARIANTS[name]
    frames, width, height = variant.clips[0]
    videos = engine_of(name).generate(
        [PROMPT, PROMPT], negative_prompt=NEGATIVE, frames=frames, size=(width, height), steps=STEPS,
        guidance_scale=4.0, seed=3, noise="diffusers",
    )  # fmt: skip
    expected = reference(checkpoint(name), variant, None, variant.clips[0], 4.0, [3, 4])
    assert np.array_equal(np.stack([v.frames for v in videos]), expected)
    assert not np.array_equal(expected[0], expected[1])


def test_the_low_noise_expert_is_guided_by_its_own_scale(
    checkpoint: Callable[[str], Path], engine_of: Callable[[str], Engine]
) -> None:
    """Diffusers' pipeline guides neither expert at guidance_scale=1, but at the next number, which is 1 in fp32."""
    variant = VARIANTS["wan-2.2-experts"]
    expected = reference(
        checkpoint(variant.name), replace(variant, call=variant.call | {"guidance_scale_2": 4.0}), None,
        variant.clips[0], 1 + 1e-9, [3],
    )[0]  # fmt: skip
    frames, width, height = variant.clips[0]
    options: dict[str, Any] = {"frames": frames, "size": (width, height), "steps": STEPS, "seed": 3}
    video = engine_of(variant.name).generate(
        PROMPT, negative_prompt=NEGATIVE, guidance_scale=1.0, guidance_scale_2=4.0, noise="diffusers", **options
    )
    assert np.array_equal(video.frames, expected)
    assert "guidance_scale_2=4" in str(
        RenderRequest(PROMPT, guidance_scale=1.0, guidance_scale_2=4.0).resolve(engine_of(variant.name).backbone).notes
    )


@pytest.mark.parametrize("name", VARIANTS)
def test_guidance_batched_and_sequential_agree(name: str, engine_of: Callable[[str], Engine]) -> None:
    variant = VARIANTS[name]
    frames, width, height = variant.clips[0]
    options: dict[str, Any] = {"frames": frames, "size": (width, height), "steps": STEPS, "guidance_scale": 4.0}
    batched = engine_of(name).generate(PROMPT, guidance_mode="batched", **options).frames
    sequential = engine_of(name).generate(PROMPT, guidance_mode="sequential", **options).frames
    # The same sum in another order of multiplication: equal to one level of 255 at most.
    assert np.abs(batched.astype(int) - sequential.astype(int)).max() <= 1
