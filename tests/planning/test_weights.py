"""Bytes of weights by precision and placement."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from videogen.backbones.residency import Residency
from videogen.core.errors import InputError
from videogen.planning.resident import ModelWeights, resident_bytes, transferred_bytes
from videogen.planning.stage_counts import DECODE, DENOISE, TEXT
from videogen.planning.weights import FP8_STORAGE, ComponentWeights, bytes_per_weight, measure_weights


class Blocks(nn.Module):
    """Three blocks of 64 x 64, an embedding layer outside of them, and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(16, 64, bias=False)
        self.norm_out = nn.LayerNorm(64)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(64, 64, bias=False), nn.ReLU()) for _ in range(3))


@pytest.mark.parametrize(
    ("precision", "count"),
    [
        pytest.param("fp32", 4, id="fp32"),
        pytest.param("bf16", 2, id="bf16"),
        pytest.param("fp8-storage", 1, id="fp8 storage"),
        pytest.param("torchao-int8", 1, id="a library's 8 bits"),
        pytest.param("bnb-nf4", 0.53125, id="a library's 4 bits"),
        pytest.param("int4", 0.5 + 4 / 64, id="4 bits, a scale and an offset per 64"),
        pytest.param("int8", 1 + 4 / 4096, id="8 bits, a scale and an offset per row"),
        pytest.param("int4-svd32", 0.5 + 4 / 64 + 2 * 32 * 2 * 4096 / 4096**2, id="with a low-rank branch"),
    ],
)
def test_bytes_per_weight(precision: str, count: float) -> None:
    assert bytes_per_weight(precision) == pytest.approx(count)


def test_an_unknown_precision_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="int7"):
        bytes_per_weight("int7")


def test_plain_weights() -> None:
    assert measure_weights(Blocks()) == ComponentWeights(
        total=(3 * 4096 + 1024 + 128) * 4, largest_block=4096 * 4, outside_blocks=(1024 + 128) * 4,
        largest_leaf=4096 * 4,
    )  # fmt: skip


def test_fp8_storage_leaves_norms_and_casts_a_layer_at_a_time() -> None:
    found = measure_weights(Blocks().to(torch.bfloat16), FP8_STORAGE)
    cast = 4096 * 2
    assert found.total == 3 * 4096 + 1024 + 128 * 2 + cast
    assert found.largest_block == 4096 + cast


def weights() -> ModelWeights:
    sizes = {
        "text_encoder": ComponentWeights(500, 100, 50, 40),
        "transformer": ComponentWeights(1000, 100, 30, 20),
        "transformer_2": ComponentWeights(1200, 110, 30, 20),
        "vae": ComponentWeights(200, 60, 0, 10),
    }
    return ModelWeights(sizes, {}, ("text_encoder",), ("transformer", "transformer_2"), ("vae",))


@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        pytest.param("device", (2900, 2900, 2900), id="all on the device"),
        pytest.param("text-freed", (2900, 2400, 2400), id="without the text encoder"),
        pytest.param("model", (500, 1200, 200), id="one component, one expert"),
        pytest.param("block", (80, 250, 20), id="two blocks of the denoiser, two layers of the others"),
        pytest.param("leaf", (80, 40, 20), id="two layers"),
    ],
)
def test_resident_weights_by_stage(placement: str, expected: tuple[int, int, int]) -> None:
    residency = Residency(placement)
    assert tuple(resident_bytes(weights(), residency, stage) for stage in (TEXT, DENOISE, DECODE)) == expected


@pytest.mark.parametrize(("placement", "expected"), [("device", 0), ("text-freed", 0), ("model", 1200), ("leaf", 1200)])
def test_weights_that_are_copied(placement: str, expected: int) -> None:
    assert transferred_bytes(weights(), Residency(placement), DENOISE) == expected
