"""Long videos: continuity policies, memory over length, stories, first frames.

policies: held-out prompts at ten times the model's native length under every continuity policy, with the same seeds:
seams, drift, repetition, freezing, motion and cost; the judge looks at each stretch of one clip's length. Resumes where
it was stopped. length: one video of 200 and one of 2,000 frames, each in fresh processes: peak memory, how much it grew
after the first 200 frames, seconds per segment. story: prompts that change at a given second: how soon colour and
motion change, and whether the shape stays. first-frame: clips of 1 to 1.5 times the native length, in one pass and by
default settings: in how many the first frame has the prompt's colour. Writes benchmarks/long-PART-MODEL.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from tools.bench.files import BENCHMARKS, changed_options, write_report
from tools.bench.long.first_frame import measure_first_frames
from tools.bench.long.length import measure_length, render_one_length
from tools.bench.long.policies import measure_policies
from tools.bench.long.story import measure_story
from videogen import Engine

DEFAULTS: dict[str, Any] = {"prompts": 16, "times": 10, "steps": 20}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("part", choices=("policies", "length", "story", "first-frame"))
    parser.add_argument("model", nargs="?", default="embedded", help="name or folder")
    parser.add_argument("--prompts", type=int, default=DEFAULTS["prompts"])
    parser.add_argument("--times", type=int, default=DEFAULTS["times"], help="policies: multiples of the native length")
    parser.add_argument("--policies", nargs="*", help="policies: which, as --continuity takes them")
    parser.add_argument("--steps", type=int, default=DEFAULTS["steps"])
    parser.add_argument("--short", type=int, default=200, help="length: frames of the short video")
    parser.add_argument("--long", type=int, default=2000, help="length: frames of the long video")
    parser.add_argument(
        "--repeats", type=int, default=3, help="length: runs of each; the least peak and the median time count"
    )
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=BENCHMARKS, help="folder of the reports")


def run(options: argparse.Namespace) -> int:
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.one:
        print(json.dumps(render_one_length(options)))
        return 0
    label = Path(options.model).name
    path = Path(options.out) / f"long-{options.part}-{label}.json"
    if options.part == "policies":
        figures = measure_policies(Engine.load(options.model), options, path)
    elif options.part == "story":
        figures = measure_story(Engine.load(options.model), options)
    elif options.part == "first-frame":
        figures = measure_first_frames(Engine.load(options.model), options)
    else:
        figures = measure_length(options)
    command = f"long {options.part} {label}" + changed_options(options, DEFAULTS, DEFAULTS)
    command += f" --policies {' '.join(figures['policies'])}" if options.policies else ""
    write_report(path, command, figures, model=options.model)
    return 0
