"""Kernel validation of a run: frames are the same with it, a wrong kernel is reported before the second step, and the
decoder's convolutions are compared too."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tests.attention.kernel_faults import DENSE, WrongKernel
from videogen import Engine, NumericsError, Progress
from videogen.attention.kernels.watch import KernelWatch
from videogen.techniques.convolution_validation import ConvolutionMode, find_convolution_fault

SMALL: dict[str, Any] = {"frames": 5, "width": 32, "height": 32, "steps": 3, "seed": 1}
PROMPT = "a red ball moves right on a gray background"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load("embedded", device="cpu")


def test_frames_are_the_same_with_and_without_it(engine: Engine) -> None:
    plain = engine.generate(PROMPT, validate=False, **SMALL)
    for strict in (False, True):
        validated = engine.generate(PROMPT, strict=strict, **SMALL)
        assert (validated.frames == plain.frames).all()
        kernels = validated.manifest["measured"]["kernels"]
        assert kernels["calls"]["sdpa-flash"] % 3 == 0 and kernels["validated"] and not kernels["wrong"]
        assert kernels["text_encoder"]["validated"] and kernels["decoder"]["calls"]
    assert "kernels" not in plain.manifest["measured"] and plain.manifest["request"]["validate"] is False


def test_a_wrong_kernel_is_reported_and_replaced_before_the_second_step(caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine.load("embedded", device="cpu")
    steps: list[str] = []

    def note(progress: Progress) -> None:
        if progress.stage == "denoise" and progress.step == 1:
            steps.extend(record.message for record in caplog.records)

    plain = engine.generate(PROMPT, validate=False, **SMALL)
    with caplog.at_level(logging.WARNING), WrongKernel(DENSE["heads are swapped"]):
        video = engine.generate(PROMPT, progress=note, **SMALL)
    assert any("kernel 'sdpa-flash' is wrong" in message for message in steps)
    assert {wrong["replaced_by"] for wrong in video.manifest["measured"]["kernels"]["wrong"]} == {"reference"}
    assert abs(video.frames.astype(int) - plain.frames).max() <= 1


def test_a_strict_run_stops_before_the_second_step() -> None:
    engine = Engine.load("embedded", device="cpu")
    steps: list[int] = []
    with WrongKernel(DENSE["no scale"]), pytest.raises(NumericsError, match="leave strict out to have it replaced"):
        engine.generate(PROMPT, strict=True, progress=lambda progress: steps.append(progress.step), **SMALL)
    assert not any(steps)


def test_damaged_weights_that_a_kernel_hides_stop_the_run() -> None:
    engine = Engine.load("embedded", device="cpu")
    with torch.no_grad():
        engine.backbone.pipeline.transformer.blocks[2].attn1.norm_k.weight.fill_(torch.nan)
    with pytest.raises(NumericsError, match=r"NaN or Inf in the key of transformer\.blocks\.2\.attn1 .*damaged"):
        engine.generate(PROMPT, **SMALL)
    hidden = engine.generate(PROMPT, validate=False, **SMALL)  # the CPU's kernel gives numbers for NaN
    assert hidden.frames.std() > 0


CONVOLUTIONS: dict[str, tuple[Callable[..., Tensor], tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "1-D": (F.conv1d, (2, 6, 20), (4, 6, 3), {"padding": 1}),
    "2-D with a stride": (F.conv2d, (1, 8, 9, 13), (4, 8, 3, 3), {"padding": (1, 0), "stride": 2}),
    "2-D in groups": (F.conv2d, (1, 8, 9, 13), (6, 4, 3, 3), {"groups": 2, "dilation": 2}),
    "3-D": (F.conv3d, (1, 5, 4, 9, 8), (7, 5, 3, 3, 3), {"padding": (0, 1, 1)}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_convolutions_are_compared_with_products(name: str, dtype: torch.dtype) -> None:
    convolve, shape, filters, options = CONVOLUTIONS[name]
    generator = torch.Generator().manual_seed(5)
    x, weight = (torch.randn(sizes, generator=generator).to(dtype) for sizes in (shape, filters))
    bias = torch.randn(filters[0], generator=generator).to(dtype)
    out = convolve(x, weight, bias, **options)
    assert find_convolution_fault(out, x, weight, bias, **options) is None
    for wrong in (1.05 * out, out.roll(1, 1), out - bias.view(-1, *[1] * (out.ndim - 2)), out * torch.nan):
        assert find_convolution_fault(wrong, x, weight, bias, **options) is not None


def test_a_wrong_convolution_is_replaced() -> None:
    class Wrong(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            return 2 * out if func is F.conv2d and torch.backends.mkldnn.enabled else out

    layer, x, watch = torch.nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8), KernelWatch()
    with torch.no_grad():
        plain = layer(x)
        with Wrong(), ConvolutionMode(watch, 12):
            assert torch.allclose(layer(x), plain, atol=1e-5) and torch.allclose(layer(x), plain, atol=1e-5)
    assert [verdict.replacement for verdict in watch.wrong()] == ["conv-plain"]
