"""Small stand-ins for what the documentation's commands take: models, lengths and input files."""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from videogen import Video
from videogen.backbones import registry

#: Fields of `defaults.json` of the embedded models, and of the length for which they were trained.
SMALL = {
    "embedded": ({"frames": 17, "steps": 2, "fps": 8}, {"single_pass_frames": 21}),
    "embedded-unet": ({"frames": 8, "steps": 2}, {"single_pass_frames": 12}),
}
MOST = {"--frames": 41, "--seconds": 12}
HUB_SIZE = "32x32"


def write_small_models(folder: Path) -> dict[str, Path]:
    """The embedded models with other defaults: few frames and steps."""
    made = {}
    for name, (defaults, training) in SMALL.items():
        source, target = registry.EMBEDDED[name], folder / name
        target.mkdir()
        for entry in source.iterdir():
            (target / entry.name).symlink_to(entry)
        values = json.loads((source / "defaults.json").read_text(encoding="utf-8"))
        values["defaults"] |= defaults
        values["training"] |= training
        (target / "defaults.json").unlink()
        (target / "defaults.json").write_text(json.dumps(values), encoding="utf-8")
        made[name] = target
    return made


def share_models(patch: pytest.MonkeyPatch, loaded: dict[Any, Any]) -> None:
    """Engines of one model share what was loaded first."""
    load = registry.load

    def load_once(name: str, **options: Any) -> Any:
        key = registry.EMBEDDED.get(name, name), *(options.get(option) for option in ("dtype", "device", "offload"))
        if key not in loaded:
            loaded[key] = load(name, **options)
        return loaded[key]

    patch.setattr("videogen.engine.engine.load", load_once)


def shorten(arguments: list[str], hub_model: Path) -> list[str]:
    """The arguments with a tiny model in place of one of the hub, and long clips cut short. Without a GPU also without
    `--offload`, which is refused there."""
    short = list(arguments)
    for index, (flag, value) in enumerate(pairwise(arguments), 1):
        if flag in MOST:
            short[index] = str(min(int(value), MOST[flag]))
        elif flag == "--model" and value not in registry.EMBEDDED:
            short[index] = str(hub_model)
            short += ["--frames", "5", "--steps", "2", "--size", HUB_SIZE]
    if "--offload" in short and not torch.cuda.is_available():
        at = short.index("--offload")
        del short[at : at + 2]
    return short


def write_inputs(options: argparse.Namespace, files: dict[str, str]) -> None:
    """Files that a command reads and that are not there: as the text shows them, or generated."""
    for name in ("config", "story", "prompts", "motion", "motion_from", "first_frame", "what"):
        path = getattr(options, name, None)
        if path is None or Path(path).exists():
            continue
        path = Path(path)
        if path.name in files:
            path.write_text(files[path.name], encoding="utf-8")
        elif path.suffix in (".toml", ".txt"):
            path.write_text(GENERATED[name], encoding="utf-8")
        else:
            Video(moving_square(), fps=8).save(path)


GENERATED = {
    "prompts": "# one per line\na red ball moves right\na blue star spins\n",
    "config": 'prompt = "a red ball moves right on a black background"\nseed = 3\n',
    "story": '[[shot]]\nprompt = "a red ball moves right on a black background"\nseconds = 4\n\n[[shot]]\n'
    'prompt = "a blue ball moves left on a black background"\ntransition = "cut"\nseconds = 2\n',
    "motion": '[[layer]]\nkind = "camera"\nzoom = 1.2\n',
}


def moving_square() -> np.ndarray:
    """A bright textured square that moves right by 1 px per frame: uint8 [17, 64, 64, 3]."""
    texture = np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8)
    frames = np.full((17, 64, 64, 3), 40, np.uint8)
    for index, frame in enumerate(frames):
        frame[20:44, 8 + index : 32 + index] = texture
    return frames
