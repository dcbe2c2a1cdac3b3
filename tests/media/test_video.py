"""`Video` in a notebook: representations, equality, indexing, conversions, and errors that name the value."""

from __future__ import annotations

import copy
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from videogen import InputError, Video

from .test_round_trips import MANIFEST, clip

FRAMES = clip(9)
TIMES = np.array([0.0, 0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0])
ALPHA = np.arange(9 * 32 * 48).reshape(9, 32, 48).astype(np.uint8)


@pytest.mark.parametrize(
    ("video", "expected"),
    [
        (Video(FRAMES), "<Video: 9 frames of 48x32, 16 fps>"),
        (Video(FRAMES[:1], Fraction(30000, 1001), MANIFEST), "<Video: 1 frame of 48x32, 29.97 fps, manifest>"),
        (Video(FRAMES, 8, None, TIMES, ALPHA), "<Video: 9 frames of 48x32, 8 fps, times_s, alpha>"),
    ],
)
def test_repr_is_one_short_line(video: Video, expected: str) -> None:
    assert repr(video) == expected


@pytest.mark.parametrize(
    ("video", "figure"),
    [
        (Video(FRAMES, 8, {"request": {"prompt": "<b>a & b</b>"}}), "<video "),
        (Video(FRAMES[:1]), "<img "),
        (Video(np.zeros((2, 2100, 4096, 3), np.uint8)), "<img "),
        (Video(FRAMES, 5000), "<img "),
    ],
    ids=["plays", "a still", "large", "a rate that mp4 does not take"],
)
def test_html_shows_the_clip_and_its_facts(video: Video, figure: str) -> None:
    html = video._repr_html_()
    assert figure in html and f"{len(video)} frames" in html and "base64," in html and len(html) < 200_000
    if video.manifest:
        assert "&lt;b&gt;a &amp; b" in html and "<b>a & b" not in html


DIFFERENT: list[tuple[str, dict[str, Any]]] = [
    ("frames", {"frames": FRAMES + 1}),
    ("length", {"frames": FRAMES[:8], "times_s": None, "alpha": None}),
    ("rate", {"fps": 9}),
    ("times", {"times_s": TIMES + 0.1}),
    ("no times", {"times_s": None}),
    ("alpha", {"alpha": 255 - ALPHA}),
]


@pytest.mark.parametrize("change", [change for _, change in DIFFERENT], ids=[name for name, _ in DIFFERENT])
def test_clips_are_equal_if_they_show_the_same(change: dict[str, Any]) -> None:
    values: dict[str, Any] = {"frames": FRAMES, "fps": 8, "times_s": TIMES, "alpha": ALPHA}
    video = Video(**values)
    assert video == Video(**copy.deepcopy(values), manifest=MANIFEST, notes=("no sound",))
    assert video != Video(**{**values, **change}) and video != "a clip"


SLICES = [slice(2, 5), slice(None, None, 2), slice(None, None, -1), slice(-3, None), slice(7, 1, -3), slice(0, 1)]


@pytest.mark.parametrize("part", SLICES, ids=str)
def test_a_slice_is_a_clip_of_the_same_pace(part: slice) -> None:
    video = Video(FRAMES, Fraction(8), MANIFEST, TIMES, ALPHA)[part]
    chosen = range(9)[part]
    assert np.array_equal(video.frames, FRAMES[part]) and video.alpha is not None and video.times_s is not None
    assert np.array_equal(video.alpha, ALPHA[part]) and video.fps == Fraction(8) / abs(chosen.step)
    assert np.allclose(video.times_s, np.abs(TIMES[part] - TIMES[chosen[0]]))
    assert video.manifest == {**MANIFEST, "excerpt": [chosen.start, chosen.stop, chosen.step]}


def test_an_excerpt_of_an_excerpt_counts_frames_of_the_render() -> None:
    video = Video(FRAMES, 8, MANIFEST)
    assert video[2:8][::2].manifest == {**MANIFEST, "excerpt": [2, 8, 2]}
    assert video[:] is video and Video(FRAMES)[1:].manifest is None
    assert np.array_equal(video[2:8][::-1][1:].frames, FRAMES[2:8][::-1][1:])
    assert list(range(*video[2:8][::-1][1:].manifest["excerpt"])) == [6, 5, 4, 3, 2]  # type: ignore[index]


def test_other_indices_are_those_of_the_array() -> None:
    video = Video(FRAMES)
    assert np.array_equal(video[3], FRAMES[3]) and np.array_equal(video[-1], FRAMES[-1])
    assert np.array_equal(video[:, :8, ::2], FRAMES[:, :8, ::2]) and np.array_equal(video[[0, 5]], FRAMES[[0, 5]])
    assert np.array_equal(np.asarray(video), FRAMES) and np.asarray(video, np.float32).dtype == np.float32
    assert [int(frame.sum()) for frame in video] == [int(frame.sum()) for frame in FRAMES]
    with pytest.raises(IndexError):
        video[9]
    with pytest.raises(InputError, match=r"video\[9:None:None\] has none of the 9 frames"):
        video[9:]


def test_pillow_images_and_tensors_have_the_same_pixels() -> None:
    images = Video(FRAMES).to_pil()
    assert [image.mode for image in images] == ["RGB"] * 9 and np.array_equal(np.asarray(images[4]), FRAMES[4])
    with_alpha = Video(FRAMES, alpha=ALPHA).to_pil()[4]
    assert with_alpha.mode == "RGBA" and np.array_equal(np.asarray(with_alpha)[..., 3], ALPHA[4])
    tensor = Video(FRAMES[::-1]).to_tensor()
    assert tensor.shape == (9, 3, 32, 48) and tensor.dtype == torch.float32 and 0 <= tensor.min() <= tensor.max() <= 1
    assert np.array_equal((tensor.permute(0, 2, 3, 1) * 255).round().byte().numpy(), FRAMES[::-1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fps": 0}, "fps=0 must"),
        ({"fps": "fast"}, "fps='fast' must"),
        ({"fps": None}, "fps=None must"),
        ({"fps": float("nan")}, "fps=nan must"),
        ({"times_s": TIMES[:3]}, r"times_s has shape \[3\]; these frames need \[9\]"),
        ({"alpha": ALPHA[:, :4]}, r"alpha has shape \[9, 4, 48\]; these frames need \[9, 32, 48\]"),
        ({"frames": torch.zeros(2, 8, 8, 3)}, "uint8"),
        ({"frames": [1, 2]}, "not list"),
    ],
)
def test_values_that_are_not_a_clip_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Video(**{"frames": FRAMES, **arguments})


@pytest.mark.parametrize("name", ["columns", "count"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True, "3", None])
def test_a_contact_sheet_refuses_counts_that_are_not_positive_integers(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name}={value!r} must be a whole number of at least 1"):
        Video(FRAMES).contact_sheet(**{name: value})
