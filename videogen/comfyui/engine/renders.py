"""Renders of the engine's nodes: one clip in memory, or a video of any length in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from videogen.core.errors import UnsupportedError
from videogen.media.video import Video
from videogen.request.request import RenderRequest
from videogen.request.technique_checks import check_technique
from videogen.sampling.technique import Technique

from .latents import FinalLatents, to_latent
from .memory import make_room
from .models import naming_missing_packages
from .progress import NodeProgress, interruptible

if TYPE_CHECKING:
    from videogen.backbones.base import Backbone
    from videogen.engine.engine import Engine
    from videogen.longvideo.render import LongVideo


@dataclass(frozen=True)
class RenderedClip:
    """latent: ComfyUI's LATENT, and final: as the denoiser has them, None for a video of several clips; notes: what the
    user should know."""

    video: Video
    latent: dict[str, Any] | None
    final: torch.Tensor | None
    notes: tuple[str, ...]


def render_clip(
    engine: Engine, request: RenderRequest, *, previews: bool = False, techniques: Sequence[Technique] = ()
) -> RenderedClip:
    """The clip of a request, as `Engine.render` gives it. previews: shown at the node where the model has any. Raises
    as that; ComfyUI's interruption leaves the engine as it was."""
    with running(engine) as progress:
        return render_within(engine, request, progress, previews=previews, techniques=techniques)


def render_within(
    engine: Engine, request: RenderRequest, progress: NodeProgress, *, previews: bool = False,
    techniques: Sequence[Technique] = (),
) -> RenderedClip:  # fmt: skip
    """The same within `running`, which gives the progress: for a node that renders several clips."""
    resolved = request.resolve(engine.backbone)
    final = FinalLatents()
    every = int(previews and not resolved.is_long and _has_previews(engine.backbone))
    given = [*techniques, *([] if resolved.is_long else [final])]
    video = engine.render(resolved, techniques=given, progress=progress, preview_every=every)
    latent = None if final.latents is None else to_latent(final.latents, engine.backbone)
    return RenderedClip(video, latent, final.latents, tuple(resolved.notes))


def render_file(engine: Engine, request: RenderRequest, path: Path) -> LongVideo:
    """A video of any length in a file, in constant memory. An interrupted one resumes when it is rendered again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with running(engine) as progress:
        return engine.render_long(request, path, overwrite=True, progress=progress)


@contextmanager
def running(engine: Engine) -> Iterator[NodeProgress]:
    """Around an engine's work at a node: room on its device, the progress bar, and interruption."""
    make_room(engine.backbone.device)
    with naming_missing_packages(), interruptible(engine):
        try:
            yield NodeProgress()
        finally:
            engine.backbone.release()


def _has_previews(backbone: Backbone) -> bool:
    try:
        check_technique("previews", backbone)
    except UnsupportedError:
        return False
    return True
