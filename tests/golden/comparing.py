"""Comparison of a render with the table: exact on the machine that wrote it, within tolerances on another."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

EVERY, FRAMES, GRID = 8, 8, 4
FRAME_TOLERANCE = 6.0  # mean difference of 255 in the coarse fingerprint
FLOAT_TOLERANCE, SMALLEST = 0.05, 0.005  # relative; absolute for numbers that are rounded to three places
_ABSENT = "(absent)"


def probe() -> str:
    """Digest of a small fixed computation on one thread: it differs between CPUs or builds that round differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        draw = torch.Generator().manual_seed(11)
        rows = torch.randn(96, 128, generator=draw)
        weights = torch.randn(128, 160, generator=draw)
        clip, kernel = torch.randn(1, 8, 5, 12, 12, generator=draw), torch.randn(16, 8, 3, 3, 3, generator=draw)
        heads = torch.randn(1, 4, 70, 32, generator=draw)
        with torch.inference_mode():
            functional = torch.nn.functional
            product = rows @ weights
            parts = [
                product, product.softmax(-1), functional.gelu(product), functional.gelu(product, approximate="tanh"),
                functional.layer_norm(product, (160,)), functional.silu(functional.conv3d(clip, kernel, padding=1)),
                functional.scaled_dot_product_attention(heads, heads, heads), product.sin(), product.abs().log(),
            ]  # fmt: skip
        return hashlib.sha256(b"".join(part.contiguous().numpy().tobytes() for part in parts)).hexdigest()
    finally:
        torch.set_num_threads(threads)


def frames_digest(frames: np.ndarray) -> str:
    """SHA-256 of raw frames and their shape."""
    if frames.dtype != np.uint8:
        raise AssertionError(f"frames are {frames.dtype}, not uint8")
    return hashlib.sha256(str(frames.shape).encode() + np.ascontiguousarray(frames).tobytes()).hexdigest()


def fingerprint(frames: np.ndarray) -> list[list[float]]:
    """RGB means of a 4 x 4 grid of cells, for about every eighth frame: at most 8 frames, evenly spaced."""
    count = min(FRAMES, -(-len(frames) // EVERY))
    chosen = np.unique(np.linspace(0, len(frames) - 1, count).round().astype(int))
    found = []
    for frame in frames[chosen].astype(np.float64):
        rows = [np.array_split(band, GRID, axis=1) for band in np.array_split(frame, GRID, axis=0)]
        cells = [cell.mean(axis=(0, 1)) for band in rows for cell in band]
        found.append([round(float(value), 1) for cell in cells for value in cell])
    return found


def frames_differ(stored: dict[str, Any], now: dict[str, Any], *, exact: bool) -> str | None:
    """A description of how the frames differ; None where they do not."""
    if stored["shape"] != now["shape"]:
        return f"shape {stored['shape']} -> {now['shape']}"
    distance = float(np.abs(np.array(stored["fingerprint"]) - np.array(now["fingerprint"])).mean())
    if exact and stored["frames"] != now["frames"]:
        return f"the digest differs; the coarse fingerprint is {distance:.2f} of 255 off"
    return f"the coarse fingerprint is {distance:.2f} of 255 off" if not exact and distance > FRAME_TOLERANCE else None


def first_difference(stored: Any, now: Any, *, exact: bool) -> str | None:
    """The first key path at which plain data differ, with both values; None where they are equal."""
    return next(_differences(stored, now, "", exact), None)


def _differences(stored: Any, now: Any, path: str, exact: bool) -> Iterator[str]:
    if isinstance(stored, dict) and isinstance(now, dict):
        for key in sorted({*stored, *now}):
            yield from _differences(stored.get(key, _ABSENT), now.get(key, _ABSENT), f"{path}.{key}".lstrip("."), exact)
    elif isinstance(stored, list) and isinstance(now, list) and len(stored) == len(now):
        for index, (old, new) in enumerate(zip(stored, now, strict=True)):
            yield from _differences(old, new, f"{path}[{index}]", exact)
    elif not _equal(stored, now, path, exact):
        yield f"{path}: {_abbreviated(stored)} -> {_abbreviated(now)}"


def _equal(stored: Any, now: Any, path: str, exact: bool) -> bool:
    if type(stored) is type(now) and stored == now:
        return True
    if exact:
        return isinstance(stored, float) and isinstance(now, float) and math.isnan(stored) and math.isnan(now)
    if path.endswith(".sha256") and ".tensors." in path:
        return True
    numbers = [value for value in (stored, now) if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < 2 or not any(isinstance(value, float) for value in numbers):
        return False
    return math.isclose(*numbers, rel_tol=FLOAT_TOLERANCE, abs_tol=SMALLEST)


def _abbreviated(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
