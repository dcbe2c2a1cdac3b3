"""Parts of a pipeline: components that come from a file, a folder or a repository of their own. No torch here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videogen.core.errors import CheckpointError

from .header import read_header
from .names import HubId
from .tensors import Header

_CONFIG = "config.json"
#: class of a configuration -> classes that the library also loads it as
_CONVERTED = {"UNet2DConditionModel": ("UNetMotionModel",), "Transformer2DModel": ("DiTTransformer2DModel",)}


@dataclass(frozen=True)
class Part:
    """Where a component comes from. name: the component; source: a file, a folder or a repository; given: that source
    by the name that is recorded; prefix: of the names of its tensors, in a file that has more."""

    name: str
    source: Path | HubId
    given: str
    prefix: str = ""

    @property
    def file(self) -> Path | None:
        """The weights file; None for a folder and a repository."""
        return self.source if isinstance(self.source, Path) and self.source.is_file() else None

    @property
    def header(self) -> Header:
        """Of the file. CheckpointError where it is damaged."""
        assert self.file is not None
        return read_header(self.file)

    @property
    def subfolder(self) -> str:
        """The component's folder within a folder: its name within an entire pipeline, else empty.

        CheckpointError for a folder that is neither.
        """
        assert isinstance(self.source, Path)
        for folder in (self.name, ""):
            if (self.source / folder / _CONFIG).is_file():
                return folder
        raise CheckpointError(
            f"{self.source} has neither {_CONFIG} nor {self.name}/{_CONFIG}; give the folder of a {self.name}, or of a "
            "pipeline that has one"
        )

    def own_config(self) -> dict[str, Any] | None:
        """The configuration that comes with the part: of its folder, or next to its file. None where there is none on
        this machine."""
        if self.file is not None:
            path = self.file.with_name(_CONFIG)
            config = read_config(path) if path.is_file() else {}
            wanted = "architectures" if self.name.startswith("text_encoder") else "_class_name"
            return config if wanted in config else None
        if isinstance(self.source, Path):
            return read_config(self.source / self.subfolder / _CONFIG)
        return None

    def check_class(self, kind: str) -> None:
        """CheckpointError where the configuration states another class of diffusers than the pipeline's. kind: that
        class."""
        stated = None if self.name.startswith("text_encoder") else (self.own_config() or {}).get("_class_name")
        if isinstance(stated, str) and stated != kind and kind not in _CONVERTED.get(stated, ()):
            raise CheckpointError(
                f"{self.name}={self.given!r} is a {stated}, and this pipeline's {self.name} is a {kind}; give one of "
                "that class, or load the pipeline that it belongs to"
            )


def read_config(path: Path) -> dict[str, Any]:
    """A configuration file. CheckpointError where it is damaged."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; it is damaged: copy it again") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} is not a configuration; copy it again")
    return config
