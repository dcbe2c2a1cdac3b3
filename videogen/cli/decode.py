"""`videogen decode`: the videos of latents that a render saved when it ran out of memory."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from videogen.core.files import check_output
from videogen.core.logs import adopt_third_parties
from videogen.request.request import RenderRequest

if TYPE_CHECKING:
    from videogen.engine.engine import Engine
    from videogen.engine.saved_latents import SavedLatents


def run(options: argparse.Namespace) -> int:
    from videogen.engine.saved_latents import read_latents

    saved = read_latents(options.file)
    outputs = [check_output(path, options.overwrite) for path in name_outputs(options.output, len(saved.requests))]
    adopt_third_parties(options.verbose)
    videos = _load(saved, options.device).decode_latents(options.file)
    for video, output in zip(videos, outputs, strict=True):
        video.save(output, overwrite=options.overwrite)
        print(json.dumps({"path": str(output), "frames": len(video)}) if options.json else output)
    return 0


def name_outputs(output: Path, count: int) -> list[Path]:
    """The file of each clip: numbered from 1 where there are several, such as `clip-1.mp4`."""
    if count == 1:
        return [output]
    return [output.with_stem(f"{output.stem}-{number}") for number in range(1, count + 1)]


def _load(saved: SavedLatents, device: str | None) -> Engine:
    """The model of the latents, with all of its sources, as the render had loaded it; on another device where one is
    named, and without offloading or compilation: the VAE alone computes."""
    from videogen.engine.engine import Engine

    values = {**saved.requests[0], "device": device, "memory": None, "offload": None, "compile": False}
    request = RenderRequest.from_dict(values)
    return Engine.load(request.model or "embedded", **asdict(request.load_options()))
