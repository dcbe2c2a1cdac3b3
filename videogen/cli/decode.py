"""`videogen decode`: the video of latents that a render saved when it ran out of memory."""

from __future__ import annotations

import argparse
import json

from videogen.core.errors import InputError
from videogen.core.files import check_output
from videogen.core.logs import adopt_third_parties


def run(options: argparse.Namespace) -> int:
    from videogen.engine.engine import Engine
    from videogen.engine.saved_latents import read_latents

    saved = read_latents(options.file)
    if len(saved.requests) > 1:
        raise InputError(
            f"{options.file} has the latents of {len(saved.requests)} clips; decode them from Python with "
            "Engine.decode_latents"
        )
    output = check_output(options.output, options.overwrite)
    adopt_third_parties(options.verbose)
    engine = Engine.load(saved.requests[0]["model"], dtype=saved.requests[0]["dtype"], device=options.device)
    (video,) = engine.decode_latents(options.file)
    video.save(output, overwrite=options.overwrite)
    print(json.dumps({"path": str(output), "frames": len(video)}) if options.json else output)
    return 0
