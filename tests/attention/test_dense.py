"""Choice of the dense kernel for a call; adapters of packages that are not installed, tested with stand-ins for their
documented interfaces."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

from videogen.attention.kernels import flash, xformers_dense
from videogen.attention.kernels.dense import DENSE, DenseCase, attention_with_lse, choose_dense, dense_reasons

CASE: dict[str, Any] = {
    "device": "cuda",
    "capability": (9, 0),
    "dtype": torch.bfloat16,
    "head_dim": 128,
    "value_dim": 128,
    "bias": False,
}
CHOICES = [
    pytest.param({}, set(), "cuda-flash", id="the kernel of torch"),
    pytest.param({}, {"flash-attn", "xformers"}, "flash-attn", id="flash-attn before it"),
    pytest.param({"capability": (7, 5)}, {"flash-attn", "xformers"}, "xformers", id="before Ampere"),
    pytest.param({"capability": (7, 5)}, set(), "math", id="before Ampere, without xformers"),
    pytest.param({"dtype": torch.float32}, {"flash-attn", "xformers"}, "xformers", id="fp32"),
    pytest.param({"value_dim": 64}, {"flash-attn", "xformers"}, "xformers", id="uneven dims"),
    pytest.param({"head_dim": 100, "value_dim": 100}, {"flash-attn"}, "math", id="odd head dim"),
    pytest.param({"bias": True}, {"flash-attn", "xformers", "triton"}, "triton", id="key mask"),
    pytest.param({"bias": True}, {"flash-attn", "xformers"}, "math", id="key mask without triton"),
    pytest.param({"device": "cpu"}, {"flash-attn", "xformers"}, "cpu-flash", id="a CPU"),
    pytest.param({"device": "cpu", "bias": True}, set(), "cpu-flash", id="a CPU and a key mask"),
    pytest.param({"device": "cpu", "dtype": torch.float64}, set(), "math", id="fp64"),
    pytest.param({"device": "mps"}, {"flash-attn"}, "math", id="another device"),
]


@pytest.mark.parametrize(("changes", "installed", "chosen"), CHOICES)
def test_the_best_kernel_that_can_take_the_call_is_chosen(
    changes: dict[str, Any], installed: set[str], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((flash, "flash-attn"), (xformers_dense, "xformers")):
        monkeypatch.setattr(
            module, "missing", lambda name=name: None if name in installed else f"{name} is not installed"
        )
    monkeypatch.setattr("videogen.attention.kernels.dense.has_triton", lambda: "triton" in installed)
    case = DenseCase(**CASE | changes)
    assert choose_dense(case) == chosen
    why = dense_reasons(case)
    assert why[chosen] is None and all(isinstance(why[name], str) for name in list(DENSE)[: list(DENSE).index(chosen)])


def plain(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    scores = torch.einsum("blhd,bkhd->bhlk", q, k) * scale
    return torch.einsum("bhlk,bkhd->blhd", scores.softmax(-1), v), scores.logsumexp(-1)


def flash_3(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    softmax_scale: float | None = None,
    return_attn_probs: bool = False,
) -> Any:
    assert return_attn_probs and softmax_scale is not None
    return plain(q, k, v, softmax_scale)


def flash_2(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, dropout_p: float = 0.0, **options: Any) -> Any:
    return (*flash_3(q, k, v, **options), None)


def xformers(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_bias: Any = None,
    p: float = 0.0,
    scale: Any = None,
) -> Any:
    out, lse = plain(query, key, value, scale)
    return out, torch.nn.functional.pad(lse, (0, -lse.shape[2] % 32))


STAND_INS = [
    pytest.param(flash.flash_attn, {"flash_attn": ("flash_attn_func", flash_2)}, id="flash-attn 2"),
    pytest.param(
        flash.flash_attn,
        {"flash_attn_interface": ("flash_attn_func", flash_3), "flash_attn": ("flash_attn_func", None)},
        id="flash-attn 3 before 2",
    ),
    pytest.param(
        xformers_dense.xformers_attention,
        {
            "xformers": ("", None),
            "xformers.ops": ("", None),
            "xformers.ops.fmha": ("memory_efficient_attention_forward_requires_grad", xformers),
        },
        id="xformers",
    ),
]


@pytest.mark.parametrize(("adapter", "modules"), STAND_INS)
def test_an_adapter_gives_output_and_lse_like_the_other_kernels(
    adapter: Callable[..., Any], modules: dict[str, tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, (function, call) in modules.items():
        module = ModuleType(name)
        module.__spec__ = __import__("importlib.machinery", fromlist=["ModuleSpec"]).ModuleSpec(name, None)
        setattr(module, function or "_", call)
        monkeypatch.setitem(sys.modules, name, module)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, length, 16, generator=generator) for length in (50, 70, 70))
    out, lse = adapter(q, k, v, 0.3)
    expected, expected_lse = attention_with_lse(q, k, v, scale=0.3)
    assert out.shape == expected.shape and lse.shape == expected_lse.shape
    assert torch.allclose(out, expected, atol=1e-5) and torch.allclose(lse, expected_lse, atol=1e-5)


def test_missing_packages_are_named() -> None:
    if flash.missing():
        with pytest.raises(ImportError, match="flash-attn is not installed"):
            flash.flash_attn(*torch.zeros(3, 1, 1, 4, 8), 1.0)  # type: ignore[call-arg]
    for reason in (flash.missing(), xformers_dense.missing()):
        assert reason is None or reason.endswith("is not installed")
