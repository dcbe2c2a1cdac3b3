"""Kernel validation of a run: attention kernels of the denoisers as a technique of the loop, and those of the text
encoder and the decoder, with the decoder's convolutions, in contexts around their calls.

Nothing changes unless a kernel is wrong. What was found is recorded in the manifest under `kernels`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from videogen.attention.kernels.watch import KernelWatch
from videogen.attention.watching import validate, validate_calls, verdicts_of
from videogen.backbones.base import Backbone
from videogen.request.resolved import ResolvedRequest
from videogen.sampling.loop import LoopState
from videogen.sampling.step_plan import StepRow
from videogen.sampling.technique import AttachedTechnique

from .convolution_validation import watch_convolutions

SECTION = "kernels"
#: parts of a run besides the denoiser, as the report names them
TEXT, DECODER = "text_encoder", "decoder"


class KernelValidation(AttachedTechnique):
    """The attention kernels of every denoiser. strict: a wrong one stops the run; compiled: its blocks are compiled."""

    section = SECTION
    only_observes = True

    def __init__(self, strict: bool = False, compiled: bool = False) -> None:
        self._strict, self._compiled = strict, compiled

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        self.handle = validate(backbone.pipeline, strict=self._strict, compiled=self._compiled)


@contextmanager
def validate_component(
    backbone: Backbone, request: ResolvedRequest, name: str, reports: dict[str, Any]
) -> Iterator[None]:
    """Validate the kernels of the code in this block, if the request says so. name: `TEXT` or `DECODER`; reports: its
    entry is set to the report."""
    if not request.request.validate:
        yield
        return
    watch = KernelWatch(verdicts_of(backbone.denoisers()[0]), request.request.strict, part=f"the {name}")
    with validate_calls(watch), watch_convolutions(watch) if name == DECODER else nullcontext():
        yield
    reports[name] = watch.report()


def with_components(measured: Mapping[str, Any], reports: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured, with the reports of text encoder and decoder in its section."""
    if not reports:
        return dict(measured)
    return {**measured, SECTION: {**measured.get(SECTION, {}), **reports}}
