"""A double of what the engine's nodes use of ComfyUI: folders, videos, progress, interruption and the prompt server."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any


class Interrupted(BaseException):
    """As ComfyUI's, it is no `Exception`."""


class Wan21:
    """A latent format whose scale is neither 0 nor 1."""

    def process_in(self, latents: Any) -> Any:
        return latents / 2 - 1

    def process_out(self, latents: Any) -> Any:
        return (latents + 1) * 2


@dataclass
class Interruption:
    """Interrupts at the check with number `at`; None: never. checks: so far."""

    at: int | None = None
    checks: int = 0

    def check(self) -> None:
        self.checks += 1
        if self.at is not None and self.checks >= self.at:
            self.at = None
            raise Interrupted


@dataclass
class Bars:
    """What all progress bars were given: (value, total, preview)."""

    updates: list[tuple[int, int, Any]] = field(default_factory=list)

    def bar(self, total: int) -> Any:
        return SimpleNamespace(update_absolute=lambda *update: self.updates.append(update))


@dataclass(frozen=True)
class VideoFromComponents:
    parts: Any

    def get_components(self) -> Any:
        return self.parts


@dataclass(frozen=True)
class VideoFromFile:
    path: str

    def get_stream_source(self) -> str:
        return self.path


@dataclass(frozen=True)
class VideoComponents:
    images: Any
    frame_rate: Any
    audio: Any = None
    metadata: Any = None
    alpha: Any = None


@dataclass(frozen=True)
class Controls:
    """What tests set and read of a host, be it the double or the real ComfyUI. folders: ComfyUI's, by method."""

    interruption: Interruption
    bars: Bars
    folders: Any


def take_control(monkeypatch: Any) -> Controls:
    """Put interruption and progress bars of its own into the host."""
    management, utils = import_module("comfy.model_management"), import_module("comfy.utils")
    controls = Controls(Interruption(), Bars(), import_module("folder_paths"))
    monkeypatch.setattr(management, "throw_exception_if_processing_interrupted", controls.interruption.check)
    monkeypatch.setattr(utils, "ProgressBar", controls.bars.bar)
    return controls


def build_modules(latest: Any) -> dict[str, ModuleType]:
    """The modules, by name; what `comfy_api.latest` has besides the schema is added to it."""
    latest.InputImpl = SimpleNamespace(VideoFromComponents=VideoFromComponents, VideoFromFile=VideoFromFile)
    latest.Types = SimpleNamespace(VideoComponents=VideoComponents)
    management, utils, folders, server = map(
        ModuleType, ("comfy.model_management", "comfy.utils", "folder_paths", "server")
    )
    base = Path(tempfile.gettempdir()) / "videogen_no_such_folder"
    vars(management).update(
        throw_exception_if_processing_interrupted=lambda: None,
        load_model_gpu=lambda model: None,
    )
    vars(utils).update(ProgressBar=Bars().bar)
    vars(folders).update(
        get_folder_paths=lambda kind: [str(base / "models" / kind)],
        get_full_path=lambda kind, name: None,
        get_temp_directory=lambda: str(base / "temp"),
        get_output_directory=lambda: str(base / "output"),
        get_input_directory=lambda: str(base / "input"),
        get_save_image_path=lambda prefix, output: (
            str((Path(output) / prefix).parent),
            Path(prefix).name,
            1,
            str(Path(prefix).parent),
            prefix,
        ),
    )
    vars(server).update(PromptServer=SimpleNamespace(instance=None))
    return {one.__name__: one for one in (management, utils, folders, server)}
