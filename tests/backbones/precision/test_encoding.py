"""Formats of weights: packing, levels, errors that fall with bits, and the low-rank branch."""

from __future__ import annotations

import pytest
import torch

from videogen.backbones.precision import encoding
from videogen.backbones.precision.bit_packing import pack, unpack
from videogen.backbones.precision.encoding import EncodedWeight, decode, decoding_bytes, empty_like_encoded, encode
from videogen.backbones.precision.weight_format import parse_format
from videogen.core.errors import InputError
from videogen.planning.counter import LiveStorageCounter

NAMES = ["int8", "int6", "int5", "int4", "int3", "int2", "fp8", "fp6", "fp4", "int4-svd8", "fp4-svd8"]


def weight(rows: int = 24, columns: int = 128) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0)) / 20


def coded(
    values: torch.Tensor, name: str, importance: torch.Tensor | None = None, *, search: bool = True
) -> torch.Tensor:
    how = parse_format(name)
    return decode(encode(values, how, importance, search=search), how, values.shape[1], torch.float32)


def error(values: torch.Tensor, name: str, *, search: bool = True) -> float:
    return float((coded(values, name, search=search) - values).square().mean() / values.square().mean())


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("count", [1, 7, 8, 41])
def test_unpacking_inverts_packing(bits: int, count: int) -> None:
    codes = torch.randint(0, 2**bits, (count,), dtype=torch.uint8, generator=torch.Generator().manual_seed(bits))
    packed = pack(codes, bits)
    assert torch.equal(unpack(packed, bits, count), codes)
    assert bits == 8 or len(packed) == -(-count // 8) * bits


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("columns", [128, 36], ids=["groups divide a row", "a row is one group"])
def test_sizes_are_as_counted_and_shapes_as_announced(name: str, columns: int) -> None:
    how, values = parse_format(name), weight(columns=columns)
    tensors = encode(values, how).tensors()
    assert sum(value.numel() * value.element_size() for value in tensors.values()) == how.count_bytes(
        values.shape[0], values.shape[1]
    )
    announced = empty_like_encoded(values.shape[0], values.shape[1], how).tensors()
    assert {key: (value.shape, value.dtype) for key, value in tensors.items()} == {
        key: (value.shape, value.dtype) for key, value in announced.items()
    }


@pytest.mark.parametrize("names", [("int2", "int3", "int4", "int5", "int6", "int8"), ("fp4", "fp6", "fp8")])
def test_more_bits_leave_less_error(names: tuple[str, ...]) -> None:
    errors = [error(weight(), name) for name in names]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-3 < errors[0]


@pytest.mark.parametrize("name", ["int2", "int3", "int4", "fp4", "fp6"])
def test_a_searched_range_leaves_less_error(name: str) -> None:
    assert error(weight(), name) < error(weight(), name, search=False)


def test_levels_of_a_format_are_exact() -> None:
    values = torch.tensor([[0.0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.5, -1, -1.5, -2, -3, -4, -6, 0]])
    assert torch.equal(coded(values, "fp4"), values)
    assert torch.equal(coded(torch.arange(16.0)[None], "int4"), torch.arange(16.0)[None])


def test_constant_and_zero_weights_stay() -> None:
    assert torch.equal(coded(torch.zeros(2, 64), "int4"), torch.zeros(2, 64))
    assert torch.equal(coded(torch.full((2, 64), 0.5), "int4"), torch.full((2, 64), 0.5))
    assert torch.equal(coded(torch.zeros(2, 64), "fp8-svd2"), torch.zeros(2, 64))


def test_a_low_rank_branch_of_full_rank_is_the_weight() -> None:
    values = weight(16, 64)
    assert (coded(values, "int2-svd16") - values).abs().max() < 4e-3  # of bf16
    errors = [error(values, f"int4-svd{rank}") for rank in (1, 4, 8, 16)]
    assert errors == sorted(errors, reverse=True) and errors[0] < error(values, "int4")


@pytest.mark.parametrize("name", ["int3", "int4-svd4"])
def test_important_columns_are_closer(name: str) -> None:
    importance = torch.ones(128)
    importance[:8] = 100
    plain, weighted = coded(weight(), name), coded(weight(), name, importance)
    assert (weighted - weight())[:, :8].square().mean() < (plain - weight())[:, :8].square().mean()


@pytest.mark.parametrize("name", ["int7", "int9", "fp5", "int4-svd0", "int", "4", "int4svd", ""])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="int4-svd32"):
        parse_format(name)


@pytest.mark.parametrize(("text", "name"), [("int4-svd", "int4-svd32"), ("INT8", "int8"), (" fp4-svd7 ", "fp4-svd7")])
def test_names_are_read(text: str, name: str) -> None:
    assert parse_format(text).name == name


def test_encoded_tensors_are_those_of_the_format() -> None:
    assert encode(weight(), parse_format("fp8")).tensors().keys() == {"codes", "scale"}
    assert isinstance(encode(weight(), parse_format("int4-svd2")), EncodedWeight)
    assert encode(weight(), parse_format("int4-svd2")).tensors().keys() == {"codes", "scale", "offset", "up", "down"}


@pytest.mark.parametrize("name", ["int2", "int3", "int5", "int8", "fp4", "fp6", "fp8", "int4-svd8"])
@pytest.mark.parametrize("shape", [(83, 36), (64, 128)])
def test_decoding_some_rows_at_a_time_gives_the_same_weight(
    name: str, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    how, columns = parse_format(name), shape[1]
    encoded = encode(torch.randn(*shape, generator=torch.Generator().manual_seed(1)), how, search=False)
    expected = decode(encoded, how, columns, torch.bfloat16)
    monkeypatch.setattr(encoding, "_WEIGHTS_AT_ONCE", 16 * columns)
    counter = LiveStorageCounter()
    counter.ignore(encoded.tensors().values())
    with counter:
        found = decode(encoded, how, columns, torch.bfloat16)
    assert torch.equal(found, expected)
    side = sum(part.numel() for part in (encoded.up, encoded.down) if part is not None) * 4
    assert counter.peak <= decoding_bytes(*shape, 2) + side + 2048  # the table of levels
