"""Progress bar over several clips: steps of all of them, which clip is rendered, and the time left for all."""

from __future__ import annotations

from dataclasses import replace

from videogen.sampling.progress import Progress

from .progress import Bar


class ClipsBar(Bar):
    """count: of all clips; numbers: of those to render, from 1; first: the place in it of the engine's first one."""

    def __init__(self, visible: bool, *, speaks: bool, count: int) -> None:
        super().__init__(visible, speaks=speaks)
        self.count, self.first = count, 0
        self.numbers: list[int] = []
        self._position, self._total, self._clips = 0, 1, list[int]()

    def __call__(self, progress: Progress) -> None:
        if progress.stage in ("check", "load"):
            return super().__call__(progress)
        first, size = self.first + progress.clips.start, len(progress.clips)
        if progress.stage == "denoise":
            self._total = progress.steps * len(self.numbers)
            self._position = progress.steps * first + progress.step * size
            self._clips = self.numbers[first : first + size]
        super().__call__(replace(progress, stage="rendering", step=self._position, steps=self._total))

    def show_path(self, text: str) -> None:
        """Print a line on stdout, above the bar."""
        with self._drawing:
            if self._bar is not None:
                self._bar.clear(nolock=True)
            print(text, flush=True)
            if self._bar is not None:
                self._bar.refresh(nolock=True)

    def _segment(self, progress: Progress) -> str:
        if not self._clips or progress.stage != "rendering":
            return ""
        first, last = self._clips[0], self._clips[-1]
        return f"clip {first} of {self.count}" if first == last else f"clips {first} to {last} of {self.count}"
