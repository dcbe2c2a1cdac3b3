"""Saved latents: what a render had finished when its memory ran out, in a file that `Engine.decode_latents` decodes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from videogen.core.errors import CheckpointError, InputError
from videogen.request.resolved import ResolvedRequest

SUFFIX = ".latents.safetensors"


@dataclass(frozen=True)
class SavedLatents:
    """latents [batch, c, f, h, w] after `step` of `steps` model calls; requests: one per sample, as stored; model: its
    identity."""

    latents: torch.Tensor
    step: int
    steps: int
    requests: list[dict[str, Any]]
    model: dict[str, str]


def save_latents(
    latents: torch.Tensor, step: int, steps: int, requests: Sequence[ResolvedRequest], model: dict[str, str]
) -> Path:
    """Write latents into the user's cache folder; returns the file."""
    from safetensors.torch import save_file

    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "videogen" / "latents"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**6:06d}-{requests[0].seed}{SUFFIX}"
    stored = {"step": step, "steps": steps, "requests": [one.to_dict() for one in requests], "model": model}
    partial = path.with_suffix(".partial")
    save_file({"latents": latents.detach().cpu().contiguous()}, partial, {"videogen": json.dumps(stored, default=str)})
    partial.replace(path)
    return path


def read_latents(path: str | os.PathLike[str]) -> SavedLatents:
    """Of a file that `save_latents` wrote. InputError where it is none, CheckpointError where it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as stored:
            found = (stored.metadata() or {}).get("videogen")
            if found is None:
                raise InputError(f"{path} has no latents of a render; give a file that ends in {SUFFIX}")
            return SavedLatents(stored.get_tensor("latents"), **json.loads(found))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give a file that ends in {SUFFIX}") from None
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; it is damaged or no file of latents") from error
