"""RAFT optical flow (Teed and Deng, ECCV 2020) from torchvision, if torchvision and its weights are installed. Nothing
is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from videogen.core.errors import UnsupportedError

_MULTIPLE, _LEAST_SIDE = 8, 128


def build_raft() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function from two images uint8 [height, width, 3] to flow float32 [2, height, width].

    UnsupportedError where torchvision, or its weights in torch's hub folder, are missing.
    """
    import torch

    return estimate_by(_load_model(torch).eval())


def estimate_by(model: Any, device: Any = "cpu") -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """As `build_raft`, by a given model on a device: from two images [1, 3, height, width] in -1..1 to a list of flows
    [1, 2, height, width], the best one last."""
    import torch

    @torch.inference_mode()
    def pair(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        height, width = first.shape[:2]
        prepared = [torch.from_numpy(_pad(image)).permute(2, 0, 1)[None] / 127.5 - 1 for image in (first, second)]
        flow = model(*(image.to(device) for image in prepared))[-1]
        return np.array(flow[0, :, :height, :width].float().cpu().numpy())

    return pair


def _load_model(torch: Any) -> Any:
    try:
        from torchvision.models.optical_flow import Raft_Large_Weights, raft_large
    except ImportError as error:
        raise UnsupportedError(
            "RAFT needs torchvision, which is not installed; install it or use method='dis'"
        ) from error
    weights = Raft_Large_Weights.C_T_SKHT_V2
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    if not file.is_file():
        raise UnsupportedError(f"RAFT's weights {file} are missing; get them from {weights.url} or use method='dis'")
    model = raft_large(weights=None, progress=False)
    model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return model


def _pad(image: np.ndarray) -> np.ndarray:
    """Pad to sides that RAFT accepts, by repeating the border below and to the right."""
    more = [max(_LEAST_SIDE, -(-side // _MULTIPLE) * _MULTIPLE) - side for side in image.shape[:2]]
    return np.pad(image, ((0, more[0]), (0, more[1]), (0, 0)), mode="edge").astype(np.float32)
