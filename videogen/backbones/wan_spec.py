"""Specification of Wan 2.1 and 2.2, from the configurations of a checkpoint. Importing this loads no torch."""

from __future__ import annotations

from typing import Any

from .defaults import Capabilities
from .geometry import ClipLimits, LatentGeometry
from .model_spec import PIPELINE, Configurations, ModelSpec, setting

NATIVE_GUIDANCE = "sequential"
#: component -> defaults of its class in diffusers, for configurations that an earlier version wrote
CLASS_DEFAULTS: dict[str, dict[str, Any]] = {
    "transformer": {"patch_size": (1, 2, 2), "in_channels": 16, "rope_max_seq_len": 1024},
    "vae": {"scale_factor_spatial": 8, "scale_factor_temporal": 4},
    PIPELINE: {"expand_timesteps": False},
}


def read_spec(configurations: Configurations) -> ModelSpec:
    """The specification; KeyError where the configuration of the VAE or of every transformer is missing."""
    denoisers = [configurations[name] for name in ("transformer", "transformer_2") if name in configurations]
    if not denoisers:
        raise KeyError("transformer")
    defaults, vae = CLASS_DEFAULTS["transformer"], configurations["vae"]
    patch = tuple(setting(denoisers[0], "patch_size", defaults))
    spatial, temporal = (
        setting(vae, f"scale_factor_{axis}", CLASS_DEFAULTS["vae"]) for axis in ("spatial", "temporal")
    )
    channels = setting(denoisers[0], "in_channels", defaults)
    geometry = LatentGeometry(channels, spatial, temporal, spatial * max(patch[1:]), single_first=True)
    positions = setting(denoisers[0], "rope_max_seq_len", defaults)
    frames, height, width = (positions * size for size in patch)  # in latents
    expands = bool(setting(configurations[PIPELINE], "expand_timesteps", CLASS_DEFAULTS[PIPELINE]))
    return ModelSpec(
        native_guidance=NATIVE_GUIDANCE,
        geometry=geometry,
        limits=ClipLimits(geometry.frame_map.frame_count(frames), height * spatial, width * spatial),
        capabilities=Capabilities(
            first_frame=expands,
            per_frame_timesteps=patch[0] == 1,  # no token spans two frames
            experts=len(denoisers),
        ),
        defaults={"frames": 81, "width": 832, "height": 480, "fps": 16, "steps": 50, "guidance_scale": 5.0},
        # Models with expanded timesteps are trained on images as the first frame, at timestep 0.
        training={"dual_clock": (0.98, 0.95), "clean_prefix": expands},
    )
