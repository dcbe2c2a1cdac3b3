"""Images, clips and masks as conditions: every kind of source, sizes, lengths, alpha and EXIF."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from videogen import InputError, Video
from videogen.media.conditions import read_condition_clip, read_condition_image, read_condition_mask

from .test_round_trips import clip

FRAMES = clip(6)
ALPHA = np.full((32, 48), 255, np.uint8)
ALPHA[:, :24] = 0
RGBA = np.concatenate([FRAMES[0], ALPHA[..., None]], 2)
GREY = FRAMES[0, ..., :1].repeat(3, 2)


def saved(path: Path, image: np.ndarray, orientation: int = 1) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(image).save(path, exif=exif)
    return path


def turned(path: Path) -> Any:
    with Image.open(saved(path, FRAMES[0].swapaxes(0, 1)[:, ::-1].copy(), 8)) as image:
        image.load()
        return image


IMAGES: list[Any] = [
    pytest.param(lambda p: saved(p / "a.png", FRAMES[0]), FRAMES[0], id="path"),
    pytest.param(lambda p: str(saved(p / "a.png", FRAMES[0].swapaxes(0, 1)[:, ::-1].copy(), 8)), FRAMES[0], id="exif"),
    pytest.param(lambda p: Image.fromarray(FRAMES[0]), FRAMES[0], id="pil"),
    pytest.param(lambda p: turned(p / "a.png"), FRAMES[0], id="pil with exif"),
    pytest.param(lambda p: Image.fromarray(FRAMES[0, ..., 0]), GREY, id="grey pil"),
    pytest.param(lambda p: FRAMES[0], FRAMES[0], id="uint8 array"),
    pytest.param(lambda p: FRAMES[:1], FRAMES[0], id="clip of one frame"),
    pytest.param(lambda p: FRAMES[0] / np.float32(255), FRAMES[0], id="float array"),
    pytest.param(lambda p: FRAMES[0, ..., 0], GREY, id="grey array"),
    pytest.param(lambda p: Video(FRAMES[:1]).to_tensor(), FRAMES[0], id="float tensor"),
    pytest.param(lambda p: torch.from_numpy(FRAMES[0]).permute(2, 0, 1), FRAMES[0], id="uint8 tensor"),
    pytest.param(lambda p: Video(FRAMES[:1]).to_tensor()[0].requires_grad_(), FRAMES[0], id="tensor with gradient"),
    pytest.param(lambda p: Video(FRAMES[:1]), FRAMES[0], id="video"),
    pytest.param(lambda p: [Image.fromarray(FRAMES[0])], FRAMES[0], id="list of one"),
]


@pytest.mark.parametrize(("make", "expected"), IMAGES)
def test_every_source_gives_the_same_pixels(tmp_path: Path, make: Callable[[Path], Any], expected: np.ndarray) -> None:
    image = read_condition_image(make(tmp_path), (48, 32))
    assert np.array_equal(image.frames, expected[None]) and image.alpha is None
    assert image.to_tensor().shape == (1, 3, 32, 48) and image.to_pil()[0].size == (48, 32)


@pytest.mark.parametrize("background", [(0, 0, 0), (255, 255, 255), (10, 200, 30)])
@pytest.mark.parametrize("form", ["array", "pil", "path", "tensor"])
def test_alpha_is_composited_on_the_background(tmp_path: Path, background: Any, form: str) -> None:
    sources: dict[str, Any] = {
        "array": RGBA, "pil": Image.fromarray(RGBA), "path": saved(tmp_path / "a.png", RGBA),
        "tensor": torch.from_numpy(RGBA).permute(2, 0, 1),
    }  # fmt: skip
    image = read_condition_image(sources[form], background=background).frames[0]
    assert (image[:, :24] == background).all() and np.array_equal(image[:, 24:], FRAMES[0][:, 24:])


WIDE = np.full((20, 60, 3), 90, np.uint8)
WIDE[:, 20:40] = 200
FITTING: list[Any] = [
    pytest.param((60, 20), "refuse", (60, 20), 0, id="its own size"),
    pytest.param((120, 40), "refuse", (120, 40), 0, id="its aspect ratio"),
    pytest.param((61, 20), "refuse", None, 0, id="another aspect ratio is refused"),
    pytest.param((20, 20), "crop", (20, 20), 0, id="the centre is used"),
    pytest.param((60, 60), "pad", (60, 20), 40, id="between bars"),
]


@pytest.mark.parametrize(("size", "fit", "inner", "bars"), FITTING)
def test_sizes_are_fitted_and_never_stretched(size: Any, fit: str, inner: Any, bars: int) -> None:
    if inner is None:
        with pytest.raises(InputError, match=r"is 60x20 and the clip 61x20.*fit='crop'.*fit='pad'"):
            read_condition_image(WIDE, size, fit)
        return
    image = read_condition_image(WIDE, size, fit, background=(1, 2, 3))
    assert image.size == size and (image.frames[0] == (1, 2, 3)).all(-1).all(1).sum() == bars
    middle = image.frames[0, size[1] // 2, :, 0].astype(int)
    assert (middle > 145).mean() == pytest.approx(1 if fit == "crop" else 1 / 3, abs=0.01)


LENGTHS: list[Any] = [
    pytest.param(6, "hold", [0, 1, 2, 3, 4, 5], None, id="fits"),
    pytest.param(4, "refuse", [0, 1, 2, 3], "has more than the clip's 4 frames: the rest is not used", id="trimmed"),
    pytest.param(8, "hold", [0, 1, 2, 3, 4, 5, 5, 5], "has 6 frames, the clip 8: its last frame is held", id="held"),
]


@pytest.mark.parametrize("form", ["video", "array", "folder", "images"])
@pytest.mark.parametrize(("frames", "short", "chosen", "note"), LENGTHS)
def test_lengths_are_matched_with_a_note(
    tmp_path: Path, form: str, frames: int, short: str, chosen: list[int], note: str | None
) -> None:
    video = Video(FRAMES, 10)
    sources: dict[str, Any] = {"video": video, "array": FRAMES, "images": video.to_pil()}
    source = video.save(tmp_path / "a") if form == "folder" else sources[form]
    found = read_condition_clip(source, frames, short=short)
    assert np.array_equal(found.frames, FRAMES[chosen]) and len(found.notes) == (note is not None)
    assert note is None or note in found.notes[0]
    assert form not in ("video", "folder") or found.fps == 10


MASK = np.zeros((32, 48), bool)
MASK[8:16, 10:30] = True
MASKS: list[Any] = [
    pytest.param(MASK, {}, id="bool"),
    pytest.param(MASK.astype(np.float32), {}, id="float"),
    pytest.param(np.stack([MASK] * 3).astype(np.uint8) * 255, {}, id="clip without channels"),
    pytest.param(Image.fromarray(MASK.astype(np.uint8) * 255), {}, id="pil"),
    pytest.param(MASK.astype(np.uint8) * 100, {"threshold": 0.3}, id="threshold"),
    pytest.param(np.dstack([FRAMES[0], MASK.astype(np.uint8) * 255]), {"from_alpha": True}, id="alpha"),
    pytest.param(torch.from_numpy(MASK)[None].float(), {}, id="tensor"),
]


@pytest.mark.parametrize(("source", "options"), MASKS)
def test_one_mask_is_that_of_all_frames(source: Any, options: Any) -> None:
    mask = read_condition_mask(source, 3, (48, 32), **options)
    assert np.array_equal(mask.mask, np.stack([MASK] * 3)) and mask.notes == ()
    assert mask.to_tensor().shape == (3, 1, 32, 48) and mask.to_pil()[0].getextrema() == (0, 255)


def test_masks_are_fitted_and_stay_binary(tmp_path: Path) -> None:
    mask = read_condition_mask(saved(tmp_path / "a.png", MASK.astype(np.uint8) * 255), 2, (96, 96), "pad")
    assert mask.mask.shape == (2, 96, 96) and mask.mask.sum() == 2 * 4 * MASK.sum()
    assert not mask.mask[:, :16].any() and not mask.mask[:, 80:].any()
    clip_mask = read_condition_mask(np.stack([MASK, ~MASK]), 4)
    assert "last frame is held" in clip_mask.notes[0] and np.array_equal(clip_mask.mask[3], ~MASK)


BAD: list[Any] = [
    pytest.param(lambda: read_condition_image(FRAMES), "has 6 frames; give one image", id="clip for an image"),
    pytest.param(lambda: read_condition_image(3), "image=int is not an image", id="number"),
    pytest.param(lambda: read_condition_image([]), "image=list is not an image", id="empty list"),
    pytest.param(lambda: read_condition_image(FRAMES[0] * 2.0), "floats must be from 0 to 1", id="range"),
    pytest.param(lambda: read_condition_image(FRAMES[0] * np.float32(np.nan)), "from 0 to 1", id="nan"),
    pytest.param(lambda: read_condition_image(FRAMES[0].astype(int)), "is int64; give uint8", id="type"),
    pytest.param(lambda: read_condition_image(torch.zeros(32, 48, 3)), "is a tensor", id="tensor's layout"),
    pytest.param(lambda: read_condition_image(FRAMES[0], fit="crp"), "did you mean 'crop'", id="fit"),
    pytest.param(
        lambda: read_condition_clip([FRAMES[0], FRAMES[1, :9]], 2),
        r"video\[1\] is 48x9 and video\[0\] 48x32",
        id="sizes",
    ),
    pytest.param(
        lambda: read_condition_clip(FRAMES, 7, short="refuse"), "give a longer one, or short='hold'", id="short"
    ),
    pytest.param(lambda: read_condition_clip(FRAMES, 7, short="x"), "short='x' is unknown", id="rule"),
    pytest.param(lambda: read_condition_mask(MASK, threshold=1.0), "threshold=1.0 must be", id="threshold"),
    pytest.param(lambda: read_condition_mask(MASK, from_alpha=True), "has no alpha", id="no alpha"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_other_sources_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
