"""Memory and time that a render takes, stage by stage, to compare with its plan."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from videogen.backbones.base import Backbone
from videogen.engine.engine import Engine
from videogen.engine.run import Run
from videogen.planning.counter import LiveStorageCounter
from videogen.planning.stage_counts import DECODE, DENOISE, TEXT
from videogen.request.request import RenderRequest


class CallMeter:
    """Around every call of a method, in whichever thread: with a counter of storage, or a clock of CPU time.

    peak: of live bytes within calls, with the tensors that they are given; seconds: of each outermost call.
    """

    def __init__(self, *, counts: bool) -> None:
        self._counts, self._depth, self.peak, self.seconds = counts, 0, 0, list[float]()

    def around(self, owner: Any, name: str) -> None:
        """Replace a method of an instance or a class by one that is measured."""
        method: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(method)  # modular pipelines read its parameters
        def measured(*args: Any, **kwargs: Any) -> Any:
            if self._depth:
                return method(*args, **kwargs)
            self._depth += 1
            started = time.process_time()
            try:
                return self._count(owner, method, args, kwargs) if self._counts else method(*args, **kwargs)
            finally:
                self._depth -= 1
                self.seconds.append(time.process_time() - started)

        setattr(owner, name, measured)

    def _count(self, owner: Any, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        with LiveStorageCounter() as counter:
            counter.ignore([*_tensors_of(owner), *given])
            result = method(*args, **kwargs)
        self.peak = max(self.peak, counter.peak + sum(_storages(given).values()))
        return result


def _storages(tensors: Sequence[torch.Tensor]) -> dict[int, int]:
    """Address of a storage -> its bytes."""
    return {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}


def _tensors_of(owner: Any) -> list[torch.Tensor]:
    """The weights of a module, or of a backbone's."""
    modules = owner.components().values() if isinstance(owner, Backbone) else [owner]
    return [
        tensor
        for module in modules if isinstance(module, torch.nn.Module)
        for tensor in (*module.parameters(), *module.buffers())
    ]  # fmt: skip


def measure(engine: Engine, request: RenderRequest, *, counts: bool) -> dict[str, CallMeter]:
    """Render once, and return a meter per stage: of the calls of encoders, of denoisers, and of decoding to uint8."""
    meters = {name: CallMeter(counts=counts) for name in (TEXT, DENOISE, DECODE)}
    backbone = engine.backbone
    with ExitStack() as stack:

        def around(stage: str, owner: Any, name: str) -> None:
            previous = vars(owner).get(name)
            meters[stage].around(owner, name)
            stack.callback(_restore, owner, name, previous)

        denoisers = backbone.denoisers()
        for name, part in backbone.components().items():
            if name == "vae":
                around(TEXT, part, "encode")
            elif any(part is one for one in denoisers) or name.startswith("controlnet"):
                around(DENOISE, part, "forward")
            else:
                around(TEXT, part, "forward")
        for part, name in _decoding(backbone):
            around(DECODE, part, name)
        engine.render(replace(request, validate=False))  # its comparisons are no part of a plan
    return meters


def _decoding(backbone: Backbone) -> Iterator[tuple[Any, str]]:
    """(owner, method) of what turns latents into uint8 frames. A hosted pipeline does so in a thread of its own."""
    yield Run, "_to_frames"
    if backbone.native_guidance != "pipeline":
        yield backbone, "decode"
        return
    yield backbone.components()["vae"], "decode"
    processor = getattr(backbone.pipeline, "video_processor", None)
    if processor is not None:
        yield processor, "postprocess_video"


def _restore(owner: Any, name: str, previous: Any) -> None:
    if previous is None:
        delattr(owner, name)
    else:
        setattr(owner, name, previous)
