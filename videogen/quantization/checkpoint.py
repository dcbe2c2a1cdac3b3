"""Quantized checkpoint: a copy of a model's folder with encoded denoisers, and its report."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
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
    check_new_folder(output)
    _refuse_joined(load)
    engine = Engine.load(name_or_path, **asdict(load))
    source = locate(name_or_path)
    folder = source if isinstance(source, Path) else cached_folder(source)
    if folder is None or not folder.is_dir():
        raise InputError(f"model={name_or_path!r} is not a folder in diffusers' layout; give one, or a hub id")
    quantizer = Quantizer(engine, options, notify)
    report = quantizer.run()
    with atomic_path(output) as target:
        _copy_rest(folder, target, quantizer.models)
        for name, formats in quantizer.formats.items():
            save_quantized(quantizer.models[name], target / name, formats)
        report.write(target)
    return report


def check_new_folder(output: Path) -> None:
    """InputError where a copy cannot be written to this folder, which must not exist."""
    if os.path.lexists(output):
        raise InputError(f"{output} exists already; give another folder")
    check_output(output)


def _refuse_joined(load: LoadOptions) -> None:
    given = {"base": load.base, "precision": load.precision, "offload": load.offload, **load.components}
    name = next((name for name, value in given.items() if value is not None), None)
    if name is not None:
        raise InputError(
            f"{name}={given[name]!r} cannot be combined with quantize, which writes one folder from one; save the "
            "joined pipeline with save_pretrained first"
        )


def _copy_rest(folder: Path, target: Path, denoisers: Iterable[str]) -> None:
    """Copy all files but those of the denoisers' folders and hidden ones. OSError where the disk is full."""
    left_out = set(denoisers)
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and parts[0] not in left_out and not any(part.startswith(".") for part in parts):
            copy = target.joinpath(*parts)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
