"""Specification of AnimateDiff, from the configurations of a checkpoint. Importing this loads no torch."""

from __future__ import annotations

from typing import Any

from .defaults import Capabilities
from .geometry import ClipLimits, LatentGeometry
from .model_spec import Configurations, ModelSpec, setting

NATIVE_GUIDANCE = "batched"
_NATIVE_LATENTS = 64  # of Stable Diffusion 1.5, where the UNet does not say
#: component -> defaults of its class in diffusers, for configurations that an earlier version wrote
CLASS_DEFAULTS: dict[str, dict[str, Any]] = {
    "unet": {"sample_size": None, "in_channels": 4, "motion_max_seq_length": 32, "time_cond_proj_dim": None},
    "motion_adapter": {"motion_max_seq_length": 32, "conv_in_channels": None},
    "vae": {"block_out_channels": (64,)},
}


def read_spec(configurations: Configurations) -> ModelSpec:
    """The specification; KeyError where the configuration of the UNet, of its motion modules or of the VAE is
    missing."""
    unet, defaults = configurations["unet"], CLASS_DEFAULTS["unet"]
    channels = setting(unet, "in_channels", defaults)
    if unet.get("_class_name") == "UNet2DConditionModel":  # the pipeline adds the adapter's motion modules
        adapter, of_adapter = configurations["motion_adapter"], CLASS_DEFAULTS["motion_adapter"]
        positions = setting(adapter, "motion_max_seq_length", of_adapter)
        channels = setting(adapter, "conv_in_channels", of_adapter) or channels
    else:
        positions = setting(unet, "motion_max_seq_length", defaults)
    # any whole number of latents: the UNet upsamples to its skips' size
    spatial = 2 ** (len(setting(configurations["vae"], "block_out_channels", CLASS_DEFAULTS["vae"])) - 1)
    side = (setting(unet, "sample_size", defaults) or _NATIVE_LATENTS) * spatial
    return ModelSpec(
        native_guidance=NATIVE_GUIDANCE,
        geometry=LatentGeometry(channels, spatial, 1, spatial, single_first=False),
        limits=ClipLimits(frames=int(positions)),
        capabilities=Capabilities(per_frame_timesteps=setting(unet, "time_cond_proj_dim", defaults) is None),
        defaults={"frames": 16, "width": side, "height": side, "fps": 8, "steps": 25, "guidance_scale": 7.5},
        temporal_positions=int(positions),
        temporal_blocks=True,
    )
