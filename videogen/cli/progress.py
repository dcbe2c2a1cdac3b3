"""Progress bar on stderr: stage, step, time left. It is hidden where stderr is not a terminal, and with --quiet."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

from videogen.core.files import atomic_path
from videogen.sampling.progress import Progress

from .saving import side_file
from .text import printable

if TYPE_CHECKING:
    import numpy as np

_STAGES = {
    "check": "checking the inputs", "load": "loading the model", "encode": "encoding the prompt",
    "denoise": "denoising", "decode": "decoding", "save": "saving",
    "resume": "decoding segments that are done", "trial": "trying policies",
}  # fmt: skip


_REDRAW_S = 1.0


class Bar:
    """A callback for the engine that draws one line, and writes the preview image if there is one.

    notes: gets why the preview was not written; speaks: whether notes are printed. redraw_s: seconds after which the
    line is drawn again, so that its clock also runs in stages that report nothing, such as loading.
    steps_per_segment: of a long video, so that the line also shows the segment.
    """

    def __init__(
        self,
        visible: bool,
        preview: Path | None = None,
        notes: list[str] | None = None,
        *,
        speaks: bool = False,
        redraw_s: float = _REDRAW_S,
    ) -> None:
        self._visible, self._preview, self._speaks = visible and sys.stderr.isatty(), preview, speaks
        self._notes = [] if notes is None else notes
        self._bar: Any = None
        self._redraw_s, self._closed = redraw_s, threading.Event()
        self._drawing = threading.RLock()
        self.steps_per_segment: int | None = None

    def announce(self, notes: list[str]) -> None:
        """Print notes at once, above the bar; they are not repeated at the end. With --json they are in the result."""
        if not self._speaks:
            self._notes += notes
            return
        self.close()
        for note in notes:
            print(f"note: {printable(note)}", file=sys.stderr)

    def stage(self, name: str) -> None:
        """Show a stage that the engine does not report itself."""
        self(Progress(name, 0, 1, 0.0))

    def __call__(self, progress: Progress) -> None:
        if progress.preview is not None and self._preview is not None:
            failures = len(self._notes)
            with side_file("preview", self._preview, self._notes):
                _save_preview(self._preview, progress.preview)
            if len(self._notes) > failures:  # once is enough
                self._preview = None
        if not self._visible:
            return
        with self._drawing:
            self._draw(progress)

    def _draw(self, progress: Progress) -> None:
        text = _STAGES.get(progress.stage, progress.stage)
        if self._bar is None:
            from tqdm import tqdm

            size = get_terminal_size((100, 24))
            layout = "{desc:<20} {bar:28} {n_fmt:>3}/{total_fmt} {elapsed}<{remaining}{postfix}"
            self._bar = tqdm(
                desc=text,
                file=sys.stderr,
                total=progress.steps,
                bar_format=layout,
                leave=False,
                ncols=size.columns,
                nrows=size.lines,
            )
            self._closed = threading.Event()
            name = "videogen-progress"
            threading.Thread(target=self._keep_drawing, args=(self._closed,), name=name, daemon=True).start()
        if self._bar.desc.strip(": ") != text or self._bar.total != progress.steps:
            self._bar.reset(total=progress.steps)
            self._bar.set_description_str(text, refresh=False)
            self._bar.initial = progress.step  # the steps of an earlier run are no measure of the speed
        self._bar.set_postfix_str(self._segment(progress), refresh=False)
        self._bar.n = progress.step
        self._bar.refresh(nolock=True)

    def _segment(self, progress: Progress) -> str:
        if self.steps_per_segment is None or progress.stage != "denoise":
            return ""
        count = progress.steps // self.steps_per_segment
        return f"segment {min(progress.step // self.steps_per_segment, count - 1) + 1} of {count}"

    def _keep_drawing(self, closed: threading.Event) -> None:
        """Draw the line again and again until it is closed, from a thread of its own."""
        while not closed.wait(self._redraw_s):
            with self._drawing:
                if not closed.is_set():
                    self.redraw()

    def redraw(self) -> None:
        """Draw the line again: its clock runs."""
        self._bar.refresh(nolock=True)  # a signal could leave tqdm's own lock locked

    def close(self) -> None:
        self._closed.set()
        with self._drawing:
            if self._bar is not None:
                self._bar.close()
                self._bar = None


def _save_preview(path: Path, frames: np.ndarray) -> None:
    """The frames side by side, enlarged eight times. A viewer that reloads the file shows the render as it forms."""
    from videogen.media.still import save_image

    strip = frames.transpose(1, 0, 2, 3).reshape(frames.shape[1], -1, 3).repeat(8, 0).repeat(8, 1)
    with atomic_path(path, overwrite=True) as partial:
        save_image(partial, strip)
