"""Batches of clips: how many are rendered at once, and what happens where they do not fit the memory.

Clips of a batch share each model call, which is faster than one after another as long as they fit; a single clip has
the same noise in any batch (`AddressedNoise`), and the same frames but for the rounding of larger matrix products.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from videogen.core.checks import check_count
from videogen.core.errors import InputError, OutOfMemoryError
from videogen.core.logs import log_note
from videogen.media.video import Video
from videogen.request.resolved import ResolvedRequest
from videogen.sampling.progress import Progress, ProgressCallback, report

if TYPE_CHECKING:
    from videogen.backbones.base import Backbone

#: Clips at once on a CPU, where more are no faster. Time per clip, of that of one after another, on one thread: the
#: embedded DiT 0.65 with 2 at once, 0.6 with 4 or 8; the embedded UNet 0.95, 1.05 and 1.1.
CPU_BATCH = 2

Render = Callable[[list[ResolvedRequest], "ProgressCallback | None"], list[Video]]


@dataclass(frozen=True)
class BatchLimit:
    """size: the most clips at once; divisible: whether a batch that does not fit the memory is divided, or an error."""

    size: int
    divisible: bool = True


def check_equal_settings(requests: Sequence[ResolvedRequest]) -> None:
    """InputError for no request, and for requests that differ in more than prompt and seed."""
    if not requests:
        raise InputError("requests=[] has no request; give at least one")
    first = _settings_of(requests[0])
    for number, request in enumerate(requests):
        other = _settings_of(request)
        # by their text: options may hold tensors, which do not compare to one truth value
        differing = [name for name in first | other if repr(first.get(name)) != repr(other.get(name))]
        if differing:
            name = differing[0]
            raise InputError(
                f"requests[{number}] has {name}={other.get(name)!r} and the first {first.get(name)!r}; render requests "
                "that differ in more than prompt and seed one by one"
            )


def _settings_of(request: ResolvedRequest) -> dict[str, Any]:
    return {name: value for name, value in request.to_dict().items() if name not in ("prompt", "seed", "story")}


def choose_limit(
    backbone: Backbone, request: ResolvedRequest, count: int, batch_size: int | None, *, all_at_once: bool
) -> BatchLimit:
    """How many of `count` clips like this one are rendered at once.

    batch_size: as requested, None for automatic: all at once, on a CPU at most `CPU_BATCH` unless `all_at_once`. One
    after another where a clip's frames would depend on the others, or the model's pipeline takes one at a time.
    """
    if batch_size is not None:
        check_count("batch_size", batch_size, 1)
    if request.is_long or (request.propagation is not None and request.propagation.compares_batches):
        return BatchLimit(1)
    if not backbone.batches(request.conditions.keys()):
        return BatchLimit(1)
    if batch_size is not None:
        return BatchLimit(batch_size, divisible=False)
    return BatchLimit(CPU_BATCH if backbone.device.type == "cpu" and not all_at_once else max(1, count))


def render_batches(
    requests: Sequence[ResolvedRequest], limit: BatchLimit, render: Render, progress: ProgressCallback | None
) -> Iterator[Video]:
    """The video of each request, in order, each batch as soon as it is rendered.

    Where a batch runs out of memory, it and those after it are rendered in halves; what is finished stays. Raises
    OutOfMemoryError where a single clip does not fit.
    """
    size, start = limit.size, 0
    while start < len(requests):
        batch = list(requests[start : start + size])
        found = _attempt(batch, render, _within(progress, start, len(batch), len(requests)), limit.divisible)
        if found is None:  # outside of the handler, whose traceback holds the tensors
            _free_memory()
            size = len(batch) // 2
            log_note("%d clips at once do not fit the memory; continuing with %d", len(batch), size)
            continue
        yield from found
        start += len(batch)


def _attempt(
    batch: list[ResolvedRequest], render: Render, progress: ProgressCallback | None, divisible: bool
) -> list[Video] | None:
    """The batch's videos; None where it does not fit the memory and can be divided."""
    try:
        return render(batch, progress)
    except OutOfMemoryError as error:
        if len(batch) == 1 or error.latents is not None:
            raise
        if not divisible:
            raise OutOfMemoryError(
                f"{len(batch)} clips at once: {error}; use a batch_size of at most {len(batch) // 2}"
            ) from error
        return None


def _within(progress: ProgressCallback | None, start: int, size: int, count: int) -> ProgressCallback | None:
    """The callback, with reports that say which clips of the call a batch holds."""
    if progress is None or count == 1:
        return progress

    def on_progress(found: Progress) -> bool | None:
        report(progress, replace(found, clips=range(start, start + size), clip_count=count))
        return None

    return on_progress


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
