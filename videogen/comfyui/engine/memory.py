"""Memory that ComfyUI's models and the engine share on an accelerator."""

from __future__ import annotations

import torch


def make_room(device: torch.device) -> None:
    """Move the models that ComfyUI has on an accelerator to the CPU: it loads them again when it needs them."""
    if device.type == "cpu":
        return
    from comfy.model_management import soft_empty_cache, unload_all_models

    unload_all_models()
    soft_empty_cache()
