"""Conditions as a backbone is given them: of the clip's size and length, unchanged where they have both."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.tiny import parts
from tests.tiny.table import load_rows
from videogen import InputError, RenderRequest, Video
from videogen.backbones.hosting.backbone import HostedBackbone
from videogen.core.files import sha256
from videogen.request.conditions import digest_of
from videogen.sampling.condition_reading import ReadConditions, read_conditions

IMAGES, EDITS, INPAINTS = "WanImageToVideoPipeline:experts", "WanVideoToVideoPipeline", "WanVACEPipeline"


@cache
def backbone(name: str) -> HostedBackbone:
    return HostedBackbone(load_rows()[name].build(), name, "tiny", {"width": 32, "height": 32, "frames": 5})


def read(name: str, size: tuple[int, int] = (32, 32), frames: int = 5, **conditions: Any) -> ReadConditions:
    request = RenderRequest("a red ball", width=size[0], height=size[1], frames=frames, conditions=conditions)
    return read_conditions(request.resolve(backbone(name)), backbone(name))


def pixels(image: Any) -> np.ndarray:
    return np.asarray(image)


def forms(image: Image.Image, folder: Path) -> dict[str, Any]:
    """One image in every form that is taken."""
    array = pixels(image)
    path = folder / "image.png"
    image.save(path)
    return {
        "a file": path, "text": str(path), "Pillow": image, "an array": array, "floats": array / np.float32(255),
        "a tensor": parts.as_tensor([image])[0], "a video": Video(array[None]),
    }  # fmt: skip


def test_an_image_of_the_clip_s_size_is_unchanged_in_every_form(tmp_path: Path) -> None:
    image = parts.image(32, 32, 40)
    for form, value in forms(image, tmp_path).items():
        (given,) = read(IMAGES, image=value).given
        assert (given.value.mode, given.value.size) == ("RGB", (32, 32)), form
        assert np.array_equal(pixels(given.value), pixels(image)), form


def test_a_clip_of_the_clip_s_size_and_length_is_unchanged() -> None:
    clip = parts.clip(5, 32, 32)
    (given,) = read(EDITS, video=clip).given
    assert len(given.value) == 5
    assert all(np.array_equal(pixels(one), pixels(other)) for one, other in zip(given.value, clip, strict=True))


def halves(width: int, height: int) -> Image.Image:
    """Red at the left, blue at the right."""
    array = np.zeros((height, width, 3), np.uint8)
    array[:, : width // 2, 0] = array[:, width // 2 :, 2] = 255
    return Image.fromarray(array)


@pytest.mark.parametrize(
    ("fit", "corner", "left"),
    [
        pytest.param("crop", (255, 0, 0), (255, 0, 0), id="cropped: no bars"),
        pytest.param("pad", (0, 0, 0), (255, 0, 0), id="padded: bars above and below"),
    ],
)
def test_another_shape_is_never_stretched(fit: str, corner: tuple[int, ...], left: tuple[int, ...]) -> None:
    (given,) = read(IMAGES, image=halves(64, 32), fit=fit).given
    array = pixels(given.value)
    assert array.shape == (32, 32, 3)
    assert tuple(array[0, 0]) == corner and tuple(array[16, 0]) == left and tuple(array[16, -1]) == (0, 0, 255)


def test_images_are_upright_and_opaque(tmp_path: Path) -> None:
    turned, image = tmp_path / "turned.jpg", halves(64, 32)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.rotate(90, expand=True).save(turned, exif=exif, quality=100)
    (given,) = read(IMAGES, (64, 32), image=turned).given
    assert abs(pixels(given.value).astype(int) - pixels(image)).mean() < 3
    clear = Image.new("RGBA", (32, 32), (255, 255, 255, 0))
    (given,) = read(IMAGES, image=clear).given
    assert pixels(given.value).max() == 0


def test_clips_are_trimmed_and_held() -> None:
    clip = parts.clip(9, 32, 32)
    (given,) = read(EDITS, video=clip).given
    assert len(given.value) == 5 and np.array_equal(pixels(given.value[-1]), pixels(clip[4]))
    (given,) = read(EDITS, video=clip[:2]).given
    assert len(given.value) == 5 and np.array_equal(pixels(given.value[-1]), pixels(clip[1]))


def test_one_mask_is_that_of_all_frames_and_has_two_values() -> None:
    clip, ramp = parts.clip(5, 32, 32), Image.fromarray(np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1)))
    given = {one.kind: one.value for one in read(INPAINTS, video=clip, mask=ramp).given}
    assert len(given["mask"]) == 5 and given["mask"][0].mode == "L"
    assert np.array_equal(np.unique(pixels(given["mask"][0])), [0, 255])
    assert np.array_equal(pixels(given["mask"][0]) == 255, pixels(ramp) > 127)


def test_references_and_a_face_are_as_large_as_they_are() -> None:
    (given,) = read(INPAINTS, references=[parts.image(24, 40)]).given
    assert given.value.size == (24, 40)
    control = {"pose": parts.clip(5, 32, 32), "face": parts.clip(5, 16, 16)}
    found = {one.key: one.value for one in read("WanAnimatePipeline", image=parts.image(32, 32), control=control).given}
    assert found["control:face"][0].size == (16, 16) and found["control:pose"][0].size == (32, 32)


def test_a_video_that_is_continued_is_not_held() -> None:
    (given,) = read("AnyFlowPipeline", video=parts.clip(1, 32, 32)).given
    assert len(given.value) == 1


def test_records_name_files_by_their_content_and_objects_by_digest(tmp_path: Path) -> None:
    image = parts.image(32, 32)
    image.save(tmp_path / "a.png")
    found = read(IMAGES, image=tmp_path / "a.png", last_image=image).records
    assert found == (
        {"kind": "image", "file": str(tmp_path / "a.png"), "sha256": sha256(tmp_path / "a.png")},
        {"kind": "last_image", "digest": digest_of(image)},
    )


def test_a_folder_s_digest_depends_on_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    before = sha256(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert sha256(tmp_path) != before
    with pytest.raises(InputError, match="cannot read"):
        sha256(tmp_path / "none")
