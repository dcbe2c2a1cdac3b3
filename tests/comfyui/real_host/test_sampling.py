"""Dual-Clock Motion and Long Context on the real ComfyUI: every native family, sound, context windows, and what one
sees on the embedded model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.comfyui.hosts import Host, draw
from tests.comfyui.real import Real
from tests.comfyui.real_host.families import FAMILIES, Family, build, sample
from videogen.comfyui.embedded.native_wan import load_embedded_backbone
from videogen.comfyui.embedded.parts import EmbeddedVae
from videogen.comfyui.hooks.model_runs import OUTER_SAMPLE, with_runs
from videogen.comfyui.native import dual_clock, look_back
from videogen.comfyui.native.tied_plans import METHODS
from videogen.comfyui.reports.reports import collect_reports
from videogen.core.errors import UnsupportedError
from videogen.metrics.seams import COLOUR_LIMIT_DE, RATIO_LIMIT, seam
from videogen.motion import Drag, compile_motion

STEPS = 3


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name)
def family(request: Any) -> Family:
    row: Family = request.param
    return row


@pytest.fixture(scope="module")
def real() -> Host:
    return Real()


@pytest.fixture(scope="module")
def model(real: Host) -> Any:
    return real.model()


def clock(model: Any, reference: torch.Tensor, mask: torch.Tensor, weak: float = 1.0, strong: float = 0.0) -> Any:
    settings = dual_clock.DualClock(reference, mask, weak, strong)
    return with_runs(model, dual_clock.KEY, lambda context: dual_clock.DualClockRun(context, settings))


def extend(model: Any, clip: int, method: str) -> Any:
    runs = look_back.LookBackRuns(look_back.LookBackSettings(clip, method), record=False)
    return with_runs(model, look_back.KEY, runs)


def test_a_held_region_is_the_reference_on_every_family(family: Family) -> None:
    model = build(family)
    reference, mask = draw((1, *family.video), seed=7), torch.zeros(1, *family.video[2:])
    plain = sample(family, model, STEPS)
    none = sample(family, clock(model, reference, mask), STEPS)
    assert all(torch.equal(one, other) for one, other in zip(none, plain, strict=True))
    mask[:, :, :3] = 1
    moved = clock(model, reference, mask)
    found = sample(family, moved, STEPS)
    assert torch.allclose(found[0][..., :3], reference[..., :3], atol=1e-4)
    assert not torch.allclose(found[0][..., 3:], reference[..., 3:], atol=0.1)
    report = collect_reports(moved)[dual_clock.KEY]
    assert report["weak"] > 0.95 and report["strong"] == 0 and report["skipped_steps"] == 0
    for sound, other in zip(found[1:], plain[1:], strict=True):  # it is free, and hears the video
        assert sound.isfinite().all() and 0 < (sound - other).norm() / other.norm() < 1
    late = sample(family, clock(model, reference, mask, weak=0.7, strong=0.3), STEPS)
    assert all(one.isfinite().all() for one in late) and not torch.equal(late[0], found[0])
    again = sample(family, model, STEPS)
    assert all(torch.equal(one, other) for one, other in zip(again, plain, strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_copied_frames_are_their_source_s_on_every_family(family: Family, method: str) -> None:
    model = build(family)
    long = extend(model, 3, method)
    if family.sound:
        with pytest.raises(UnsupportedError, match="with sound"):
            sample(family, long, STEPS)
        return
    clips: list[torch.Tensor] = []

    def watch(executor: Any, *args: Any, **kwargs: Any) -> Any:
        clips.append(executor(*args, **kwargs))
        return clips[-1]

    long.add_wrapper_with_key(OUTER_SAMPLE, "watch", watch)
    (found,) = sample(family, long, STEPS)
    assert found.isfinite().all() and found.shape[2] == 4 and len(clips) == 2
    assert torch.equal(found[:, :, :3], clips[0]) and torch.equal(clips[1][:1, :, :1], clips[0][:, :, -1:])
    plain, (again,) = sample(family, model, STEPS)[0], sample(family, model, STEPS)
    assert torch.equal(plain, again)


@pytest.mark.parametrize("sampler", ["euler", "uni_pc"])
def test_dual_clock_under_context_windows_is_a_noise_mask(real: Host, model: Any, sampler: str) -> None:
    from comfy_extras.nodes_context_windows import WanContextWindowsManualNode

    (base,) = WanContextWindowsManualNode.execute(model, 17, 8, "standard_static", 1, False, "pyramid", False).result
    reference, mask = draw(tuple(real.noise.shape), seed=7), torch.zeros(1, 64, 64)
    mask[:, :, :32] = 1
    free = (1 - mask[:, ::8, ::8])[None, None].expand(1, 1, 9, 8, 8)
    expected = real.sample(base, sampler, latent=reference, noise_mask=free)
    assert torch.equal(real.sample(clock(base, reference, mask), sampler), expected)


@pytest.mark.parametrize("sampler", ["euler", "uni_pc"])
def test_a_ball_follows_a_dragged_path(real: Host, model: Any, sampler: str) -> None:
    import comfy.latent_formats

    vae = EmbeddedVae(load_embedded_backbone(), comfy.latent_formats.Wan21())
    plain = vae.decode(real.sample(model, sampler, steps=20))[0]
    first = (plain[0] * 255).round().byte().numpy()
    x, y = ball(plain[:1].numpy())[0]
    path = [(x, y), (x, 14.0 if y > 32 else 50.0)]
    plan = compile_motion(Drag((x, y, 12), path), 33, 64, 64)
    rendered = torch.from_numpy(plan.preview(first, arrows=False)).float() / 255
    reference, mask = vae.encode(rendered), torch.from_numpy(plan.mask())
    found = real.sample(clock(model, reference, mask, 0.85, 0.45), sampler, steps=20)
    places, target = ball(vae.decode(found)[0].numpy()), ball(rendered.numpy())
    error = np.hypot(*(places - target).T)
    assert error.mean() < 2.5 and error.max() < 5
    assert np.hypot(*(ball(plain.numpy()) - target).T).max() > 15


def ball(frames: np.ndarray) -> np.ndarray:
    """Centre of what is red in each frame: [frame, (x, y)] in px."""
    red = np.clip(frames[..., 0] - frames[..., 2] - 0.25, 0, None)
    ys, xs = np.mgrid[: frames.shape[1], : frames.shape[2]]
    return np.stack([(red * axis).sum((1, 2)) / red.sum((1, 2)) for axis in (xs, ys)], axis=1)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_clip_continues_without_a_jump(real: Host, model: Any, seed: int) -> None:
    import comfy.latent_formats

    runs = look_back.LookBackRuns(look_back.LookBackSettings(9, "replay", overlap=6), record=False)
    long = with_runs(model, look_back.KEY, runs)
    found = real.sample(long, "uni_pc", steps=20, noise=draw((1, 16, 12, 8, 8), seed=seed))
    frames = EmbeddedVae(load_embedded_backbone(), comfy.latent_formats.Wan21()).decode(found)[0].numpy()
    (join,) = collect_reports(long)[look_back.KEY]["joins"]
    measured = seam((frames * 255).astype(np.uint8), 4 * (join - 1) + 1, frames_per_latent=4)
    assert measured.ratio < RATIO_LIMIT and measured.colour_de < COLOUR_LIMIT_DE
    steps = np.hypot(*np.diff(ball(frames), axis=0).T)
    assert steps.max() < 2.5 and np.hypot(*(ball(frames)[-1] - ball(frames)[0])) > 10
