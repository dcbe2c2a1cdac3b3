"""Base of a single file: the repository that has the rest of its pipeline, from the names and shapes of its tensors.

The library's own table for single files, with rows for models that it takes for others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from videogen.core.errors import CheckpointError

from .names import HubId
from .tensors import Header

_WAN_PATCHES = ("patch_embedding.weight", "model.diffusion_model.patch_embedding.weight")
_WAN_22_5B, _WAN_22_T2V, _WAN_22_I2V = (
    f"Wan-AI/Wan2.2-{name}-Diffusers" for name in ("TI2V-5B", "T2V-A14B", "I2V-A14B")
)
_WAN_21_T2V, _WAN_21_I2V = (f"Wan-AI/Wan2.1-{name}-Diffusers" for name in ("T2V-14B", "I2V-14B-480P"))
_OTHER = "v1"  # what the library answers where nothing else fits


def detect_base(header: Header, *, two_experts: bool = False) -> HubId:
    """The repository that completes a file. CheckpointError where the file is of no model that is known.

    two_experts: whether a second denoiser is given, of Wan 2.2: its files have the shapes of Wan 2.1's.
    """
    found = _detect_wan22(header) or _ask_library(header)
    if two_experts:
        found = {_WAN_21_T2V: _WAN_22_T2V, _WAN_21_I2V: _WAN_22_I2V}.get(found or "", found)
    if found is None:
        raise CheckpointError(
            f"{header.path} does not state of which model it is: none of its {len(header.tensors)} tensors, such as "
            f"{next(iter(header.tensors))}, is one that is known; give the rest of its pipeline as base=, a folder or "
            "hub id"
        )
    return HubId(found)


def _detect_wan22(header: Header) -> str | None:
    """Wan 2.2 with 5 B parameters, by its latents of 48 channels."""
    patch = next((header.tensors[name] for name in _WAN_PATCHES if name in header.tensors), None)
    return _WAN_22_5B if patch is not None and len(patch.shape) > 1 and patch.shape[1] == 48 else None


def _ask_library(header: Header) -> str | None:
    from diffusers.loaders import single_file_utils as library

    shapes = {name: _Shape(facts.shape) for name, facts in header.tensors.items()}
    try:
        kind = library.infer_diffusers_model_type(shapes)
        row: Mapping[str, Any] = library.DIFFUSERS_DEFAULT_PIPELINE_PATHS[kind]
    except Exception:  # of a file with some names of a model and not its shapes
        return None
    if kind == _OTHER and library.CHECKPOINT_KEY_NAMES[_OTHER] not in shapes:
        return None
    return str(row["pretrained_model_name_or_path"])


class _Shape:
    """A tensor's shape, where the library reads one."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
