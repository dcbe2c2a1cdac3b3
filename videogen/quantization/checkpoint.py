"""Quantized checkpoint: a copy of a model's folder with encoded denoisers, and its report."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from videogen.backbones.hub import cached_folder
from videogen.backbones.load_options import LoadOptions
from videogen.backbones.precision.quantizing import save_quantized
from videogen.backbones.registry import locate
from videogen.core.errors import InputError
from videogen.core.files import atomic_path, check_output
from videogen.engine.engine import Engine

from .options import QuantizeOptions
from .quantizer import Notify, Quantizer
from .report import Report


def quantize_checkpoint(
    name_or_path: str, output: Path, options: QuantizeOptions, load: LoadOptions, notify: Notify | None = None
) -> Report:
    """Quantize a model's denoisers and write them, with copies of its other components, to a new folder that
    `Engine.load` takes. name_or_path: an embedded model, a folder or a hub id.

    The folder is complete or absent. InputError for an output that exists and a target that cannot be reached.
    """
    check_output(output)
    _refuse_joined(load)
    engine = Engine.load(name_or_path, **asdict(load))
    source = locate(name_or_path)
    folder = source if isinstance(source, Path) else cached_folder(source)
    if folder is None or not folder.is_dir():
        raise InputError(f"model={name_or_path!r} is not a folder in diffusers' layout; give one, or a hub id")
    quantizer = Quantizer(engine, options, notify)
    report = quantizer.run()
    with atomic_path(output) as target:
        shutil.copytree(folder, target, ignore=_denoisers_of(folder, quantizer.models), dirs_exist_ok=True)
        for name, formats in quantizer.formats.items():
            save_quantized(quantizer.models[name], target / name, formats)
        report.write(target)
    return report


def _refuse_joined(load: LoadOptions) -> None:
    given = {"base": load.base, "precision": load.precision, "offload": load.offload, **load.components}
    name = next((name for name, value in given.items() if value is not None), None)
    if name is not None:
        raise InputError(
            f"{name}={given[name]!r} cannot be combined with quantize, which writes one folder from one; save the "
            "joined pipeline with save_pretrained first"
        )


def _denoisers_of(folder: Path, names: Iterable[str]) -> Callable[[str, list[str]], list[str]]:
    """What is not copied: the denoisers' folders, and hidden files."""
    left_out = set(names)

    def ignore(path: str, children: list[str]) -> list[str]:
        own = left_out if Path(path) == folder else set()
        return [child for child in children if child in own or child.startswith(".")]

    return ignore
