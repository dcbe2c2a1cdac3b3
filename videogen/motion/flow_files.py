"""Optical flow files: Middlebury `.flo`, KITTI 16-bit `.png`, `.npz` and `.npy`, `.pfm`; a clip is one .npz or a folder
of files.

`.flo`, `.npz` and `.pfm` store float32 bit for bit, `.png` stores steps of 1/64 px from -512 to 511.98.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from videogen.core.errors import InputError
from videogen.core.files import atomic_path

from .flow_formats import DECODERS, ENCODERS

STACKS = (".npz", ".npy")
SUFFIXES = (*ENCODERS, *STACKS)


@dataclass(frozen=True)
class FlowStack:
    """flow: float32 [n, 2, height, width], px; valid: bool [n, height, width], whether the flow is known there."""

    flow: np.ndarray
    valid: np.ndarray


def read_flow(path: str | os.PathLike[str]) -> FlowStack:
    """The flow in a file, or in all flow files of a folder in the order of their names.

    InputError for an unknown format, a wrong magic number, a truncated file, NaN, or sizes that do not match.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    suffix = _suffix(path)
    if suffix in STACKS:
        return FlowStack(*check_flow(*_read_stack(path), where=str(path)))
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read flow from {str(path)!r}: {error}") from error
    flow, valid = DECODERS[suffix](content, str(path))
    return FlowStack(*check_flow(flow[None], valid[None], where=str(path)))


def write_flow(
    path: str | os.PathLike[str], flow: np.ndarray, valid: np.ndarray | None = None, *, overwrite: bool = False
) -> Path:
    """Write flow in the format of the name's suffix; the file is complete or absent. Returns the path.

    flow: [2, height, width] or [n, 2, height, width], px; more than one field only as `.npz` or `.npy`. valid: bool
    [(n,) height, width]; `.flo`, `.png` and `.npz` store it. InputError for values that a format cannot store.
    """
    path, suffix = Path(path), _suffix(Path(path))
    stack, known = check_flow(
        flow[None] if flow.ndim == 3 else flow, valid if valid is None or flow.ndim == 4 else valid[None]
    )
    if suffix not in STACKS and len(stack) != 1:
        raise InputError(f"{suffix} stores one field, these are {len(stack)}; write an .npz or one file per field")
    if suffix in (".npy", ".pfm") and not known.all():
        raise InputError(f"{suffix} cannot store where flow is unknown; write .npz, .flo or .png")
    content = None if suffix in STACKS else ENCODERS[suffix](stack[0], known[0])
    with atomic_path(path, overwrite) as partial:
        if content is not None:
            partial.write_bytes(content)
        elif suffix == ".npy":
            np.save(partial, stack)
        else:
            np.savez_compressed(partial, flow=stack, valid=known)
    return path


def check_flow(
    flow: np.ndarray, valid: np.ndarray | None = None, where: str = "the given flow"
) -> tuple[np.ndarray, np.ndarray]:
    """(flow float32 [n, 2, h, w], valid bool [n, h, w]); InputError for another shape or dtype, and where known flow is
    NaN or infinite. where: the source, for the message."""
    shape = flow.shape
    if flow.ndim != 4 or shape[1] != 2 or 0 in shape[1:] or not np.issubdtype(flow.dtype, np.floating):
        raise InputError(f"{where} is {flow.dtype} {list(shape)}; flow is float [n, 2, height, width], px")
    known = np.ones((shape[0], *shape[2:]), bool) if valid is None else valid
    if known.shape != (shape[0], *shape[2:]) or known.dtype != bool:
        raise InputError(
            f"{where} is {list(shape)} with valid {known.dtype} {list(known.shape)}, which must be bool [n, height, "
            "width]"
        )
    broken = ~np.isfinite(flow).all(1) & known
    if broken.any():
        n, y, x = np.argwhere(broken)[0]
        raise InputError(
            f"{where} has NaN or infinite flow at {int(broken.sum())} places, first in field {n} at x={x}, y={y}"
        )
    return np.where(known[:, None], flow, 0).astype(np.float32), known


def _read_folder(folder: Path) -> FlowStack:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENCODERS)
    if not files:
        raise InputError(f"{folder} has no flow files ({', '.join(ENCODERS)})")
    if len({path.suffix.lower() for path in files}) > 1:
        raise InputError(f"{folder} has flow in several formats; keep one")
    stacks = [read_flow(path) for path in files]
    for path, stack in zip(files, stacks, strict=True):
        if stack.flow.shape != stacks[0].flow.shape:
            sizes = [f"{s.flow.shape[3]}x{s.flow.shape[2]}" for s in (stack, stacks[0])]
            raise InputError(f"{path} is {sizes[0]}, {files[0].name} is {sizes[1]}; all fields of a clip have one size")
    return FlowStack(np.concatenate([s.flow for s in stacks]), np.concatenate([s.valid for s in stacks]))


def _read_stack(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return (loaded[None] if loaded.ndim == 3 else loaded), None
        with loaded as archive:
            flow = archive["flow"] if "flow" in archive else archive[archive.files[0]]
            valid = archive.get("valid")
    except (OSError, ValueError, EOFError, IndexError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot read flow from {str(path)!r}: {error}") from error
    if flow.ndim == 3:
        flow, valid = flow[None], valid[None] if valid is not None and valid.ndim == 2 else valid
    return flow, valid


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path.name!r} is not a flow file; use one of {', '.join(SUFFIXES)}")
    return suffix
