"""How well a model follows a motion that its prompt does not describe.

control: an object dragged along a random straight path, for each held-out prompt without its motion words: by warped
noise (for models trained with it) and by dual-clock sampling at several strengths, by motion words in the prompt, and
without control, with the same seeds. camera: pans and zooms over textured backgrounds against their targets. composed:
drags under a moving camera. transfer: the motion of a rendered clip and of a real video. Measured are the object's
centre (the judge's) and the background's flow. Writes benchmarks/motion-PART-MODEL.json.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from tools.bench.files import BENCHMARKS, changed_options, write_report
from tools.bench.motion.camera import measure_cameras
from tools.bench.motion.composed import measure_composed
from tools.bench.motion.control import measure_control
from tools.bench.motion.transfer import measure_transfer
from videogen import Engine

PARTS = {
    "control": measure_control, "camera": measure_cameras, "composed": measure_composed, "transfer": measure_transfer,
}  # fmt: skip
#: of the options that decide the figures
DEFAULTS: dict[str, Any] = {
    "prompts": 64,
    "steps": None,
    "strengths": [0.3, 0.5, 0.7, 0.9, 1.0],
    "dual_clock": ["dual_clock"],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("model", nargs="?", default="embedded", help="name or folder")
    parser.add_argument("--prompts", type=int, default=DEFAULTS["prompts"], help="how many of the 64 held-out prompts")
    parser.add_argument("--steps", type=int, default=DEFAULTS["steps"], help="default: the model's")
    parser.add_argument("--strengths", type=float, nargs="*", default=DEFAULTS["strengths"])
    parser.add_argument(
        "--warped",
        action="store_true",
        help="control: by warped noise, too, for a model not known to be trained with it",
    )
    parser.add_argument(
        "--dual-clock",
        nargs="*",
        default=DEFAULTS["dual_clock"],
        help="noise levels to try, such as dual_clock:0.9,0.6",
    )
    parser.add_argument(
        "--video",
        type=Path,
        action="append",
        default=[],
        help="transfer: a driving video, may be repeated (default: a hand and a cup)",
    )
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=BENCHMARKS, help="folder of the reports")


def run(options: argparse.Namespace) -> int:
    if options.threads:
        torch.set_num_threads(options.threads)
    engine, label = Engine.load(options.model), Path(options.model).name
    start = time.perf_counter()
    figures = PARTS[options.part](engine, options)
    figures["seconds"] = round(time.perf_counter() - start, 1)
    command = f"motion {options.part} {label}" + changed_options(options, DEFAULTS, DEFAULTS)
    write_report(options.out / f"motion-{options.part}-{label}.json", command, figures, model=options.model)
    return 0
