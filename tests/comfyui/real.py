"""The real ComfyUI as a host of tests, in this process: the folder that `COMFYUI_PATH` names.

Its model is the embedded DiT as a native Wan. ComfyUI reads no command line when it is imported; what tests need of its
options is set before its modules for devices and attention load.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from tests.comfyui.hosts import count_calls_of, draw
from videogen.comfyui.embedded.native_wan import load_embedded_backbone, load_embedded_weights

SHIFT = 3.0
PROMPT = "a red ball moves right on a black background"
_NODES = "videogen.comfyui.nodes"


def prepare(folder: str) -> None:
    """Make ComfyUI's modules importable, on the CPU."""
    if not (Path(folder) / "comfy" / "cli_args.py").is_file():
        raise RuntimeError(f"COMFYUI_PATH={folder!r} is not a folder of ComfyUI")
    if folder not in sys.path:
        sys.path.append(folder)  # at the end: ComfyUI has a folder `tests`, too
    from comfy.cli_args import args

    args.cpu = args.use_pytorch_cross_attention = True


class Real:
    """Implements `hosts.Host`."""

    def __init__(self) -> None:
        self.noise, self.long_noise = draw((1, 16, 9, 8, 8)), draw((1, 16, 9, 16, 16))  # 33 frames of 64 and 128 px
        self.sparse: dict[str, Any] = {"min_length": 128, "query_block": 64}

    def model(self) -> Any:
        import comfy.sd

        weights, metadata = load_embedded_weights()
        model = comfy.sd.load_diffusion_model_state_dict(weights, metadata=metadata)
        model.model.model_sampling.set_parameters(shift=SHIFT)
        return model

    def sigmas(self, steps: int) -> torch.Tensor:
        import comfy.samplers

        found: torch.Tensor = comfy.samplers.calculate_sigmas(_sampling(), "simple", steps)
        return found

    def sample(
        self, model: Any, sampler: str = "euler", *, sigmas: Any = None, steps: int = 3, noise: Any = None,
        latent: Any = None, noise_mask: Any = None, batched: bool = True, interrupted: bool = False,
    ) -> torch.Tensor:  # fmt: skip
        import comfy.model_patcher
        import comfy.samplers

        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(*_conditions())
        guider.set_cfg(5.0)
        noise = self.noise if noise is None else noise
        chosen = comfy.samplers.KSAMPLER(_interrupt) if interrupted else comfy.samplers.sampler_object(sampler)
        arguments = (
            noise,
            torch.zeros_like(noise) if latent is None else latent,
            chosen,
            self.sigmas(steps) if sigmas is None else sigmas.clone(),
            noise_mask,
        )
        if batched:
            found: torch.Tensor = guider.sample(*arguments, disable_pbar=True, seed=1)
            return found
        with patch.object(comfy.model_patcher.ModelPatcher, "get_free_memory", lambda *_: 0):
            found = guider.sample(*arguments, disable_pbar=True, seed=1)
        return found

    def count_calls(self, model: Any) -> list[int]:
        return count_calls_of(model.model.diffusion_model.patch_embedding)

    def load_nodes(self, module: str) -> Any:
        for name in [name for name in sys.modules if name.startswith(_NODES)]:
            del sys.modules[name]  # those that another test loaded over the double
        return import_module(f"{_NODES}.{module}")


def _interrupt(model: Any, x: Any, sigmas: Any, extra_args: Any, callback: Any, disable: Any) -> Any:
    """A sampler that is interrupted after its first step."""
    from comfy.k_diffusion.sampling import sample_euler

    sample_euler(model, x, sigmas[:2], extra_args, callback, disable)
    raise KeyboardInterrupt


@cache
def _sampling() -> Any:
    return Real().model().get_model_object("model_sampling")


@cache
def _conditions() -> tuple[Any, Any]:
    """Positive and negative CONDITIONING."""
    from videogen.comfyui.embedded.parts import EmbeddedTextEncoder

    encoder = EmbeddedTextEncoder(load_embedded_backbone())
    positive, negative = (encoder.encode_from_tokens_scheduled(encoder.tokenize(text)) for text in (PROMPT, ""))
    return positive, negative
