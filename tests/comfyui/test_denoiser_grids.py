"""Token layouts of denoisers, by their attributes and class names: where the video lies in each sequence."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from videogen.comfyui.hooks.denoiser_grids import find_layout

VIDEO = torch.zeros(1, 4, 3, 8, 12)


def denoiser(names: str, **attributes: Any) -> Any:
    """An object whose class has these names, the last one first to inherit from."""
    kind: type = object
    for name in names.split():
        kind = type(name, (kind,), {})
    made = kind()
    made.__dict__.update(attributes)
    return made


WAN = {"patch_size": (1, 2, 2), "ref_conv": None}
REFERENCE = torch.zeros(1, 4, 8, 12)


@pytest.mark.parametrize(
    ("model", "given", "extra", "exact"),
    [
        pytest.param(denoiser("WanModel", **WAN), {}, 0, (0, 0), id="Wan: the video alone"),
        pytest.param(denoiser("WanModel", **WAN), {}, 24, (0, 24), id="Wan: context latents behind"),
        pytest.param(
            denoiser("WanModel", **{**WAN, "ref_conv": 1}), {"reference_latent": REFERENCE}, 48, (24, 24),
            id="Wan: a reference before, context behind",
        ),
        pytest.param(
            denoiser("WanModel WanModel_S2V", **WAN), {"reference_latent": REFERENCE}, 48, (0, 48),
            id="Wan S2V: reference and motion behind",
        ),
        pytest.param(
            denoiser("WanModel SCAILWanModel SCAIL2WanModel", **WAN),
            {"reference_latent": torch.zeros(1, 4, 2, 8, 12)}, 60, (48, 12), id="SCAIL: references before, pose behind",
        ),
        pytest.param(denoiser("HunyuanVideo", patch_size=[1, 2, 2]), {}, 7, (7, 0), id="HunyuanVideo: text before"),
        pytest.param(denoiser("AsymmDiTJoint", patch_size=2), {}, 7, (0, 7), id="Mochi: text behind"),
        pytest.param(
            denoiser("Kandinsky5", patch_size=(1, 2, 2)), {}, 7, None, id="Kandinsky: a longer text is not the video"
        ),
        pytest.param(
            denoiser("LTXBaseModel LTXAVModel", patchifier=denoiser("P", patch_size=(1, 1, 1))), {}, 7, None,
            id="LTX-AV: a longer sound is not the video",
        ),
        pytest.param(denoiser("MiniTrainDIT", patch_spatial=2, patch_temporal=1), {}, 0, (0, 0), id="Cosmos"),
        pytest.param(denoiser("CogVideoX", patch_size=2, patch_size_t=2), {}, 7, (7, 0), id="CogVideoX 1.5: padded"),
    ],
)  # fmt: skip
def test_tokens_next_to_the_video(model: Any, given: dict[str, Any], extra: int, exact: Any) -> None:
    layout = find_layout(model, VIDEO, given)
    assert layout is not None
    assert layout.exact_tokens(layout.grid.video_tokens + extra) == exact
    assert layout.exact_tokens(layout.grid.video_tokens - 1) is None


def test_guide_frames_of_ltx_are_no_video() -> None:
    model = denoiser("LTXBaseModel LTXVModel", patchifier=denoiser("P", patch_size=(1, 1, 1)))
    guides = torch.zeros(1, 3, 96, 2)  # one of three frames
    layout = find_layout(model, VIDEO, {"keyframe_idxs": guides})
    assert layout is not None and (layout.grid.frames, layout.grid.video_tokens) == (2, 192)
    assert layout.exact_tokens(192 + 40) == (0, 40)  # tokens of guides may be left out
    assert layout.exact_tokens(192 + 97) is None


@pytest.mark.parametrize("latents", [torch.zeros(1, 4, 8, 12), torch.zeros(1, 1, 99)], ids=["image", "packed"])
def test_other_latents_have_no_layout(latents: torch.Tensor) -> None:
    assert find_layout(denoiser("WanModel", **WAN), latents, {}) is None
    assert find_layout(denoiser("WanModel", **WAN), [VIDEO, latents], {}) is not None
