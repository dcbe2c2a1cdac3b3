"""Weight formats: names such as `int4-svd32`, and the bytes that a weight takes in each. No torch here.

`int2` to `int8` are affine (scale and offset per group), `fp4`, `fp6` and `fp8` floating point with a scale per group
(e2m1, e3m2, e4m3). `-svdR` adds a low-rank branch: W = U V + quantized(W - U V), U [out, R], V [R, in] in bf16
(SVDQuant, for weights alone).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import ceil

from videogen.core.errors import InputError

_NAME = re.compile(r"(int|fp)(\d)(?:-svd(\d+)?)?")
_BITS = {"int": (2, 3, 4, 5, 6, 8), "fp": (4, 6, 8)}
#: columns that share a scale; 0: the entire row
_GROUPS = {"int": 64, "fp": 32}
_DEFAULT_RANK = 32
_SIDE_BYTES = 2  # of a scale, an offset and a value of the low-rank branch: bf16


@dataclass(frozen=True)
class WeightFormat:
    """kind: `int` or `fp`; bits per code; group: columns with a scale of their own, 0: the entire row; rank: of the
    low-rank branch, 0 without one."""

    kind: str
    bits: int
    group: int
    rank: int = 0

    @property
    def name(self) -> str:
        return f"{self.kind}{self.bits}" + (f"-svd{self.rank}" if self.rank else "")

    def group_of(self, columns: int) -> int:
        """Columns per scale of a weight with so many columns: a row that groups do not divide has one scale."""
        return self.group if self.group and columns % self.group == 0 else columns

    def rank_of(self, rows: int, columns: int) -> int:
        return min(self.rank, rows, columns)

    def count_bytes(self, rows: int, columns: int) -> int:
        """Of a weight [rows, columns]: its codes, scales, offsets and low-rank branch."""
        codes = ceil(rows * columns / 8) * self.bits
        scales = rows * (columns // self.group_of(columns)) * (2 if self.kind == "int" else 1)
        return codes + _SIDE_BYTES * (scales + self.rank_of(rows, columns) * (rows + columns))


def parse_format(name: str) -> WeightFormat:
    """`int4`, `int4-svd` (rank 32), `int4-svd16`, `fp8`, ... InputError for any other."""
    match = _NAME.fullmatch(name.strip().lower())
    if match is None or int(match[2]) not in _BITS[match[1]] or match[3] == "0":
        raise InputError(
            f"weight format {name!r} is unknown; give int2 to int6 or int8, fp4, fp6 or fp8, each also with a low-rank "
            "branch, such as int4-svd32"
        )
    kind, bits = match[1], int(match[2])
    rank = 0 if "-svd" not in match[0] else int(match[3] or _DEFAULT_RANK)
    return WeightFormat(kind, bits, 0 if bits == 8 else _GROUPS[kind], rank)
