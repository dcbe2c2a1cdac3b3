"""Reproducible part of manifests and journals: plain data without times, versions and paths."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tests.golden.aliases import KEY_ALIASES, VALUE_ALIASES
from videogen.attention.config import with_policy

#: Keys whose values differ from run to run, or from machine to machine.
VOLATILE = frozenset({"versions", "timings_s", "seconds", "elapsed_s", "memory_mib", "peak_memory", "kernels"})
#: Keys of a record that hash volatile values together with reproducible ones; each tensor is hashed separately instead.
_DIGESTS = frozenset({"file", "sha256", "request"})


def without_volatile(value: Any, folder: Path) -> Any:
    """Plain data without volatile keys; the folder of this run is replaced by <folder>."""
    if isinstance(value, dict):
        retained = {str(key): inner for key, inner in value.items() if key not in VOLATILE}
        return {
            key.replace(str(folder), "<folder>"): without_volatile(inner, folder) for key, inner in retained.items()
        }
    if isinstance(value, list | tuple):
        return [without_volatile(inner, folder) for inner in value]
    return value.replace(str(folder), "<folder>") if isinstance(value, str) else value


def job_data(job: Path, folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """A stored job: the description that it was started with, and the record and tensors of each segment.

    Parts of the description that the manifest contains verbatim are not written a second time. What describes the job
    and does not decide its result (`journal.job.read_about`) is left out.
    """
    (description,) = job.glob("*.json")
    records = sorted(path for path in job.rglob("*.json") if path != description)
    tensors = sorted(job.rglob("*.safetensors"))
    if len(records) != len(tensors):
        raise AssertionError(f"{len(records)} records, {len(tensors)} files of tensors")
    segments = []
    for record, data in zip(records, tensors, strict=True):
        retained = {key: value for key, value in _without_hash(record).items() if key not in _DIGESTS}
        segments.append({**retained, "tensors": _tensors(data)})
    stored = {key: value for key, value in _without_hash(description).items() if key != "about"}
    parts = [part for part in manifest.values() if isinstance(part, dict) and part]
    return {
        "job": _without_repeats(without_volatile(stored, folder), parts),
        "segments": without_volatile(segments, folder),
    }


def _without_repeats(value: Any, parts: list[Any]) -> Any:
    if value in parts:
        return "<as in the manifest>"
    return {key: _without_repeats(inner, parts) for key, inner in value.items()} if isinstance(value, dict) else value


def _without_hash(path: Path) -> dict[str, Any]:
    """The plain data of a journal file, without the hash that follows it."""
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


def with_present_names(value: Any) -> Any:
    """Stored data under the present names."""
    if isinstance(value, dict):
        value = with_policy(value) if "sparsity" in value else value
        return {KEY_ALIASES.get(key, key): with_present_names(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [with_present_names(inner) for inner in value]
    return VALUE_ALIASES.get(value, value) if isinstance(value, str) else value


def to_text(value: Any) -> str:
    """Sorted JSON, one entry per line; lists of numbers and small tables take one line."""
    return _indent(json.loads(json.dumps(value)), 0) + "\n"


def _indent(value: Any, depth: int) -> str:
    pad, end = "\n" + " " * (depth + 1), "\n" + " " * depth
    if isinstance(value, dict) and value and not _is_short_row(value):
        rows = [f"{json.dumps(key)}: {_indent(inner, depth + 1)}" for key, inner in sorted(value.items())]
        return "{" + pad + ("," + pad).join(rows) + end + "}"
    if isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value) and not _is_numeric(value):
        return "[" + pad + ("," + pad).join(_indent(inner, depth + 1) for inner in value) + end + "]"
    return json.dumps(value, sort_keys=True)


def _is_short_row(value: dict[str, Any]) -> bool:
    """Whether a value is a table row, such as a step of the plan, which is most readable on one line."""
    return not any(isinstance(inner, dict | list) for inner in value.values()) and len(json.dumps(value)) <= 400


def _is_numeric(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_numeric(inner) for inner in value)
    return value is None or isinstance(value, int | float)
