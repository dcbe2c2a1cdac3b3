"""Run manifest: the request, the model, the versions and the measurements of a render. It is stored inside the video.

How it is stored in a container: `media.metadata`.
"""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from typing import Any

from .errors import InputError

SCHEMA = 1
_PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "av", "numpy", "xformers", "flash-attn", "triton")


_KINDS = {
    "request": dict,
    "model": dict,
    "versions": dict,
    "plan": list,
    "measured": dict,
    "output": dict,
    "timings_s": dict,
}


@dataclass(frozen=True)
class Manifest:
    """Everything needed to know how a video was made, and to reproduce it.

    request: the resolved render request; model: name, family and content hash; versions: of this package and of the
    packages that affect pixels; plan: the step plan, one row per step; measured: promises and the values reached;
    output: how the file was written; timings_s: by stage.
    """

    request: dict[str, Any]
    model: dict[str, Any]
    versions: dict[str, str] = field(default_factory=dict)
    plan: list[dict[str, Any]] = field(default_factory=list)
    measured: dict[str, Any] = field(default_factory=dict)
    output: dict[str, Any] = field(default_factory=dict)
    timings_s: dict[str, float] = field(default_factory=dict)
    schema: int = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Manifest:
        """InputError where it is not a manifest of this schema."""
        if values.get("schema") != SCHEMA:
            raise InputError(f"manifest schema {values.get('schema')!r} is not {SCHEMA}; use the version that wrote it")
        known = {f.name for f in fields(cls)}
        unexpected = sorted(set(values) - known)
        if unexpected or not {"request", "model"} <= set(values):
            raise InputError(
                f"not a videogen manifest: unexpected or missing keys {unexpected or ['request', 'model']}"
            )
        for name, kind in _KINDS.items():
            if name in values and not isinstance(values[name], kind):
                raise InputError(f"not a videogen manifest: {name} is not a {kind.__name__}")
        return cls(**values)


def collect_versions() -> dict[str, str]:
    """Versions of the installed packages that affect pixels."""
    from ._version import __version__

    versions = {"videogen": __version__, "python": platform.python_version(), "platform": platform.machine()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
