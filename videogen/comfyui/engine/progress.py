"""Progress of the engine at a ComfyUI node, with previews, and interruption within a step.

ComfyUI's interruption is an exception that something has to raise. The engine's progress callback is called once per
step, which may take minutes; so while a node renders, hooks on the model's blocks raise it too. They change nothing
that is computed, and are removed in the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from videogen.media.video import Video
from videogen.sampling.progress import Progress

if TYPE_CHECKING:
    from videogen.engine.engine import Engine

_LEAST_SIDE_PX = 256  # of the image in which a preview is shown
_COLUMNS, _FRAMES = 2, 4


def check_interrupted(*_: Any) -> None:
    """Raise ComfyUI's exception where the user has interrupted the run."""
    from comfy.model_management import throw_exception_if_processing_interrupted

    throw_exception_if_processing_interrupted()


@contextmanager
def interruptible(engine: Engine) -> Iterator[None]:
    """Within it, an interruption arrives before the next block of the model, its VAE or its text encoder. A compiled
    model is not changed: there it arrives before the next call of a component."""
    with ExitStack() as stack:
        for module in _hooked_modules(engine):
            stack.callback(module.register_forward_pre_hook(check_interrupted).remove)
        yield


class NodeProgress:
    """A callback for the engine: the node's progress bar over all of its clips, with the preview where there is one."""

    def __init__(self) -> None:
        from comfy.utils import ProgressBar

        self._bar = ProgressBar(1)
        self._clip, self._clips = 0, 1

    def begin_clip(self, number: int, count: int) -> None:
        """From now on, steps are those of the clip with this number, of so many."""
        self._clip, self._clips = number, max(count, number + 1)

    def __call__(self, progress: Progress) -> None:
        check_interrupted()
        if progress.stage != "denoise":
            return
        preview = None if progress.preview is None else ("JPEG", _draw(progress.preview), None)
        done = self._clip * progress.steps + progress.step
        self._bar.update_absolute(done, self._clips * progress.steps, preview)


def _hooked_modules(engine: Engine) -> Iterator[nn.Module]:
    """Each component, the modules directly in it, and the blocks of its lists."""
    for component in engine.backbone.components().values():
        yield component
        if engine.backbone.compile:
            continue
        yield from component.children()
        for module in component.modules():
            if isinstance(module, nn.ModuleList):
                yield from module


def _draw(frames: np.ndarray) -> Any:
    """A Pillow image of evenly spaced frames uint8 [f, h, w, 3], enlarged."""
    sheet = Video(frames).contact_sheet(columns=_COLUMNS, count=_FRAMES)
    factor = max(1, -(-_LEAST_SIDE_PX // min(sheet.shape[:2])))
    return Video(sheet.repeat(factor, 0).repeat(factor, 1)[None]).to_pil()[0]
