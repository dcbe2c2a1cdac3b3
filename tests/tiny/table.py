"""Table of tiny pipelines: how each class of the library is built at a size of kilobytes, and how it is called.

One file per lineage adds its rows to `LINEAGES`. Components are random, fp32 and on the CPU; they are built from the
library's classes alone, without a hub or a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

PROMPT, NEGATIVE = "a red ball moves right on a black background", "blurry"


@dataclass(frozen=True)
class TinyCall:
    """One call of a tiny pipeline. frames, width, height: of the video; guided: whether classifier-free guidance is
    on; prompts: one per video."""

    frames: int
    width: int
    height: int
    steps: int = 3
    guided: bool = True
    prompts: tuple[str, ...] = (PROMPT,)

    @property
    def prompt(self) -> str | list[str]:
        """As a pipeline takes it: a text, or a list for a batch."""
        return self.prompts[0] if len(self.prompts) == 1 else list(self.prompts)

    @property
    def negative_prompt(self) -> str | list[str]:
        return NEGATIVE if len(self.prompts) == 1 else [NEGATIVE] * len(self.prompts)


@dataclass(frozen=True)
class Tiny:
    """A row: a pipeline class at a tiny size. name: the class, with `:variant` for further rows of it.

    build: a new pipeline, the same weights each time, progress bar disabled. given: conditions of a call under the
    engine's names (image, last_image, images, video, mask, control, references, audio, strength), values as PIL images
    or lists of them. options: arguments under the pipeline's own names that the engine's keywords do not state. call:
    every argument of `pipeline(...)` for a call, except generator and output_type: the reference, written out with the
    pipeline's own names. sizes: (frames, width, height), at least two sizes and two lengths where the class has them.
    solvers: further scheduler classes of the library that the loop runs with. batch: whether it takes several prompts
    at once. guides: whether it has guidance. core: in the quick selection of the tests, one row per lineage.
    prepare: sets what a call states on the pipeline rather than as an argument: the scale of a guider component.
    """

    name: str
    build: Callable[[], Any]
    call: Callable[[TinyCall], dict[str, Any]]
    sizes: tuple[tuple[int, int, int], ...]
    given: Callable[[TinyCall], dict[str, Any]] = lambda call: {}
    options: Mapping[str, Any] = field(default_factory=dict)
    solvers: tuple[str, ...] = ()
    batch: bool = True
    guides: bool = True
    core: bool = False
    prepare: Callable[[Any, TinyCall], None] = lambda pipeline, call: None


#: Modules of this package that define `ROWS`.
LINEAGES: tuple[str, ...] = (
    "allegro", "animatediff", "cogvideox", "cosmos", "early_unets", "easyanimate", "helios", "hunyuan", "hunyuan15",
    "kandinsky5", "kandinsky6", "latte", "ltx", "ltx2", "mochi", "modular", "motif", "sana_video", "skyreels_v2", "svd",
    "wan",
)  # fmt: skip


def load_rows() -> dict[str, Tiny]:
    """Name of a row -> row, of all lineages."""
    rows = [row for lineage in LINEAGES for row in import_module(f"tests.tiny.{lineage}").ROWS]
    assert len({row.name for row in rows}) == len(rows), "two rows have the same name"
    return {row.name: row for row in rows}
