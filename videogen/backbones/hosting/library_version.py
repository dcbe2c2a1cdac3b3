"""Version of the installed diffusers: which pipeline classes it has. diffusers is not imported here."""

from __future__ import annotations

import re
from importlib.metadata import version

from .pipeline_row import PipelineRow


def installed_version() -> str:
    """Of diffusers, as its package states it."""
    return version("diffusers")


def has_class(row: PipelineRow) -> bool:
    """Whether the installed version has the row's pipeline class."""
    return _major_minor(installed_version()) >= _major_minor(row.since)


def _major_minor(release: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", release)[:2]]
