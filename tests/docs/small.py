"""Small stand-ins for what the documentation's commands take: models, lengths and input files."""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline

from tests.lora_files import write_lora
from tests.tiny import parts
from tests.tiny.table import load_rows
from videogen import Lora, Video
from videogen.backbones import registry
from videogen.backbones.load_options import LoadOptions

#: Fields of `defaults.json` of the embedded models, and of the length for which they were trained.
SMALL = {
    "embedded": ({"frames": 17, "steps": 2, "fps": 8}, {"single_pass_frames": 21}),
    "embedded-unet": ({"frames": 8, "steps": 2}, {"single_pass_frames": 12}),
}
MOST = {"--frames": 41, "--seconds": 12}
HUB_SIZE = "32x32"
#: Models of the hub that are made from more than a prompt, and the folder that a page has saved -> their tiny pipeline.
HOSTED = {
    "Wan-AI/Wan2.2-I2V-A14B-Diffusers": "WanImageToVideoPipeline:experts",
    "wan-v2v": "WanVideoToVideoPipeline",
    "Wan-AI/Wan2.1-VACE-1.3B-diffusers": "WanVACEPipeline",
    "Lightricks/LTX-Video-0.9.7-distilled": "LTXConditionPipeline",
    "alibaba-pai/CogVideoX-Fun-V1.1-5b-Pose": "CogVideoXFunControlPipeline",
    "stabilityai/stable-video-diffusion-img2vid-xt": "StableVideoDiffusionPipeline",
}
#: What pages load into another class than the checkpoint's own -> the model of `HOSTED`.
OTHER_CLASS = {"Wan-AI/Wan2.1-T2V-1.3B-Diffusers": "wan-v2v"}


def write_small_models(folder: Path) -> dict[str, Path]:
    """The embedded models with other defaults: few frames and steps."""
    made = {}
    for name, (defaults, training) in SMALL.items():
        source, target = registry.EMBEDDED[name], folder / name
        target.mkdir()
        for entry in source.iterdir():
            copy = shutil.copytree if entry.is_dir() else shutil.copy
            copy(entry, target / entry.name)
        values = json.loads((source / "defaults.json").read_text(encoding="utf-8"))
        values["defaults"] |= defaults
        values["training"] |= training
        (target / "defaults.json").unlink()
        (target / "defaults.json").write_text(json.dumps(values), encoding="utf-8")
        made[name] = target
    return made


def write_hosted_models(folder: Path) -> dict[str, Path]:
    """Those of `HOSTED`, saved, with the size and length of their tiny pipelines as defaults."""
    rows, made = load_rows(), {}
    for number, (name, tiny) in enumerate(HOSTED.items()):
        made[name] = folder / str(number) / Path(name).name
        frames, width, height = rows[tiny].sizes[0]
        rows[tiny].build().save_pretrained(made[name])
        defaults = {"frames": frames, "width": width, "height": height, "steps": 2}
        (made[name] / "defaults.json").write_text(json.dumps({"defaults": defaults}), encoding="utf-8")
    return made


def share_models(patch: pytest.MonkeyPatch, loaded: dict[Any, Any], hosted: dict[str, Path]) -> None:
    """Engines of one model share what was loaded first; models of the hub are tiny ones."""
    load, from_pretrained = registry.load, DiffusionPipeline.from_pretrained.__func__

    def load_once(name: str, options: LoadOptions = LoadOptions()) -> Any:  # noqa: B008
        name = str(hosted.get(name, name))
        key = registry.EMBEDDED.get(name, name), options
        if key not in loaded:
            loaded[key] = load(name, options)
        return loaded[key]

    def from_tiny(kind: Any, name: str, /, **options: Any) -> Any:
        return parts.quiet(from_pretrained(kind, hosted[OTHER_CLASS[name]] if name in OTHER_CLASS else name, **options))

    patch.setattr("videogen.engine.memory_use.load", load_once)
    patch.setattr(DiffusionPipeline, "from_pretrained", classmethod(from_tiny))


def shorten(arguments: list[str], hub_model: Path, hosted: Mapping[str, Path] = MappingProxyType({})) -> list[str]:
    """The arguments with a tiny model in place of one of the hub, and long clips cut short. Without a GPU also without
    `--offload`, which is refused there."""
    if arguments[0] == "quantize":
        clip = ["--frames", "5", "--steps", "2", "--size", HUB_SIZE]
        given = [re.sub(r"-svd\d+", "-svd1", argument) for argument in arguments[2:]]  # its layers are 16 wide
        return ["quantize", str(hub_model), *given, *clip, "--samples", "1", "--no-search"]
    if arguments[:2] == ["comfyui", "export-model"]:
        return [str(hub_model) if argument == "FOLDER" else argument for argument in arguments]
    short = list(arguments)
    for index, (flag, value) in enumerate(pairwise(arguments), 1):
        if flag in MOST:
            short[index] = str(min(int(value), MOST[flag]))
        elif flag == "--model" and value in hosted:
            short[index] = str(hosted[value])
        elif flag == "--model" and value not in registry.EMBEDDED:
            short[index] = value if (Path(value) / "quantization.json").is_file() else str(hub_model)
            short += ["--frames", "5", "--steps", "2", "--size", HUB_SIZE]
    if "--offload" in short and not torch.cuda.is_available():
        at = short.index("--offload")
        del short[at : at + 2]
    return short


def write_inputs(options: argparse.Namespace, files: dict[str, str], hosted: Mapping[str, Path]) -> None:
    """Files that a command reads and that are not there: as the text shows them, or generated."""
    for name in ("config", "story", "prompts", "motion", "motion_from", "first_frame", "what"):
        path = getattr(options, name, None)
        if path is None or Path(path).exists():
            continue
        path = Path(path)
        if path.name in files:
            path.write_text(_with_folders(files[path.name], hosted), encoding="utf-8")
            write_sources(sources_read_by(files[path.name]))
        elif path.suffix in (".toml", ".txt"):
            path.write_text(GENERATED[name], encoding="utf-8")
        else:
            Video(moving_square(), fps=8).save(path)
    if options.command == "comfyui":
        Path("ComfyUI", "custom_nodes").mkdir(parents=True, exist_ok=True)
    if options.command == "render":
        write_sources(_sources_of(options))
        _write_loras(options)


def _write_loras(options: argparse.Namespace) -> None:
    """LoRAs of the model's layers, where they are not there yet."""
    for text in options.loras or ():
        path = Path(Lora.from_value(text).file)
        if not path.exists():
            outline = registry.load_outline(options.model or "embedded", online=False)
            assert outline is not None
            write_lora(path, outline.denoisers()[0])


def write_sources(names: Iterable[str]) -> None:
    """Images and videos of 32x32 px that clips are made from, where they are not there yet."""
    for number, name in enumerate(dict.fromkeys(names)):
        path = Path(name)
        if path.exists():
            continue
        if path.suffix == ".png":
            parts.image(32, 32, 40 * number).save(path)
        else:
            Video(np.stack([np.array(image) for image in parts.clip(9, 32, 32)]), fps=8).save(path)


def sources_read_by(program: str) -> list[str]:
    """The files that a program or a configuration gives as conditions."""
    several = re.findall(r"(?:images|references|control)=[\[{].*?[\]}]", program)
    return re.findall(rf"(?:image|video|mask|Video\.open)\W*{SOURCE}", program) + re.findall(SOURCE, "".join(several))


def _sources_of(options: argparse.Namespace) -> list[str]:
    """The files of a command's conditions."""
    single = [getattr(options, name) for name in ("image", "last_image", "video", "mask")]
    named = [entry.partition("=")[2] for entry in (*(options.images or ()), *(options.control or ()))]
    return [*filter(None, single), *named, *(options.reference or ())]


def _with_folders(text: str, hosted: Mapping[str, Path]) -> str:
    """A configuration that names the folders of tiny models."""
    for name, folder in hosted.items():
        text = text.replace(f'"{name}"', f'"{folder.as_posix()}"')
    return text


#: A file that a program or a configuration reads or writes.
SOURCE = r'"([\w-]+\.(?:png|mp4))"'
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
