"""Motion adapters of AnimateDiff: joined with a Stable Diffusion model, and their configuration from a file's tensors.

No torch here. Guo et al. 2023, "AnimateDiff".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .tensors import Header

#: pipeline of an image model -> that with motion modules
WITH_MOTION = {
    "StableDiffusionPipeline": "AnimateDiffPipeline",
    "StableDiffusionXLPipeline": "AnimateDiffSDXLPipeline",
}
ADAPTER = "motion_adapter"
#: what adapters were trained with, where their base model has other settings
SCHEDULER = {
    "_class_name": "DDIMScheduler", "beta_schedule": "linear", "clip_sample": False, "timestep_spacing": "linspace",
    "steps_offset": 1,
}  # fmt: skip
_DROPPED = ("safety_checker", "requires_safety_checker")
_MODULE = re.compile(r"down_blocks\.(\d+)\.motion_modules\.(\d+)\.(?:temporal_transformer\.)?norm\.weight")
_POSITIONS = re.compile(r"\.(?:pos_encoder|pos_embed)\.pe$")
_HEADS, _GROUPS = 8, 32  # of all published adapters; the tensors do not state them


def add_motion(index: Mapping[str, Any]) -> dict[str, Any]:
    """The index of a pipeline with a motion adapter: of Stable Diffusion's, that of AnimateDiff."""
    joined = {name: value for name, value in index.items() if name not in _DROPPED}
    if index["_class_name"] in WITH_MOTION:
        joined["_class_name"] = WITH_MOTION[index["_class_name"]]
        joined["scheduler"] = ["diffusers", SCHEDULER["_class_name"]]
    return joined | {ADAPTER: ["diffusers", "MotionAdapter"]}


def read_adapter_config(header: Header) -> dict[str, Any]:
    """The configuration of a motion adapter that is one file, from the names and shapes of its tensors."""
    blocks: dict[int, dict[int, int]] = {}
    for name, facts in header.tensors.items():
        if found := _MODULE.search(name):
            blocks.setdefault(int(found[1]), {})[int(found[2])] = facts.shape[0]
    positions = [facts.shape[1] for name, facts in header.tensors.items() if _POSITIONS.search(name)]
    conv_in = header.tensors.get("conv_in.weight")
    return {
        "_class_name": "MotionAdapter",
        "block_out_channels": [blocks[index][0] for index in sorted(blocks)],
        "motion_layers_per_block": max((len(modules) for modules in blocks.values()), default=2),
        "motion_mid_block_layers_per_block": 1,
        "motion_num_attention_heads": _HEADS,
        "motion_norm_num_groups": _GROUPS,
        "motion_max_seq_length": max(positions, default=32),
        "use_motion_mid_block": any(name.startswith("mid_block.") for name in header.tensors),
        "conv_in_channels": None if conv_in is None else conv_in.shape[1],
    }
