"""Hash-based Gaussian noise on an infinite integer plane: every value is a pure function of (seed, stream, layer, x, y,
channel).

No random state is consumed, so values do not depend on order, batch, segment or device. Keys come from blake2b, cells
are mixed by the 32-bit finaliser "lowbias32" (C. Wellons, hash-prospector; public domain), and each 32-bit word gives
two channels by looking up its halves in a table of 65,536 normal quantiles. Only integers and a table are used, so CPU
and GPU agree bit for bit. Legend: n cells, c channels, p pairs of channels. A word is an int32 whose bits are read as
unsigned.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from videogen.core.randomness import address

if TYPE_CHECKING:
    import torch

LEVELS = 1 << 16  # quantiles of the table: the largest value is 4.33, the variance is 1
_HALF = 1 << 15
_WORDS = 1 << 17  # mixed at once on a CPU, so that they fit its cache
_WORDS_GPU = 1 << 24
_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B  # lowbias32's multipliers


class HashField:
    """Standard normal noise by address. One field belongs to one (seed, stream)."""

    def __init__(self, seed: int, stream: str) -> None:
        self.seed, self.stream = seed, stream
        self._keys = [_signed(address(seed, f"hash/{stream}", index)) for index in range(4)]
        self._known: dict[tuple[int, torch.device], tuple[torch.Tensor, torch.Tensor]] = {}

    def cells(self, layer: torch.Tensor | int, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """One well-mixed word [n] per cell; x, y and layer are int32 [n] (layer may be negative).

        Cells of a layer with x and y from -32,768 to 32,767 have distinct words.
        """
        inner, outer = self._levels(layer, x, y)
        word = (y << 16).bitwise_or_(x & 0xFFFF).bitwise_xor_(inner)
        return mix(mix(word).add_(outer))

    def _levels(self, layer: torch.Tensor | int, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Values that layers and distant blocks add to words before and between mixing, int32 [n], or [1] where all
        cells have the same."""
        import torch

        if not (_near(x) and _near(y)):
            layer = layer if isinstance(layer, torch.Tensor) else x.new_full((1,), layer)
            return self._mixed_level(layer, (x + _HALF) >> 16, (y + _HALF) >> 16)
        if isinstance(layer, int):
            if (layer, x.device) not in self._known:
                self._known[layer, x.device] = self._mixed_level(x.new_full((1,), layer), 0, 0)
            return self._known[layer, x.device]
        low, high = (int(end) for end in torch.aminmax(layer)) if len(layer) else (0, 0)
        if high - low >= len(layer):
            return self._mixed_level(layer, 0, 0)
        inner, outer = self._mixed_level(torch.arange(low, high + 1, dtype=torch.int32, device=layer.device), 0, 0)
        return inner.index_select(0, layer - low), outer.index_select(0, layer - low)

    def _mixed_level(
        self, layer: torch.Tensor, x_far: torch.Tensor | int, y_far: torch.Tensor | int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        level = mix(mix(layer ^ self._keys[0]) ^ self._keys[1])
        level = mix(mix(level ^ x_far) ^ y_far ^ self._keys[2])
        return level, mix(level ^ self._keys[3])

    def values(self, cells: torch.Tensor, channels: int, first: int = 0) -> torch.Tensor:
        """Noise [c, n] in fp32 at these cells' words [n]; channels from `first` on, an even number."""
        import torch

        mixer = Mixer(self, channels, cells.device, len(cells), first=first)
        values = torch.empty(mixer.pairs, 2, len(cells), device=cells.device)
        for first in range(0, len(cells), mixer.most):
            part = slice(first, first + mixer.most)
            values[:, :, part] = mixer.values(cells[part]).transpose(0, 1)
        return values.flatten(0, 1)[:channels]

    def at(self, layer: torch.Tensor | int, x: torch.Tensor, y: torch.Tensor, channels: int) -> torch.Tensor:
        """Noise [c, n] in fp32 at integer cells."""
        return self.values(self.cells(layer, x, y), channels)


class Mixer:
    """Noise of a field at up to `most` cells at a time, in reused memory: allocation costs as much as the
    computation."""

    def __init__(
        self, field: HashField, channels: int, device: torch.device, cells: int, *, multiple: int = 1, first: int = 0
    ) -> None:
        """cells: upper bound of the cells per call; `most`, a multiple of `multiple`, may be smaller. first: as in
        `values`."""
        import torch

        self.pairs = (channels + 1) // 2
        most = (_WORDS if device.type == "cpu" else _WORDS_GPU) // self.pairs
        self.most = max(1, min(cells, most) // multiple) * multiple
        keys = [
            _signed(address(field.seed, f"hash/{field.stream}/channels", first // 2 + p)) for p in range(self.pairs)
        ]
        self._keys = _fold(torch.tensor(keys, dtype=torch.int32).to(device))[:, None]
        self._table = _quantiles(device)
        self._high, self._low = (self._keys.new_empty(self.pairs * self.most) for _ in range(2))
        self._values = self._table.new_empty(2, self.pairs * self.most)

    def values(self, cells: torch.Tensor) -> torch.Tensor:
        """Noise [2, p, n] at these cells' words [n], channel 2 p + k in [k, p]; n up to `most`. The next call
        overwrites it."""
        import torch

        n = len(cells)
        high, low = (m[: self.pairs * n].view(self.pairs, n) for m in (self._high, self._low))
        torch.bitwise_xor(_fold(cells), self._keys, out=low)  # folding a ^ b is folding a ^ folding b
        _churn(low, high)
        torch.bitwise_right_shift(low, 16, out=high)
        low ^= high
        for k, halves in enumerate((high, low)):
            halves &= 0xFFFF
            torch.index_select(self._table, 0, halves.view(-1), out=self._values[k, : self.pairs * n])
        return self._values[:, : self.pairs * n].unflatten(1, (self.pairs, n))


def mix(word: torch.Tensor) -> torch.Tensor:
    """lowbias32 of words, a bijection on 32 bits. int32 arithmetic wraps; a test pins known values."""
    import torch

    word = _fold(word)
    _churn(word, torch.empty_like(word))
    return _fold(word)


def _fold(word: torch.Tensor) -> torch.Tensor:
    """The words with their upper half XORed into the lower."""
    return word ^ (word >> 16).bitwise_and_(0xFFFF)


def _churn(word: torch.Tensor, spare: torch.Tensor) -> None:
    """The middle part of lowbias32, in place; spare: scratch memory of the same shape."""
    import torch

    word *= _signed(_FIRST)
    torch.bitwise_right_shift(word, 15, out=spare)
    word ^= spare.bitwise_and_(0x1FFFF)
    word *= _signed(_SECOND)


def _near(place: torch.Tensor) -> bool:
    """Whether all coordinates are in the central block (0, 0) of 65,536 x 65,536 cells."""
    import torch

    return not len(place) or all(-_HALF <= int(end) < _HALF for end in torch.aminmax(place))


def _signed(number: int) -> int:
    """The low 32 bits of a number, read as int32."""
    low = number & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low


@lru_cache(maxsize=4)
def _quantiles(device: torch.device) -> torch.Tensor:
    """Normal quantiles at the midpoints of LEVELS equal intervals, [LEVELS] fp32, symmetric, scaled to variance 1."""
    import torch

    upper = torch.special.ndtri((torch.arange(LEVELS // 2, dtype=torch.float64) + 0.5 + LEVELS // 2) / LEVELS)
    upper /= upper.square().mean().sqrt()
    return torch.cat([-upper.flip(0), upper]).float().to(device)
