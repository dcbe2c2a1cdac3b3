"""Options of LoRAs and textual inversions, and their files in a configuration."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videogen.backbones.lora.embedding_spec import split_embedding
from videogen.backbones.lora.spec import split_lora
from videogen.core.errors import InputError


def add_options(render: argparse.ArgumentParser) -> None:
    """The options, in a group of their own."""
    group = render.add_argument_group(
        "LoRAs (pip install 'videogen[lora]'; few-step LoRAs set solver, steps, guidance and shift, if you do not)"
    )
    group.add_argument(
        "--lora", dest="loras", action="append", metavar="FILE[:WEIGHT][@START-END]",
        help="safetensors, such as style.safetensors:0.8, or on for the first half of the steps: "
        "speed.safetensors@0-0.5; high=FILE or low=FILE for one expert of Wan 2.2; repeatable",
    )  # fmt: skip
    group.add_argument(
        "--embedding", dest="embeddings", action="append", metavar="[TOKEN=]FILE",
        help="a textual inversion for a word of the prompt (models that read it with CLIP); repeatable",
    )  # fmt: skip
    group.add_argument(
        "--shift",
        type=float,
        metavar="S",
        help="shift of a flow model's steps towards noise (default: the checkpoint's)",
    )


def locate_files(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """`loras` and `embeddings` of a configuration file, their files relative to its folder."""
    found: dict[str, Any] = {}
    for name, split in (("loras", split_lora), ("embeddings", split_embedding)):
        given = values.get(name)
        if given is None:
            continue
        if not isinstance(given, list):
            raise InputError(f"{name}={given!r} must be a list, such as {name} = ['FILE.safetensors']")
        found[name] = [_locate(split(value), folder) for value in given]
    return found


def _locate(value: Any, folder: Path) -> Any:
    if isinstance(value, Mapping) and isinstance(value.get("file"), str):
        return {**value, "file": str((folder / Path(value["file"]).expanduser()).absolute())}
    return value
