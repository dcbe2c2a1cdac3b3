"""Command line parser: every option, grouped, with help that explains it."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import Any, NoReturn

from videogen.attention.policies.table import first_with_target, spec_forms
from videogen.backbones.precision.table import describe_precisions
from videogen.configs import presets
from videogen.core.errors import InputError, nearest
from videogen.propagation.rules import describe_rules
from videogen.schedulers.solvers import SOLVERS

from . import comfyui, condition_options, long_options, lora_options, motion, quantize, several_options
from .source_options import add_source_options
from .types import Subparsers

#: the beginning of `-1=last.png`, the value of an option that looks like an option itself
_FRAME_FROM_END = re.compile(r"-\d+=")
_MAIN = (
    "Generate videos with video diffusion models: the embedded ones (offline, on a CPU) or a Wan or AnimateDiff "
    "checkpoint."
)
_MAIN_EXAMPLES = """examples:
  videogen render "a red ball moves right on a black background" -o ball.mp4
  videogen render "a blue star spins on a gray background" --model embedded-unet --seed 7
  videogen render --like ball.mp4 -o again.mp4     the same frames, bit for bit
  videogen render --story story.txt -o long.mp4    several shots; resumes after a crash (videogen story --help)
  videogen inspect ball.mp4                        how a video was made
  videogen doctor                                  what is installed and what is missing
"""
_RENDER_EXAMPLES = """options that are left out get the model's defaults: size, length, steps, guidance and solver.
precedence: flags, then --config, then --preset, then the model's defaults.

examples:
  videogen render "a green square moves up on a navy background"
  videogen render "a white ball spins" -o ball.webm --frames 49 --seed 3 --solver euler
  videogen render "a cat on a boat" --model Wan-AI/Wan2.1-T2V-1.3B-Diffusers --size 832x480 --offload model
  videogen render "a red ball on a black background" --drag "12,32>50,40"
  videogen render "a white star on a checkered background" --camera "pan=12,zoom=1.2" --motion-preview plan.mp4
  videogen render "a red ball moves right" --seconds 60 -o long.mp4
  videogen render --story story.toml --continuity cono --retries 2 -o story.mp4
  videogen render --config ball.toml --preset draft --json
  videogen render "a red ball moves right" --seeds 1,7 -o ball.mp4       ball-seed1.mp4 and ball-seed7.mp4
  videogen render --prompts prompts.txt -o "out/{index}-{prompt}-{seed}.mp4"
  videogen render "a blue star spins" --count 2 --skip-existing          again after Ctrl-C: it continues
"""

_PLAN_EXAMPLES = """examples:
  videogen plan "a red ball moves right on a black background"
  videogen plan "a cat on a boat" --model Wan-AI/Wan2.1-T2V-1.3B-Diffusers --frames 81 --size 832x480
  videogen plan "a cat on a boat" --model FOLDER --device cuda --memory 12GB    for a machine that is not here
"""


class _Format(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=100)


class _Parser(argparse.ArgumentParser):
    """Reports an error in one line instead of printing the usage, with what was probably meant."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            self._refuse(rest, found)
        return found, rest

    def _refuse(self, rest: list[str], found: argparse.Namespace) -> NoReturn:
        """InputError for arguments that the parser does not know."""
        flag = next((argument for argument in rest if argument.startswith("-")), None)
        if flag is None:
            prompt = getattr(found, "prompt", None)
            if prompt is not None:
                prompt = " ".join((prompt, *rest))
                raise InputError(f'the prompt is several arguments; put it in quotes: {self.prog} "{prompt[:80]}"')
            self.error(f"unknown argument {rest[0]!r}")
        name = flag.partition("=")[0]
        flags = {option: action for action in self._actions for option in action.option_strings}
        guess = nearest(name, [option for option in flags if option.startswith("--")])
        if guess is None:
            self.error(f"unknown option {name}")
        metavar = flags[guess].metavar
        raise InputError(f"unknown option {name}; did you mean {guess!r}{f' {metavar}' if metavar else ''}? "
                         f"See {self.prog} --help")  # fmt: skip

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")

    def _parse_optional(self, arg_string: str) -> Any:
        """Whether an argument is an option; `-1=last.png`, an image at a frame counted from the end, is a value."""
        return None if _FRAME_FROM_END.match(arg_string) else super()._parse_optional(arg_string)

    def _get_value(self, action: argparse.Action, text: str) -> Any:
        if action.type not in (int, float):
            return super()._get_value(action, text)
        try:
            return action.type(text)
        except ValueError:
            raise InputError(_not_a_number(action, text)) from None

    def _check_value(self, action: argparse.Action, value: str) -> None:
        if action.dest not in ("command", "action") or action.choices is None or value in action.choices:
            return super()._check_value(action, value)
        guess = nearest(value, action.choices)
        usage = "" if action.dest == "action" else f'a prompt comes after `render`: videogen render "{value[:40]}"'
        hint = f"did you mean {guess!r}?" if guess else usage
        raise InputError(f"unknown {action.dest} {value!r}; {hint} {action.dest}s: {', '.join(action.choices)}")


def _not_a_number(action: argparse.Action, text: str) -> str:
    """What is wrong with the text of a numeric option, and what to write."""
    kind = "a whole number" if action.type is int else "a number"
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    near = list(dict.fromkeys((math.floor(value), math.ceil(value)))) if math.isfinite(value) else []
    return f"{action.dest}={text} is not {kind}; use {' or '.join(map(str, near)) or 'digits'}"


def build_parser(version: str, epilogue: str) -> argparse.ArgumentParser:
    """The parser of `videogen`. epilogue: the last lines of its help."""
    verbose = "show warnings of third-party libraries, and tracebacks"
    common = _Parser(add_help=False)
    common.add_argument("-v", "--verbose", default=argparse.SUPPRESS, action="store_true", help=verbose)
    parser = _Parser("videogen", description=_MAIN, epilog=f"{_MAIN_EXAMPLES}\n{epilogue}", formatter_class=_Format)
    parser.add_argument("-v", "--verbose", action="store_true", help=verbose)
    parser.add_argument("--version", action="version", version=f"videogen {version}")
    parser.set_defaults(command=None, verbose=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    _add_render(commands, common)
    _add_plan(commands, common)
    _add_decode(commands, common)
    long_options.add_story(commands, common, _Format)
    inspect = commands.add_parser(
        "inspect", parents=[common], formatter_class=_Format, help="print how a video was made",
        description="Print a video's manifest: request, model, versions, step plan, measurements.",
    )  # fmt: skip
    inspect.add_argument("file", type=Path, help="a video that videogen rendered")
    inspect.add_argument("--json", action="store_true", help="the full manifest as JSON")
    models = commands.add_parser(
        "models", parents=[common], formatter_class=_Format, help="list model families and the models on this machine",
        description="The model families, what each supports, and the models on this machine: embedded, or in the hub's "
        "cache.",
    )  # fmt: skip
    models.add_argument(
        "model", nargs="?", metavar="MODEL", help="what this one takes: a folder, file, hub id or embedded one"
    )
    add_source_options(models)
    models.add_argument(
        "--table",
        action="store_true",
        help="every pipeline class of diffusers that is loaded: its inputs, and which techniques run on it",
    )
    models.add_argument("--json", action="store_true", help="as JSON")
    quantize.add_parser(commands, [common], _Format)
    comfyui.add_parser(commands, [common], _Format)
    doctor = commands.add_parser(
        "doctor", parents=[common], formatter_class=_Format, help="check what is installed and which backends work",
        description="Versions, devices, and each attention backend, tested by calling it, with the reason where it "
        "fails.",
    )  # fmt: skip
    doctor.add_argument("--json", action="store_true", help="as JSON")
    doctor.add_argument("--clear-cache", action="store_true", help="first delete what is cached on disk")
    return parser


def _add_render(commands: Subparsers, common: argparse.ArgumentParser) -> None:
    render = commands.add_parser(
        "render", parents=[common], formatter_class=_Format, help="turn a prompt into a video",
        description="Turn a prompt into a video.", epilog=_RENDER_EXAMPLES,
    )  # fmt: skip
    _add_content(render)
    condition_options.add_options(render)
    long_options.add_options(render)
    _add_sampling(render)
    lora_options.add_options(render)
    motion.add_options(render)
    several_options.add_options(render)
    _add_machine(render)
    _add_output(render)


def _add_plan(commands: Subparsers, common: argparse.ArgumentParser) -> None:
    plan = commands.add_parser(
        "plan", parents=[common], formatter_class=_Format, help="memory and time of a render, before it runs",
        description="Peak memory by stage and time of a render, from the model's configuration files alone: no weights "
        "are read. Chooses what stays on the device for --memory, or for what is free. Takes the options of `render` "
        "but those of files; of several clips, --batch-size.",
        epilog=_PLAN_EXAMPLES,
    )  # fmt: skip
    _add_content(plan)
    condition_options.add_options(plan)
    long_options.add_options(plan)
    _add_sampling(plan)
    lora_options.add_options(plan)
    motion.add_options(plan)
    _add_machine(plan)
    output = plan.add_argument_group("output")
    output.add_argument("--batch-size", type=int, metavar="N", help="clips at once (default: 1)")
    output.add_argument("--no-time", action="store_true", help="do not measure this machine's speed")
    output.add_argument("--json", action="store_true", help="as JSON: bytes and seconds")


def _add_decode(commands: Subparsers, common: argparse.ArgumentParser) -> None:
    decode = commands.add_parser(
        "decode", parents=[common], formatter_class=_Format, help="decode latents that a render without memory saved",
        description="Decode the latents that a render saved when it ran out of memory: its error names the file.",
    )  # fmt: skip
    decode.add_argument("file", type=Path, help="FILE.latents.safetensors")
    decode.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE",
        help="as for `render`; several clips are numbered: FILE-1.mp4, FILE-2.mp4",
    )  # fmt: skip
    decode.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    decode.add_argument("--device", metavar="NAME", help="as for `render`")
    decode.add_argument("--json", action="store_true", help="print a JSON object per clip instead of its path")


def _add_content(render: argparse.ArgumentParser) -> None:
    content = render.add_argument_group("content")
    content.add_argument("prompt", nargs="?", metavar="PROMPT", help="what the video shows")
    content.add_argument("--negative", dest="negative_prompt", metavar="TEXT", help="what it should not show")
    content.add_argument(
        "--like", type=Path, metavar="FILE", help="repeat the render of this video: the same frames, bit for bit"
    )
    content.add_argument(
        "--allow-model", action="store_true",
        help="with --like and --resume: load the model that the file or job names, also from the hub (without it: "
        "embedded models and unchanged folders; for a job also the hub's local cache)",
    )  # fmt: skip
    content.add_argument(
        "--config", type=Path, metavar="FILE.toml", help="read the request from a file; keys as in `inspect`"
    )
    content.add_argument("--preset", metavar="NAME", help=f"a named set of settings: {', '.join(presets())}")
    clip = render.add_argument_group("clip")
    clip.add_argument(
        "--frames",
        type=int,
        metavar="N",
        help="length in frames (default: the model's native length; any for long videos)",
    )
    clip.add_argument("--size", metavar="WxH", help="width and height in px, such as 832x480")
    clip.add_argument("--fps", type=float, metavar="RATE", help="frames per second of the file")


def _add_sampling(render: argparse.ArgumentParser) -> None:
    sampling = render.add_argument_group("sampling")
    sampling.add_argument("--steps", type=int, metavar="N", help="denoising steps: more are slower and often better")
    sampling.add_argument(
        "--guidance", dest="guidance_scale", type=float, metavar="S", help="how closely to follow the prompt; 1 is off"
    )
    sampling.add_argument("--seed", type=int, metavar="N", help="same seed, same video (default: 0)")
    sampling.add_argument("--solver", metavar="NAME", help=f"{', '.join(SOLVERS)} (default: the checkpoint's)")
    attention = render.add_argument_group("sparse attention (for long clips: little gain at 8,000 tokens)")
    by_recall = first_with_target("recall")
    attention.add_argument(
        "--attention", metavar="MODE", help=f"{', '.join(spec_forms())} ({by_recall.keyword} guarantees --recall)"
    )
    attention.add_argument(
        "--recall", type=float, metavar="R",
        help=f"fraction of the softmax mass that {by_recall.keyword} keeps in every head "
        f"(default: {by_recall.default:g})",
    )  # fmt: skip
    propagation = render.add_argument_group(
        "step caching (fewer model evaluations; its savings and its error are recorded in the manifest)"
    )
    propagation.add_argument("--propagate", metavar="RULE", help=describe_rules())


def _add_machine(render: argparse.ArgumentParser) -> None:
    model = render.add_argument_group("model and machine")
    model.add_argument(
        "--model", metavar="NAME",
        help="embedded, embedded-unet, a folder, a hub id (owner/name, owner/name@revision) or a .safetensors or .gguf "
        "file (default: embedded)",
    )  # fmt: skip
    add_source_options(model)
    model.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps (default: the best that is present)")
    model.add_argument("--dtype", metavar="NAME", help="float32, bfloat16, float16")
    model.add_argument("--precision", metavar="NAME", help=describe_precisions())
    model.add_argument("--offload", metavar="MODE", help="model or sequential: offload idle modules to the CPU")
    model.add_argument(
        "--memory", metavar="SIZE",
        help="memory of the device that the render may take, such as 12GB: what is offloaded and how the VAE decodes "
        "are chosen for it (see `videogen plan`)",
    )  # fmt: skip
    model.add_argument(
        "--compile", nargs="?", const=True, metavar="cuda-graphs",
        help="compile the denoiser's repeated blocks at their first call; `cuda-graphs` also replays them as CUDA "
        "graphs",
    )  # fmt: skip
    model.add_argument(
        "--channels-last", action="store_true", default=None, help="the VAE in channels-last memory: faster on a GPU"
    )
    model.add_argument(
        "--no-validate", dest="validate", action="store_false", default=None,
        help="do not compare attention kernels, VAE and text encoder with a reference at the beginning",
    )  # fmt: skip
    model.add_argument(
        "--strict", action="store_true", default=None, help="stop where a kernel is wrong, instead of replacing it"
    )
    model.add_argument(
        "--vae-tiling", action="store_true", default=None, help="decode in tiles: less memory, faint seams"
    )


def _add_output(render: argparse.ArgumentParser) -> None:
    output = render.add_argument_group("output")
    output.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help=".mp4, .mkv, .webm, .gif, or no suffix for a folder of PNGs (default: out/PROMPT-SEED.mp4, or the next "
        "name)",
    )
    output.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    output.add_argument("--quality", type=int, metavar="CRF", help="0 (best) to 63 (default: 16, 28 for webm)")
    output.add_argument(
        "--preview", type=Path, metavar="FILE.png", help="write a live low-resolution preview (single clips)"
    )
    output.add_argument(
        "--report", type=Path, metavar="FILE.html", help="write a page that plots each target and the measured value"
    )
    output.add_argument("--json", action="store_true", help="print one JSON object instead of the path")
    output.add_argument("--quiet", action="store_true", help="no progress bar")
