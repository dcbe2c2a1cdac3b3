"""Guidance branch of a model call: conditional, unconditional or both, a further prompt, a window of the clip."""

from __future__ import annotations

from dataclasses import dataclass

BOTH = "uncond+cond"


@dataclass(frozen=True)
class Branch:
    """Which of a step's model calls this is; features are cached per branch.

    kind: `cond`, `uncond`, or `uncond+cond` where one batch holds both. prompt: 0 for the main prompt, k for the k-th
    further prompt of a blend. window: first latent frame of the window that is evaluated; None: the entire clip.
    """

    kind: str
    prompt: int = 0
    window: int | None = None

    def __str__(self) -> str:
        """As in reports: `cond`, `cond:1`, `uncond@12`."""
        prompt = f":{self.prompt}" if self.prompt else ""
        return f"{self.kind}{prompt}" if self.window is None else f"{self.kind}{prompt}@{self.window}"
