"""Propagation on the embedded models: fidelity against other methods, the promise, both techniques together,
calibration.

fidelity: 32 held-out prompts; the plain render and every other method with the same seeds, alternating: speedup of the
denoising (median of the paired ratios), PSNR against the plain frames (mean and 5 % quantile), and the judge's
accuracy. promise: 64 renders at each max_error and the fraction whose final latents lie within it. Both resume where
they were stopped. together: propagation, sparse attention and both on one long clip. Write
benchmarks/propagation-PART-MODEL.json. calibrate: the factor between the controller's sum and the final error, on
prompts that the other parts never use, into videogen/propagation/calibration.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from tools.bench.files import BENCHMARKS, changed_options, write_report
from tools.bench.propagation.calibrate import write_calibration
from tools.bench.propagation.fidelity import measure_fidelity
from tools.bench.propagation.promise import measure_promise
from tools.bench.propagation.together import measure_together

PARTS = {"fidelity": measure_fidelity, "promise": measure_promise, "together": measure_together}
DEFAULTS = {"prompts": 32, "renders": 64}
COUNTED = {"fidelity": ["prompts"], "promise": ["renders"]}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("part", choices=(*PARTS, "calibrate"))
    parser.add_argument("model", nargs="?", default="embedded", help="name or folder")
    parser.add_argument("--out", type=Path, default=BENCHMARKS, help="folder of the reports")
    parser.add_argument("--device", default=None)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--prompts", type=int, default=DEFAULTS["prompts"], help="fidelity: held-out prompts")
    parser.add_argument("--renders", type=int, default=DEFAULTS["renders"], help="promise and calibrate: renders")
    parser.add_argument("--boundary", default="output", help="calibrate: for which boundary")
    parser.add_argument("--frames", type=int, default=129, help="together: length of the clip")
    parser.add_argument("--side", type=int, default=128, help="together: its width and height in px")
    parser.add_argument("--steps", type=int, default=50, help="together: its steps; below 50 little is propagated")


def run(options: argparse.Namespace) -> int:
    if options.threads:
        torch.set_num_threads(options.threads)
    label = Path(options.model).name
    if options.part == "calibrate":
        write_calibration(label, options)
        return 0
    path = Path(options.out) / f"propagation-{options.part}-{label}.json"
    figures = PARTS[options.part](options, path)
    command = f"propagation {options.part} {label}"
    command += changed_options(options, DEFAULTS, COUNTED.get(options.part, ()))
    write_report(path, command, figures, device=options.device, model=options.model)
    return 0
