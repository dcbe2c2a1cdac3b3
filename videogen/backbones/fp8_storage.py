"""fp8 storage of a loaded pipeline's denoisers, for one render; after it they have their own weights, bit for bit.

A cast weight cannot be cast back without loss, so the weights are written to a temporary file before.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from videogen.core.byte_sizes import format_bytes
from videogen.core.denoisers import find_denoisers
from videogen.core.errors import OutOfMemoryError, UnsupportedError

from .precision.layerwise_casting import can_cast, cast_layers, remove_casting


class Fp8Storage:
    """Casts the denoisers of a pipeline, and gives them back what they had."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._forms: list[tuple[torch.dtype, torch.Size, tuple[int, ...]]] = []

    @property
    def is_active(self) -> bool:
        return self._folder is not None

    def cast(self) -> None:
        """Store the layers in 8-bit floating point. UnsupportedError for denoisers that cannot, or are quantized;
        OutOfMemoryError where the disk has no room for their weights."""
        denoisers: dict[str, Any] = find_denoisers(self._pipeline)
        for denoiser in denoisers.values():
            if not can_cast(denoiser):
                raise UnsupportedError(
                    f"{type(denoiser).__name__} cannot store its weights in fp8, or has them quantized already; "
                    "give more memory"
                )
        self._write()
        for denoiser in denoisers.values():
            cast_layers(denoiser, denoiser.dtype)

    def restore(self) -> None:
        """Give the denoisers their weights back, on the CPU where they were cast. Does nothing where they were not."""
        if self._folder is None:
            return
        for denoiser in find_denoisers(self._pipeline).values():
            remove_casting(denoiser)
        with torch.inference_mode(False), open(self._file, "rb") as file:
            for weight, (dtype, shape, strides) in zip(self._weights(), self._forms, strict=True):
                data = np.fromfile(file, np.uint8, math.prod(shape) * dtype.itemsize)
                stored = torch.from_numpy(data).view(dtype).reshape(shape)
                own = torch.empty_strided(shape, strides, dtype=dtype)
                weight.data = own.copy_(stored)
        self._folder.cleanup()
        self._folder = None

    @property
    def _file(self) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / "denoisers"

    def _write(self) -> None:
        """The weights to a temporary file, one after another: a second copy of all would take memory."""
        folder = tempfile.TemporaryDirectory(prefix="videogen-")
        weakref.finalize(self, folder.cleanup)
        size, free = sum(weight.nbytes for weight in self._weights()), shutil.disk_usage(folder.name).free
        if size > free:
            raise OutOfMemoryError(
                f"fp8 storage writes the denoiser's {format_bytes(size)} of weights to {folder.name}, which has "
                f"{format_bytes(free)}; set TMPDIR to a larger disk, give more memory, or load with "
                "precision=fp8-storage"
            )
        self._forms, self._folder = [], folder
        with torch.inference_mode(False), open(self._file, "wb") as file:
            for weight in self._weights():
                self._forms.append((weight.dtype, weight.shape, weight.stride()))
                weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tofile(file)

    def _weights(self) -> Iterator[nn.Parameter]:
        for denoiser in find_denoisers(self._pipeline).values():
            yield from denoiser.parameters()
