"""Header of a weights file: names, shapes and places of its tensors, read without reading the tensors.

Two formats are read, safetensors and GGUF. Neither can hold code; pickles can, and are refused by their names. No torch
here.
"""

from __future__ import annotations

from pathlib import Path

from videogen.core.errors import CheckpointError

from .file_names import check_weights_name
from .gguf_header import read_gguf
from .safetensors_header import read_safetensors
from .tensors import GGUF, Header


def read_header(path: Path) -> Header:
    """The header of a weights file. CheckpointError, naming the file, where it is of another format, damaged, or
    shorter than its header says."""
    check_weights_name(path)
    try:
        header = read_gguf(path) if path.suffix.lower() == f".{GGUF}" else read_safetensors(path)
    except OSError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}; check the file") from error
    if header.end > header.size:
        raise CheckpointError(
            f"{path} cannot be loaded: it has {header.size} of its {header.end} bytes; copy or download it again"
        )
    if not header.tensors:
        raise CheckpointError(f"{path} cannot be loaded: it has no tensors; copy or download it again")
    return header
