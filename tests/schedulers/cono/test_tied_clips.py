"""Clips that are tied to each other, in a loop without any library: copied frames follow their source bit for bit."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from videogen.core.errors import InputError
from videogen.schedulers import (
    LookBack,
    MeanRegularisation,
    NoiseLevel,
    Regularised,
    permuted_noise,
    tie_clips,
)
from videogen.schedulers.cono.look_back import SOURCE
from videogen.schedulers.cono.noise import ConoNoise

PLAN = LookBack(8, 3, 3, release=7)
SIGMAS = [1 - step / 10 for step in range(11)]


def model(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """A velocity [b, c, f, h, w] in which each frame depends on all others."""
    return torch.tanh(x + 0.3 * x.mean(2, keepdim=True) + 0.1 * x.roll(1, 2)) - 0.2 * sigma


def noise() -> torch.Tensor:
    return torch.randn(1, 4, 8, 5, 6, generator=torch.Generator().manual_seed(0))


def extend(plan: LookBack, release_at: int = 10) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The latents of A, and of B, M and D as one batch, after each step up to `release_at`."""
    first, tails, of_a = noise(), [], []
    for now, after in pairwise(SIGMAS):
        prediction = model(first, now)
        tails.append(prediction[:, :, -plan.n1 :])
        first = first + (after - now) * prediction
        of_a.append(first)
    extension, of_extension = torch.cat(list(permuted_noise(noise(), plan).values())), []
    for step, (now, after) in enumerate(pairwise(SIGMAS)):
        prediction = tie_clips(model(extension, now), plan.clips, step, {SOURCE: tails[step]})
        extension = extension + (after - now) * prediction
        of_extension.append(extension)
    return of_a[:release_at], of_extension[:release_at]


def test_copied_frames_are_equal_until_release() -> None:
    of_a, of_extension = extend(PLAN)
    for step, (a, (b, m, d)) in enumerate(zip(of_a, of_extension, strict=True)):
        tied = (
            torch.equal(b[:, :3], a[0, :, -3:]), torch.equal(m[:, :3], a[0, :, -3:]),
            torch.equal(m[:, -3:], b[:, 3:6]), torch.equal(d[:, :3], m[:, -3:]),
        )  # fmt: skip
        assert tied == (step < PLAN.release,) * 4


def test_without_copies_nothing_changes() -> None:
    free = LookBack(8, 3, 3, release=0)
    x = torch.cat(list(permuted_noise(noise(), free).values()))
    prediction = model(x, 1.0)
    assert torch.equal(tie_clips(prediction, free.clips, 0, {}), prediction)


def test_the_noise_is_that_of_the_stream() -> None:
    stream, indices = ConoNoise(3, **PLAN.layout), range(8)
    found = permuted_noise(stream.clip(SOURCE, 0).frames(indices, (4, 5, 6)), PLAN)
    assert list(found) == ["B", "M", "D"]
    assert all(torch.equal(found[name], stream.clip(name, 0).frames(indices, (4, 5, 6))) for name in found)


def test_means_are_regularised_from_clip_to_clip_before_frames_are_copied() -> None:
    rule, level = MeanRegularisation(1.0), NoiseLevel(0.5, 0.5)  # at strength 1 the means become equal
    x = torch.cat(list(permuted_noise(noise(), PLAN).values()))
    source = model(noise(), 0.5)
    given = Regularised(rule, level, "flow", x, {SOURCE: (source, noise())})
    free = LookBack(8, 3, 3, release=0)
    found = tie_clips(model(x, 0.5), free.clips, 0, {}, given)
    torch.testing.assert_close(found.mean(2), source.mean(2).expand(3, -1, -1, -1))
    copied = tie_clips(model(x, 0.5), PLAN.clips, 0, {SOURCE: source}, given)
    assert torch.equal(copied[0, :, :3], source[0, :, -3:]) and torch.equal(copied[0, :, 3:], found[0, :, 3:])


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: tie_clips(noise(), PLAN.clips, 0, {}), "a batch of 1 is not one sample for each"),
        (lambda: permuted_noise(noise()[:, :, :5], PLAN), "noise of 5 frames is not that of clips of 8"),
    ],
    ids=["another batch", "another length"],
)
def test_refused(call: object, match: str) -> None:
    with pytest.raises(InputError, match=match):
        call()  # type: ignore[operator]
