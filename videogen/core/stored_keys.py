"""Renamed keys of stored data: manifests, requests and jobs of earlier versions are read under today's names.

A row says where an old key stands, as a dotted path in which `*` is any key or list item, and what the key is called
now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: of a continuity configuration: in requests, manifests, jobs and specs such as `cono:pull=0.1`
CONTINUITY_KEYS: Mapping[str, str] = {
    "pull": "mean_regularisation",
}
#: of a sprite in a motion: in motion plans, requests, manifests and jobs
SPRITE_KEYS: Mapping[str, str] = {
    "picture": "image",
}
#: of a render request: in configuration files, manifests and jobs
REQUEST_KEYS: Mapping[str, str] = {
    "motion_picture": "first_frame",
    **{f"continuity.{path}": name for path, name in CONTINUITY_KEYS.items()},
    **{f"motion.*.sprites.*.{key}": name for key, name in SPRITE_KEYS.items()},
    **{f"story.shots.*.motion.*.sprites.*.{key}": name for key, name in SPRITE_KEYS.items()},
}
#: of a manifest
MANIFEST_KEYS: Mapping[str, str] = {
    **{f"request.{path}": name for path, name in REQUEST_KEYS.items()},
    **{f"measured.long.continuity.{path}": name for path, name in CONTINUITY_KEYS.items()},
    "measured.dual_clock.held_steps": "clamped_steps",
    "measured.long.pieces": "segments",
    "measured.attention.sites": "layers",
    "measured.long.motion.shots.*.asked_px": "target_px",
    "measured.long.report.beat": "frames_per_latent",
    "measured.long.report.freeze.share": "fraction",
    "measured.long.report.repetition.likeness": "similarity",
}
#: of a checkpoint's `defaults.json`
DEFAULTS_KEYS: Mapping[str, str] = {
    "dual_clock_whole": "dual_clock_global",
    "motion_backend_whole": "motion_backend_global",
}
#: of what a job of a long render was started with (`job.json`)
JOB_KEYS: Mapping[str, str] = {f"request.{path}": name for path, name in REQUEST_KEYS.items()}


def with_current_keys(values: Any, renamed: Mapping[str, str] = MANIFEST_KEYS) -> Any:
    """A copy of plain data in which every old key has its present name; a value stored under both keeps the present
    one."""
    return _renamed(values, [(tuple(path.split(".")), name) for path, name in renamed.items()])


def with_earlier_keys(values: Any, renamed: Mapping[str, str]) -> Any:
    """The reverse of `with_current_keys`: every present name becomes the old key."""
    rows = [path.split(".") for path in renamed]
    return _renamed(values, [((*path[:-1], name), path[-1]) for path, name in zip(rows, renamed.values(), strict=True)])


def _renamed(values: Any, rows: list[tuple[tuple[str, ...], str]]) -> Any:
    if isinstance(values, list):
        return [_renamed(item, list(_below(rows, "*"))) for item in values]
    if not isinstance(values, dict):
        return values
    names = {path[0]: name for path, name in rows if len(path) == 1}
    result: dict[Any, Any] = {}
    for key, value in values.items():
        name = names.get(key, key)
        if name == key or name not in values:
            result[name] = _renamed(value, list(_below(rows, key)))
    return result


def _below(rows: list[tuple[tuple[str, ...], str]], key: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """The rows for the values under a key."""
    return ((path[1:], name) for path, name in rows if len(path) > 1 and path[0] in (key, "*"))
