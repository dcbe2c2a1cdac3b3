"""`videogen quantize`: a smaller copy of a model, with formats chosen per layer and measured."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from videogen.backbones.load_options import LoadOptions
from videogen.backbones.registry import locate
from videogen.core.errors import InputError
from videogen.core.logs import adopt_third_parties
from videogen.quantization.options import QuantizeOptions

from .settings import parse_size

_DESCRIPTION = """\
Write a smaller copy of a model: each layer of its denoiser gets the format that loses least for its size, as measured
on clips of the model itself. The copy is a folder that --model takes; quantization.json in it has the figures.
"""
_EXAMPLES = """\
examples:
  videogen quantize Wan-AI/Wan2.1-T2V-14B-Diffusers --target 8GB -o wan-8gb --dtype bfloat16
  videogen quantize embedded --psnr 35 -o small          the smallest copy whose clips are within 35 dB
  videogen quantize embedded --to int4-svd32 -o int4     one format for all layers
"""


def add_parser(commands: Any, parents: list[argparse.ArgumentParser], formatter: Any) -> None:
    parser = commands.add_parser(
        "quantize", parents=parents, help="write a smaller copy of a model, measured on its own clips",
        description=_DESCRIPTION, epilog=_EXAMPLES, formatter_class=formatter,
    )  # fmt: skip
    parser.add_argument("model", metavar="MODEL", help="embedded, embedded-unet, a folder, or a hub id")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="the copy; must not exist")
    goal = parser.add_argument_group("what it must reach (one of these)")
    goal.add_argument("--target", metavar="SIZE", help="size of the denoiser's weights, such as 8GB")
    goal.add_argument("--psnr", type=float, metavar="DB", help="mean PSNR of decoded clips to full precision")
    goal.add_argument("--to", metavar="FORMAT", help="one format for all layers, such as int8, fp4 or int4-svd32")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--formats", metavar="A,B,...", help="formats to choose from: int2 to int6, int8, fp4, fp6, fp8, -svdRANK"
    )
    how.add_argument(
        "--time-layers", metavar="FORMAT", help="also quantize layers that compute with the timestep (default: not)"
    )
    how.add_argument(
        "--sampling", default="spread", metavar="HOW",
        help="steps to calibrate on: spread (every few), normal:0.4 (around 40 %% before the end), density (by how "
        "different they are)",
    )  # fmt: skip
    how.add_argument("--samples", type=int, default=4, metavar="N", help="model calls at which a layer is tried (4)")
    how.add_argument("--prompts", type=Path, metavar="FILE", help="one prompt per line (default: four short ones)")
    how.add_argument("--no-search", dest="search", action="store_false", help="ranges span all values of a group")
    how.add_argument(
        "--unweighted", dest="weighted", action="store_false", help="all input channels of a layer count alike"
    )
    clips = parser.add_argument_group("clips (default: the model's own)")
    clips.add_argument("--frames", type=int, metavar="N")
    clips.add_argument("--size", metavar="WxH", help="in px")
    clips.add_argument("--steps", type=int, metavar="N", help="denoising steps")
    clips.add_argument("--seed", type=int, default=0, metavar="N", help="of the first clip")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps")
    parser.add_argument("--dtype", metavar="NAME", help="of what is not quantized, and of the reference")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(options: argparse.Namespace) -> int:
    settings = _read_settings(options)
    load = LoadOptions(dtype=options.dtype, device=options.device)
    locate(options.model)
    from videogen.quantization.checkpoint import check_new_folder, quantize_checkpoint

    check_new_folder(options.output)

    adopt_third_parties(options.verbose)
    line = _Line(visible=not options.quiet and sys.stderr.isatty())
    report = quantize_checkpoint(options.model, options.output, settings, load, line.show)
    line.clear()
    if options.json:
        print(json.dumps({"path": str(options.output), **report.to_dict()}))
        return 0
    print(options.output)
    for text in report.lines():
        print(text, file=sys.stderr)
    return 0


def _read_settings(options: argparse.Namespace) -> QuantizeOptions:
    given: dict[str, Any] = {
        name: getattr(options, name)
        for name in ("target", "psnr", "to", "sampling", "samples", "search", "weighted", "frames", "steps", "seed")
    }
    if options.formats:
        given["formats"] = tuple(name.strip() for name in options.formats.split(","))
    if options.prompts is not None:
        given["prompts"] = _read_prompts(options.prompts)
    if options.size is not None:
        given["size"] = parse_size(options.size)
    return QuantizeOptions(**given, time_format=options.time_layers)


def _read_prompts(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the prompts of {str(path)!r}: {error}") from error
    found = tuple(line.strip() for line in lines if line.strip())
    if not found:
        raise InputError(f"{str(path)!r} has no prompt; write one per line")
    return found


class _Line:
    """One line of progress on stderr."""

    def __init__(self, visible: bool) -> None:
        self._visible = visible

    def show(self, what: str, done: int, total: int) -> None:
        if self._visible:
            print(f"\r\x1b[K{what} {done + 1}/{total}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._visible:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
