"""A ComfyUI without its server, with the embedded model on its own samplers."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

CFG, SCHEDULER = 3.0, "simple"  # as the embedded model's defaults


@dataclass(frozen=True)
class Host:
    """nodes: the pack's, by class name; model, clip: the embedded ones."""

    nodes: dict[str, Any]
    model: Any
    clip: Any

    def sample(
        self, model: Any, prompt: str, seed: int, *, sampler: str = "euler", steps: int = 20, side: int = 64,
        frames: int = 33,
    ) -> torch.Tensor:  # fmt: skip
        """Final latents of a clip, in the model's own scale. side: width and height in px."""
        import comfy.sample

        empty = torch.zeros(1, 16, (frames - 1) // 4 + 1, side // 8, side // 8)
        noise = comfy.sample.prepare_noise(empty, seed)
        found = comfy.sample.sample(
            model, noise, steps, CFG, sampler, SCHEDULER, self._encode(prompt), self._encode(""), empty,
            seed=seed, disable_pbar=True,
        )  # fmt: skip
        scaled: torch.Tensor = model.model.process_latent_in(found)
        return scaled

    def _encode(self, text: str) -> Any:
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))


def load_host(folder: Path) -> Host:
    """The ComfyUI in a folder, on the CPU. The process keeps it: its modules and options are global."""
    sys.path.append(str(folder))  # at the end: it has folders of common names
    from comfy.cli_args import args

    args.cpu = args.use_pytorch_cross_attention = True
    from videogen.comfyui.entry import load_nodes

    nodes: dict[str, Any] = {node.__name__: node for node in load_nodes()}
    (model,) = nodes["LoadEmbeddedModel"].execute().result
    (clip,) = nodes["LoadEmbeddedTextEncoder"].execute().result
    return Host(nodes, model, clip)
