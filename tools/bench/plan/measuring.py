"""Memory and time that a render takes, stage by stage, to compare with its plan."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from videogen.engine.engine import Engine
from videogen.planning.counter import LiveStorageCounter
from videogen.planning.stage_counts import DECODE, DENOISE, TEXT
from videogen.request.request import RenderRequest


class CallMeter:
    """Around every call of a module's method, in whichever thread: with a counter of storage, or a clock of CPU time.

    peak: of live bytes within calls, above what was live before; seconds: of each call.
    """

    def __init__(self, *, counts: bool) -> None:
        self._counts, self.peak, self.seconds = counts, 0, list[float]()

    def around(self, owner: Any, name: str) -> None:
        """Replace an instance's method by one that is measured."""
        method: Callable[..., Any] = getattr(owner, name)

        def measured(*args: Any, **kwargs: Any) -> Any:
            started = time.process_time()
            if not self._counts:
                result = method(*args, **kwargs)
            else:
                with LiveStorageCounter() as counter:
                    counter.ignore(_tensors_of(owner))
                    result = method(*args, **kwargs)
                self.peak = max(self.peak, counter.peak)
            self.seconds.append(time.process_time() - started)
            return result

        setattr(owner, name, measured)


def _tensors_of(owner: Any) -> list[torch.Tensor]:
    module = owner if isinstance(owner, torch.nn.Module) else None
    return [] if module is None else [*module.parameters(), *module.buffers()]


def measure(engine: Engine, request: RenderRequest, *, counts: bool) -> dict[str, CallMeter]:
    """Render once, and return a meter per stage: of encoders, of guided predictions, of decoding to uint8."""
    meters = {name: CallMeter(counts=counts) for name in (TEXT, DENOISE, DECODE)}
    backbone = engine.backbone
    hosted = backbone.native_guidance == "pipeline"
    patched: list[tuple[Any, str]] = []

    def around(stage: str, owner: Any, name: str) -> None:
        meters[stage].around(owner, name)
        patched.append((owner, name))

    for name, part in backbone.components().items():
        if name.startswith("text_encoder"):
            around(TEXT, part, "forward")
    for denoiser in backbone.denoisers():
        around(DENOISE, denoiser, "forward")
    around(DECODE, backbone.components()["vae"] if hosted else backbone, "decode")
    try:
        engine.render(request)
    finally:
        for owner, name in patched:
            vars(owner).pop(name, None)
    return meters
