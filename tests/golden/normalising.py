"""The lasting part of manifests and journals: plain data without times, versions and places."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tests.golden.aliases import KEY_ALIASES, VALUE_ALIASES
from videogen.attention.config import with_policy

#: Keys whose values differ from run to run, or from machine to machine.
VOLATILE = frozenset({"versions", "timings_s", "seconds", "elapsed_s", "memory_mib", "peak_memory"})
#: Keys of a record that hash volatile values along with lasting ones; each tensor is hashed by itself instead.
_DIGESTS = frozenset({"file", "sha256", "request"})


def lasting(value: Any, folder: Path) -> Any:
    """Plain data without volatile keys; the folder of this run is called <folder>."""
    if isinstance(value, dict):
        kept = {str(key): inner for key, inner in value.items() if key not in VOLATILE}
        return {key.replace(str(folder), "<folder>"): lasting(inner, folder) for key, inner in kept.items()}
    if isinstance(value, list | tuple):
        return [lasting(inner, folder) for inner in value]
    return value.replace(str(folder), "<folder>") if isinstance(value, str) else value


def journal_of(job: Path, folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """A kept job: what it was begun with, and each segment's record and tensors, wherever in the folder.

    What it was begun with and also stands in the manifest, word for word, is not written a second time.
    """
    (begun,) = job.glob("*.json")
    records = sorted(path for path in job.rglob("*.json") if path != begun)
    tensors = sorted(job.rglob("*.safetensors"))
    if len(records) != len(tensors):
        raise AssertionError(f"{len(records)} records, {len(tensors)} files of tensors")
    segments = []
    for record, data in zip(records, tensors, strict=True):
        kept = {key: value for key, value in _unsealed(record).items() if key not in _DIGESTS}
        segments.append({**kept, "tensors": _tensors(data)})
    parts = [part for part in manifest.values() if isinstance(part, dict) and part]
    return {"job": _shortened(lasting(_unsealed(begun), folder), parts), "segments": lasting(segments, folder)}


def _shortened(value: Any, parts: list[Any]) -> Any:
    if value in parts:
        return "<as in the manifest>"
    return {key: _shortened(inner, parts) for key, inner in value.items()} if isinstance(value, dict) else value


def _unsealed(path: Path) -> dict[str, Any]:
    """The plain data of a journal's file, which a hash of it follows."""
    values: dict[str, Any] = json.JSONDecoder().raw_decode(path.read_text(encoding="utf-8"))[0]
    return values


def _tensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    found = {}
    for name, value in load_file(path).items():
        array = value.contiguous().numpy()
        digest = hashlib.sha256(array.tobytes()).hexdigest()
        found[name] = {"shape": list(array.shape), "dtype": str(array.dtype), "sha256": digest}
    return found


def renamed(value: Any) -> Any:
    """Stored data under today's names."""
    if isinstance(value, dict):
        value = with_policy(value) if "sparsity" in value else value
        return {KEY_ALIASES.get(key, key): renamed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [renamed(inner) for inner in value]
    return VALUE_ALIASES.get(value, value) if isinstance(value, str) else value


def text_of(value: Any) -> str:
    """Sorted JSON, one entry a line; numbers in a row and small tables stand in one line."""
    return _indented(json.loads(json.dumps(value)), 0) + "\n"


def _indented(value: Any, depth: int) -> str:
    pad, end = "\n" + " " * (depth + 1), "\n" + " " * depth
    if isinstance(value, dict) and value and not _short_row(value):
        rows = [f"{json.dumps(key)}: {_indented(inner, depth + 1)}" for key, inner in sorted(value.items())]
        return "{" + pad + ("," + pad).join(rows) + end + "}"
    if isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value) and not _of_numbers(value):
        return "[" + pad + ("," + pad).join(_indented(inner, depth + 1) for inner in value) + end + "]"
    return json.dumps(value, sort_keys=True)


def _short_row(value: dict[str, Any]) -> bool:
    """Whether it is a table row, such as a step of the plan, which reads best in one line."""
    return not any(isinstance(inner, dict | list) for inner in value.values()) and len(json.dumps(value)) <= 400


def _of_numbers(value: Any) -> bool:
    if isinstance(value, list):
        return all(_of_numbers(inner) for inner in value)
    return value is None or isinstance(value, int | float)
