"""Command line of the benchmarks: `python -m tools.bench BENCHMARK ...`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple


class Benchmark(NamedTuple):
    """A subcommand: its module, which has `add_arguments(parser)` and `run(options) -> exit code`, and its help."""

    module: str
    help: str


BENCHMARKS = {
    "render": Benchmark("tools.bench.render", "render time of the embedded models against diffusers' own pipelines"),
    "hosting": Benchmark("tools.bench.hosting", "what hosting adds to a pipeline's own call"),
    "attention": Benchmark("tools.bench.attention.command", "sparse attention against dense attention"),
    "propagation": Benchmark("tools.bench.propagation.command", "step caching against other methods and its promise"),
    "propagation-models": Benchmark("tools.bench.propagation.models", "step caching on models of real shapes"),
    "long": Benchmark("tools.bench.long.command", "long videos: continuity policies, memory over length, stories"),
    "kills": Benchmark("tools.bench.long.kills", "resuming long renders that were killed at random instants"),
    "stops": Benchmark("tools.bench.stops", "Ctrl-C and SIGTERM at random instants of a render"),
    "motion": Benchmark("tools.bench.motion.command", "how well a model follows a drag, a camera or another video"),
    "noise": Benchmark("tools.bench.noise.command", "warped noise: statistics and speed"),
    "presets": Benchmark("tools.bench.presets", "presets at the models' defaults, next to fewer steps"),
    "quantization": Benchmark("tools.bench.quantization", "formats of weights: bits against PSNR"),
    "preview": Benchmark("tools.bench.preview", "error and cost of latent previews"),
    "lora": Benchmark("tools.bench.lora", "LoRAs: time to swap one, cost of a step, the model's bits afterwards"),
    "validation": Benchmark("tools.bench.validation", "what kernel validation adds to a render"),
    "plan": Benchmark("tools.bench.plan.command", "memory plans: peaks and times against renders, published shapes"),
    "comfyui": Benchmark("tools.bench.comfyui.command", "the nodes on a real ComfyUI: overhead, calibration, promise"),
    "report": Benchmark("tools.bench.report.command", "write docs/figures.md and the README's headline rows"),
}


def build_parser(chosen: str | None) -> argparse.ArgumentParser:
    """Only the chosen benchmark is imported, as each loads torch and more."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench", description="Benchmarks of the engine; BENCHMARK --help lists the options of one."
    )
    subparsers = parser.add_subparsers(dest="benchmark", metavar="BENCHMARK", required=True)
    for name, benchmark in BENCHMARKS.items():
        module = import_module(benchmark.module) if name == chosen else None
        subparser = subparsers.add_parser(
            name,
            help=benchmark.help,
            description=None if module is None else module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if module is not None:
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = build_parser(next(iter(arguments), None)).parse_args(arguments)
    return int(options.run(options))


if __name__ == "__main__":
    sys.exit(main())
