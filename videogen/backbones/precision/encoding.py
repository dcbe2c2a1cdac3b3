"""Encoding of weights in a format of `weight_format`, and decoding.

Every format is a table of levels: w = level[code] * scale (+ offset), with a scale per group of columns. Ranges are
searched for the smallest error (Low-bit FP), weighted by how large a layer's inputs are; the low-rank branch
holds what matters most under the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache

import torch

from .bit_packing import pack, unpack
from .weight_format import WeightFormat

Tensor = torch.Tensor
_SIDE_DTYPE = torch.bfloat16  # of scales, offsets and the low-rank branch
_SMALLEST_SCALE = 1e-30
_CANDIDATES = 20
_SMALLEST_RANGE = 0.5  # of the full one, in the search
#: of a weight, that are decoded at once (or 8 rows), and the bytes that each takes meanwhile
_WEIGHTS_AT_ONCE, _BYTES_BETWEEN = 1 << 22, 13
_MANTISSA_BITS = {4: 1, 6: 2, 8: 3}  # e2m1, e3m2, e4m3


@dataclass(frozen=True)
class EncodedWeight:
    """codes: packed, uint8; scale [rows, groups]; offset: as scale, of `int` formats; up [rows, rank] and down
    [rank, columns]: the low-rank branch."""

    codes: Tensor
    scale: Tensor
    offset: Tensor | None = None
    up: Tensor | None = None
    down: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name, without those that the format does not have."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def encode(
    weight: Tensor, weight_format: WeightFormat, importance: Tensor | None = None, *, search: bool = True
) -> EncodedWeight:
    """A weight [rows, columns] in a format. importance: mean square of each column's input [columns], None: all alike;
    search: whether the range of each group is searched, or spans all its values."""
    weight = weight.detach().float()
    rows, columns = weight.shape
    importance = torch.ones(columns, device=weight.device) if importance is None else importance.float()
    up, down = (
        _low_rank(weight, importance, weight_format.rank_of(rows, columns)) if weight_format.rank else (None, None)
    )
    rest = weight if up is None or down is None else weight - up.float() @ down.float()
    group = weight_format.group_of(columns)
    values, weights = rest.reshape(rows, -1, group), importance.reshape(1, -1, group)
    codes, scale, offset = _quantize(values, weight_format, 1.0)
    error = _error(values, codes, scale, offset, weight_format, weights)
    for fraction in torch.linspace(1, _SMALLEST_RANGE, _CANDIDATES).tolist()[1:] if search else ():
        candidate = _quantize(values, weight_format, fraction)
        candidate_error = _error(values, *candidate, weight_format, weights)
        better = candidate_error < error
        codes, scale, offset = (
            torch.where(better, new, old) for new, old in zip(candidate, (codes, scale, offset), strict=True)
        )
        error = torch.where(better, candidate_error, error)
    stored_offset = offset[..., 0].to(_SIDE_DTYPE) if weight_format.kind == "int" else None
    return EncodedWeight(
        pack(codes.reshape(-1), weight_format.bits), scale[..., 0].to(_SIDE_DTYPE), stored_offset, up, down
    )


def decode(encoded: EncodedWeight, weight_format: WeightFormat, columns: int, dtype: torch.dtype) -> Tensor:
    """The weight [rows, columns] that is computed with. It is decoded some rows at a time, so that what is between the
    codes and the result takes little memory."""
    rows = len(encoded.scale)
    step = _rows_at_once(columns)
    if step >= rows:
        return _decode_rows(encoded, weight_format, columns).to(dtype)
    result = torch.empty(rows, columns, dtype=dtype, device=encoded.scale.device)
    for begin in range(0, rows, step):
        part = _take_rows(encoded, weight_format, columns, slice(begin, min(begin + step, rows)))
        result[begin : begin + step] = _decode_rows(part, weight_format, columns)
    return result


def decoding_bytes(rows: int, columns: int, result_bytes: int) -> int:
    """What `decode` takes at its peak: the result of so many bytes per weight, and what is between for some rows."""
    return rows * columns * result_bytes + min(rows, _rows_at_once(columns)) * columns * _BYTES_BETWEEN


def _rows_at_once(columns: int) -> int:
    """A multiple of 8, so that packed codes are divided between bytes."""
    return max(8, _WEIGHTS_AT_ONCE // columns // 8 * 8)


def _take_rows(encoded: EncodedWeight, weight_format: WeightFormat, columns: int, rows: slice) -> EncodedWeight:
    packed = slice(rows.start * columns * weight_format.bits // 8, -(-rows.stop * columns // 8) * weight_format.bits)
    offset, up = encoded.offset, encoded.up
    return EncodedWeight(
        encoded.codes[packed], encoded.scale[rows], None if offset is None else offset[rows],
        None if up is None else up[rows], encoded.down,
    )  # fmt: skip


def _decode_rows(encoded: EncodedWeight, weight_format: WeightFormat, columns: int) -> Tensor:
    """In fp32. Changes what it has allocated itself in place, for the memory."""
    rows, groups = encoded.scale.shape
    codes = unpack(encoded.codes, weight_format.bits, rows * columns).reshape(rows, groups, -1)
    weight = _levels(weight_format, codes.device)[codes.int()]
    weight *= encoded.scale[..., None].float()
    if encoded.offset is not None:
        weight += encoded.offset[..., None].float()
    weight = weight.reshape(rows, columns)
    if encoded.up is not None and encoded.down is not None:
        weight += encoded.up.float() @ encoded.down.float()
    return weight


def empty_like_encoded(rows: int, columns: int, weight_format: WeightFormat) -> EncodedWeight:
    """Uninitialised tensors of the shapes that `encode` gives, to load stored ones into."""
    groups, rank = columns // weight_format.group_of(columns), weight_format.rank_of(rows, columns)
    codes = -(-rows * columns // 8) * weight_format.bits if weight_format.bits < 8 else rows * columns
    return EncodedWeight(
        torch.empty(codes, dtype=torch.uint8),
        torch.empty(rows, groups, dtype=_SIDE_DTYPE),
        torch.empty(rows, groups, dtype=_SIDE_DTYPE) if weight_format.kind == "int" else None,
        torch.empty(rows, rank, dtype=_SIDE_DTYPE) if rank else None,
        torch.empty(rank, columns, dtype=_SIDE_DTYPE) if rank else None,
    )


def _quantize(values: Tensor, weight_format: WeightFormat, fraction: float) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, scale and offset [.., 1] of groups [.., group]; fraction: of the full range of values that is spanned."""
    levels = _levels(weight_format, values.device)
    if weight_format.kind == "int":
        low, high = values.amin(-1, keepdim=True), values.amax(-1, keepdim=True)
        middle, half = (low + high) / 2, (high - low) / 2 * fraction
        offset = _as_stored(middle - half)
        scale = _as_stored((2 * half / (len(levels) - 1)).clamp(min=_SMALLEST_SCALE))
        codes = ((values - offset) / scale).round().clamp(0, len(levels) - 1).to(torch.uint8)
        return codes, scale, offset
    largest = values.abs().amax(-1, keepdim=True) * fraction
    scale = _as_stored((largest / levels[levels == levels].max()).clamp(min=_SMALLEST_SCALE))
    return _nearest(values / scale, weight_format), scale, torch.zeros_like(scale)


def _error(
    values: Tensor, codes: Tensor, scale: Tensor, offset: Tensor, weight_format: WeightFormat, weights: Tensor
) -> Tensor:
    """Weighted squared error of each group [.., 1]."""
    found = _levels(weight_format, values.device)[codes.int()] * scale + offset
    return ((found - values).square() * weights).sum(-1, keepdim=True)


def _as_stored(value: Tensor) -> Tensor:
    return value.to(_SIDE_DTYPE).float()


def _nearest(values: Tensor, weight_format: WeightFormat) -> Tensor:
    """Codes of the nearest levels of a floating-point format."""
    levels = _levels(weight_format, values.device)
    if weight_format.bits == 8:
        largest = torch.finfo(torch.float8_e4m3fn).max
        return values.clamp(-largest, largest).to(torch.float8_e4m3fn).view(torch.uint8)
    ordered, codes = levels.sort()
    borders = (ordered[1:] + ordered[:-1]) / 2
    return codes.to(torch.uint8)[torch.bucketize(values, borders)]


def _levels(weight_format: WeightFormat, device: torch.device) -> Tensor:
    """code -> value, before scale and offset."""
    return _level_table(weight_format.kind, weight_format.bits).to(device)


@cache
def _level_table(kind: str, bits: int) -> Tensor:
    codes = torch.arange(2**bits)
    if kind == "int":
        return codes.float()
    if bits == 8:
        return codes.to(torch.uint8).view(torch.float8_e4m3fn).float()
    mantissa_bits = _MANTISSA_BITS[bits]
    exponents = 2 ** (bits - 1 - mantissa_bits)
    mantissa, exponent = codes % 2**mantissa_bits, codes // 2**mantissa_bits % exponents
    sign = 1 - 2 * (codes // 2 ** (bits - 1)).float()
    fraction = mantissa.float() / 2**mantissa_bits
    return sign * torch.where(exponent == 0, fraction, (1 + fraction) * 2.0 ** (exponent - 1))


def _low_rank(weight: Tensor, importance: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """up, down of the best approximation of a rank where errors count as the inputs are large."""
    root = importance.clamp(min=1e-8 * float(importance.max().clamp(min=1e-30))).sqrt()
    up, values, down = torch.linalg.svd(weight * root, full_matrices=False)
    middle = values[:rank].sqrt()
    return (up[:, :rank] * middle).to(_SIDE_DTYPE), (middle[:, None] * down[:rank] / root).to(_SIDE_DTYPE)
