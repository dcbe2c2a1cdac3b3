"""ComfyUI's images as frames, the same for all nodes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from videogen.comfyui.images import to_frames, to_images
from videogen.core.errors import InputError


def test_levels_are_the_same_after_a_round_trip() -> None:
    frames = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    images = to_images(frames)
    assert np.array_equal(to_frames(images), frames)
    assert np.array_equal((images * 255).byte().numpy(), frames), "core's Save Image truncates"
    alpha = torch.cat([images * 4 - 1, images[..., :1]], -1)
    assert np.array_equal(to_frames(alpha), to_frames((images * 4 - 1).clamp(0, 1)))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        pytest.param(torch.zeros(1, 8, 8, 5), r"background=\[1, 8, 8, 5\] must be an IMAGE", id="five channels"),
        pytest.param(torch.zeros(1, 8, 8), r"background=\[1, 8, 8\] must be", id="no channels"),
        pytest.param(torch.zeros(0, 8, 8, 3), "at least one frame", id="no frames"),
        pytest.param("a", r"background=\[\] must be", id="not an image"),
        pytest.param(torch.full((1, 8, 8, 3), torch.inf), "background has NaN or infinite", id="infinite values"),
    ],
)
def test_images_are_refused(images: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_frames(images, "background")
