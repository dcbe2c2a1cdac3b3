"""Backends of diffusers' attention dispatch: torch's function is put in their place only where a processor takes it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers.models.attention_dispatch import AttentionBackendName

from videogen.attention.dispatch import backend_of, use_native_backend


def module(**attributes: Any) -> Any:
    return SimpleNamespace(processor=SimpleNamespace(**attributes))


@pytest.mark.parametrize("supported", [{}, {"_SUPPORTED_BACKENDS": ("native", "flex")}], ids=["any", "native too"])
def test_it_ends_in_torch_s_function_and_is_restored(supported: dict[str, Any]) -> None:
    one = module(_attention_backend=AttentionBackendName.FLEX, **supported)
    restore = use_native_backend(one)
    assert restore is not None and backend_of(one) == "native"
    restore()
    assert backend_of(one) == "flex"


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(
            module(_attention_backend="flex", _SUPPORTED_BACKENDS=("flex",)), id="block masks of flex attention"
        ),
        pytest.param(module(_attention_backend=AttentionBackendName.NATIVE), id="native already"),
        pytest.param(module(), id="without a dispatch"),
    ],
)
def test_others_keep_their_backend(one: Any) -> None:
    before = dict(vars(one.processor))
    assert use_native_backend(one) is None and vars(one.processor) == before


def test_flex_attention_compiles_itself_under_a_watch() -> None:
    from torch.nn.attention.flex_attention import flex_attention

    from videogen.attention import validate

    class Model(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return flex_attention(x, x, x)

    model, x = Model(), torch.randn(1, 2, 32, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), validate(model):
        watched = model(x)
    with torch.no_grad():
        assert torch.equal(watched, model(x))
