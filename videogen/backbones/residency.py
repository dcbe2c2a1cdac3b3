"""Residency: which weights are on the device at which time, and in which form. No torch here.

A plan for a given memory chooses one (`videogen/planning/`); `residency_hooks.apply` sets it up with the hooks of
diffusers and accelerate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PlacementRow:
    """Where weights rest. accelerator, cpu: on which kinds of device it has an effect."""

    name: str
    description: str
    accelerator: bool = True
    cpu: bool = False


PLACEMENTS: dict[str, PlacementRow] = {
    row.name: row
    for row in (
        PlacementRow("device", "all weights on the device", cpu=True),
        PlacementRow("text-freed", "the text encoders' weights are dropped once the prompt is encoded, and read again "
                     "for the next one", accelerator=False, cpu=True),
        PlacementRow("model", "each component on the device only while it computes"),
        PlacementRow("block", "the denoiser block by block, the next one copied meanwhile; others layer by layer"),
        PlacementRow("leaf", "every component layer by layer, the next one copied meanwhile"),
    )
}  # fmt: skip


#: offload= of a model -> its placement
OFFLOADS = {"model": "model", "sequential": "leaf"}


@dataclass(frozen=True)
class Residency:
    """placement: of `PLACEMENTS`. fp8: the denoiser's layers are stored in 8-bit floating point, and cast for each
    call; tiling: the VAE decodes in tiles; slicing: one clip of a batch after another."""

    placement: str = "device"
    fp8: bool = False
    tiling: bool = False
    slicing: bool = False

    @property
    def changes_values(self) -> int:
        """How many of its means change the frames, by rounding or at seams."""
        return int(self.fp8) + int(self.tiling)

    def describe(self) -> str:
        """`model offload, VAE tiling`."""
        names = {"device": "on device", "text-freed": "text encoder freed"}
        parts = [names.get(self.placement, f"{self.placement} offload")]
        parts += ["fp8 storage"] if self.fp8 else []
        parts += ["VAE tiling"] if self.tiling else []
        parts += ["VAE slicing"] if self.slicing else []
        return ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        return {
            "placement": self.placement, "fp8": self.fp8, "vae_tiling": self.tiling, "vae_slicing": self.slicing,
        }  # fmt: skip
