"""The nodes on a real ComfyUI, with the embedded model on its own samplers, on the CPU.

overhead: what each node adds to a step at its exact setting, where its result is bit-identical; writes
benchmarks/comfyui-overhead.json. calibrate: the factor between propagation's own sum of errors and the final error,
for each sampler and number of steps, into videogen/propagation/calibration.json. promise: renders on other prompts at
each max_error, and the fraction within it; writes benchmarks/comfyui-promise.json.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from tools.bench.comfyui.calibrate import write_calibrations
from tools.bench.comfyui.host import load_host
from tools.bench.comfyui.overhead import measure_overhead
from tools.bench.comfyui.promise import measure_promise
from tools.bench.files import BENCHMARKS, changed_options, write_report
from videogen import InputError

VARIABLE = "COMFYUI_PATH"
PARTS = {"overhead": measure_overhead, "promise": measure_promise}
DEFAULTS = {"renders": 12}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("part", choices=(*PARTS, "calibrate"))
    parser.add_argument("--comfyui", type=Path, default=os.environ.get(VARIABLE), help=f"its folder; or {VARIABLE}")
    parser.add_argument("--renders", type=int, default=DEFAULTS["renders"], help="prompts per sampler, rounds per node")
    parser.add_argument("--out", type=Path, default=BENCHMARKS, help="folder of the reports")


def run(options: argparse.Namespace) -> int:
    if options.comfyui is None:
        raise InputError(f"give the folder of ComfyUI: --comfyui FOLDER, or {VARIABLE}=FOLDER")
    torch.set_num_threads(1)
    host = load_host(options.comfyui.resolve())
    with torch.inference_mode():
        if options.part == "calibrate":
            write_calibrations(host, options.renders)
            return 0
        figures = PARTS[options.part](host, options.renders)
    command = f"comfyui {options.part}" + changed_options(options, DEFAULTS, ["renders"])
    write_report(options.out / f"comfyui-{options.part}.json", command, figures, device="cpu", model="embedded")
    return 0
