"""Saving in diffusers layout, without paths of the machine that trained."""

from __future__ import annotations

import json
from pathlib import Path

from diffusers import DiffusionPipeline, ModelMixin


def save_clean(model: ModelMixin | DiffusionPipeline, folder: Path) -> None:
    """`save_pretrained` to safetensors; removes `_name_or_path`, which would record where the training ran."""
    model.save_pretrained(folder, safe_serialization=True)
    for path in folder.rglob("*config.json"):
        config = json.loads(path.read_text(encoding="utf-8"))
        if config.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
