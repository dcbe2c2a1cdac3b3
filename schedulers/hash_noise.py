"""A Gaussian field on an endless integer plane: every value is a pure function of (seed, stream, layer, x, y, channel).

Nothing is drawn, so nothing depends on order, batch, chunk or device: keys come from blake2b, cells are mixed by the
32-bit finaliser "lowbias32" (C. Wellons, hash-prospector; public domain), and each 32-bit word gives two channels by looking
up its halves in one table of 65,536 normal quantiles. Integers and a table only: CPU and GPU agree bit for bit.
Legend: n cells, c channels. A word is an int32 whose bits are read as unsigned.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from videogen.core.randomness import address

if TYPE_CHECKING:
    import torch

LEVELS = 1 << 16  # quantiles of the table: the largest value is 4.33, the variance is 1
_HALF = 1 << 15
_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B  # lowbias32's multipliers


class HashField:
    """Standard normal noise by address. One field belongs to one (seed, stream)."""

    def __init__(self, seed: int, stream: str) -> None:
        self.seed, self.stream = seed, stream
        self._keys = [_signed(address(seed, f"hash/{stream}", index)) for index in range(4)]

    def cells(self, layer: torch.Tensor | int, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """One well mixed word [n] for each cell; x, y and layer are int32 [n] (any layer number, also negative).

        Cells of a layer with x and y from -32,768 to 32,767 never share a word.
        """
        import torch

        level = layer if isinstance(layer, torch.Tensor) else x.new_full((1,), layer)
        level = mix(mix(level ^ self._keys[0]) ^ self._keys[1])
        word = ((y & 0xFFFF) << 16) | (x & 0xFFFF)
        x_far, y_far = (x + _HALF) >> 16, (y + _HALF) >> 16
        if not bool((x_far | y_far).any()):  # all in the middle block of 65,536 x 65,536, number 0, 0: no need to mix it in n times
            x_far, y_far = x_far[:1], y_far[:1]
        level = mix(mix(level ^ x_far) ^ y_far ^ self._keys[2])
        return mix(mix(word ^ level) + mix(level ^ self._keys[3]))

    def values(self, cells: torch.Tensor, channels: int) -> torch.Tensor:
        """Noise [c, n] in fp32 at these cells' words [n]."""
        import torch

        table = _quantiles(cells.device)
        pairs = (channels + 1) // 2
        keys = torch.tensor([_signed(address(self.seed, f"hash/{self.stream}/channels", p)) for p in range(pairs)], dtype=torch.int32)
        words = mix(cells[None] ^ keys.to(cells.device)[:, None])
        halves = words.new_empty(pairs, 2, words.shape[1])
        torch.bitwise_and(words >> 16, 0xFFFF, out=halves[:, 0])
        torch.bitwise_and(words, 0xFFFF, out=halves[:, 1])
        return table.index_select(0, halves.reshape(-1)).view(2 * pairs, -1)[:channels]

    def at(self, layer: torch.Tensor | int, x: torch.Tensor, y: torch.Tensor, channels: int) -> torch.Tensor:
        """Noise [c, n] in fp32 at integer cells."""
        return self.values(self.cells(layer, x, y), channels)


def mix(word: torch.Tensor) -> torch.Tensor:
    """lowbias32 of words, a bijection of 32 bits. int32 arithmetic wraps; a test pins its known answers."""
    word = word ^ ((word >> 16) & 0xFFFF)
    word = word.mul_(_signed(_FIRST))
    word ^= (word >> 15) & 0x1FFFF
    word.mul_(_signed(_SECOND))
    word ^= (word >> 16) & 0xFFFF
    return word


def _signed(number: int) -> int:
    """The low 32 bits of a number, read as int32."""
    low = number & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low


@lru_cache(maxsize=4)
def _quantiles(device: torch.device) -> torch.Tensor:
    """Normal quantiles of the middles of LEVELS equal shares, [LEVELS] fp32, symmetric, scaled to variance 1."""
    import torch

    upper = torch.special.ndtri((torch.arange(LEVELS // 2, dtype=torch.float64) + 0.5 + LEVELS // 2) / LEVELS)
    upper /= upper.square().mean().sqrt()
    return torch.cat([-upper.flip(0), upper]).float().to(device)
