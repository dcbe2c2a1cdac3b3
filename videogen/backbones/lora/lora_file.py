"""LoRA file: its tensors' names and shapes, its metadata and its digest, read from the header alone. No torch here.

Pickles, truncated files and files of other formats are refused with their name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from videogen.backbones.checkpoints.file_names import check_weights_name
from videogen.backbones.checkpoints.header import read_header
from videogen.core.errors import CheckpointError, InputError
from videogen.core.files import sha256


@dataclass(frozen=True)
class TensorFile:
    """A safetensors file. shapes, dtypes (the format's names, such as `BF16`): of each tensor by name; metadata: text
    by name; sha256: of the entire file."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    metadata: Mapping[str, str]
    sha256: str


def find_file(name: str, kind: str) -> Path:
    """The file itself, also where its folder is named. kind: what it is, for messages. InputError where it does not
    exist, CheckpointError for a pickle."""
    path = Path(name)
    if path.is_dir():
        found = sorted(one for one in path.glob("*.safetensors") if not one.name.startswith("._"))
        if len(found) != 1:
            has = f"{len(found)} safetensors files" if found else "no safetensors file"
            raise InputError(f"{path} is a folder with {has}; name the {kind} itself")
        path = found[0]
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the file of a {kind}, or restore it")
    check_weights_name(path)
    if path.suffix.lower() != ".safetensors":
        raise CheckpointError(f"{path} is not a safetensors file, which a {kind} is read from; convert it")
    return path


def read_tensor_file(name: str, kind: str, recorded_sha256: str | None = None) -> TensorFile:
    """A file with its digest. InputError where it does not exist, or is not the recorded one; CheckpointError for a
    pickle, a truncated file and other formats."""
    path = find_file(name, kind)
    stat = path.stat()
    found = _read(path, stat.st_mtime_ns, stat.st_size)
    if recorded_sha256 is not None and found.sha256 != recorded_sha256:
        raise InputError(
            f"{path} has changed since it was recorded ({recorded_sha256[:8]} then, {found.sha256[:8]} now), so the "
            f"frames cannot be reproduced; restore the file, or name the {kind} again"
        )
    return found


@lru_cache(maxsize=32)
def _read(path: Path, changed_ns: int, size: int) -> TensorFile:
    """changed_ns, size: of the file now, so that another one under the same name is read."""
    header = read_header(path)
    shapes = {name: tensor.shape for name, tensor in header.tensors.items()}
    dtypes = {name: tensor.dtype for name, tensor in header.tensors.items()}
    return TensorFile(path, shapes, dtypes, header.metadata, sha256(path))


def check_floating(file: TensorFile, names: Iterable[str], kind: str) -> None:
    """CheckpointError for tensors of integers, which a LoRA or an embedding cannot consist of."""
    wrong = next((name for name in names if file.dtypes[name][0] in "IUB" and file.dtypes[name] != "BF16"), None)
    if wrong is not None:
        raise CheckpointError(
            f"{file.path} is not a {kind} that can be used: {wrong} is stored as {file.dtypes[wrong]}, not as "
            "floating-point numbers; use another file"
        )
