"""Mean regularisation of a segment's clips: as CoNo publishes it, our variant on v, and towards the first clip."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from videogen.backbones.geometry import LatentGeometry
from videogen.longvideo.continuity_technique import ContinuityTechnique
from videogen.longvideo.policies.build import build_policy
from videogen.longvideo.segment_memory import SegmentMemory
from videogen.longvideo.segments import Segment
from videogen.request.continuity import Continuity
from videogen.schedulers.levels import NoiseLevel
from videogen.schedulers.parametrization import FLOW
from videogen.timeline import LatentTimeline, as_timeline

LEVEL = NoiseLevel(alpha=0.8, sigma=0.6)
CLIP, SHAPE = 9, (3, 4, 9, 2, 2)  # three clips of an extension


def noise(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def memory() -> SegmentMemory:
    means = [noise(1, 4, 2, 2, seed=seed) for seed in range(4)]
    return SegmentMemory(noise(1, 4, 3, 2, 2, seed=9), means[0], means[1], None, means[2], means[3])


def extension(continuity: Continuity, timeline: LatentTimeline) -> Segment:
    return build_policy(continuity, CLIP, 10, False).divide(timeline)[1]


def regularise(
    spec: str, kind: str, timeline: LatentTimeline
) -> tuple[torch.Tensor, torch.Tensor, ContinuityTechnique]:
    """(the model's predictions, what the solver gets), for the first step of an extension, without copied frames."""
    continuity = Continuity.parse(f"{spec},release=0").for_clip(CLIP)
    technique = ContinuityTechnique(extension(continuity, timeline), memory(), continuity, 3)
    solver = SimpleNamespace(kind=kind, levels=[LEVEL], name="a solver", scale_input=lambda latents, _: latents)
    state: Any = SimpleNamespace(solver=solver, latents=noise(*SHAPE, seed=5))
    technique.begin(None, [], state)  # type: ignore[arg-type]
    predictions, row = noise(*SHAPE, seed=6), SimpleNamespace(index=0)
    return predictions, technique.prediction(row, state, predictions), technique  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def timeline() -> LatentTimeline:
    geometry = LatentGeometry(4, 8, 1, 8, single_first=False)
    return as_timeline(((None, "a"),)).compile(fps=8, frames=40, geometry=geometry)


@pytest.mark.parametrize("kind", ["epsilon", FLOW, "v_prediction"])
def test_cono_moves_the_models_own_prediction_by_a_constant(kind: str, timeline: LatentTimeline) -> None:
    """eps2 <- eps2 + strength (mean eps1 - mean eps2), for each clip towards the one before it (2406.05082)."""
    predictions, found, _ = regularise("cono:mean_regularisation=0.3", kind, timeline)
    before = memory().prediction_mean
    assert before is not None
    mean = before[0][:, None]
    for clip, own in zip(found, predictions, strict=True):
        expected = own + 0.3 * (mean - own.mean(1, keepdim=True))
        assert torch.allclose(clip, expected, atol=1e-6)
        mean = clip.mean(1, keepdim=True)


def test_the_variant_acts_on_v_and_by_the_noise_level(timeline: LatentTimeline) -> None:
    published = regularise("cono:mean_regularisation=0.3", "v_prediction", timeline)[1]
    weighted = regularise("cono_v:mean_regularisation=0.5", "v_prediction", timeline)[1]
    assert torch.allclose(weighted, published, atol=1e-6), "0.5 at sigma=0.6 is 0.3"
    eps, v = (regularise(f"{name}:mean_regularisation=0.3", "epsilon", timeline)[1] for name in ("cono", "cono_v"))
    assert not torch.allclose(eps, v, atol=1e-2), "on models that predict noise, v is another quantity"


def test_clips_can_be_regularised_to_the_scenes_first(timeline: LatentTimeline) -> None:
    spec = "cono:mean_regularisation=1,mean_of=first"
    _, found, technique = regularise(spec, "epsilon", timeline)
    first = memory().first_prediction_mean
    assert first is not None
    for clip in found:
        assert torch.allclose(clip.mean(1), first[0], atol=1e-6)
    remembered = technique.memory(None)
    assert remembered.first_prediction_mean is not None and torch.equal(remembered.first_prediction_mean, first)
    restored = SegmentMemory.from_tensors(remembered.to_tensors())
    assert vars(restored).keys() == vars(remembered).keys() and restored.first_input_mean is not None
