"""Addressed randomness: noise is a pure function of where it is used, never of how much was drawn before.

The address is (seed, stream, latent frame, step), so segment size, order of work, resume and device change nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def address(seed: int, stream: str, frame: int = 0, step: int = -1) -> int:
    """A 63-bit generator seed for this address (blake2b). `step` is -1 for noise that belongs to no step."""
    key = f"{int(seed)}/{stream}/{int(frame)}/{int(step)}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1


def normal(at: int, shape: Sequence[int]) -> torch.Tensor:
    """Standard normal values [*shape] in fp32 on the CPU, for an `address`."""
    import torch

    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(at))


def uniform(at: int, shape: Sequence[int]) -> torch.Tensor:
    """Values [*shape] evenly spread over 0 to 1, in fp32 on the CPU, for an `address`."""
    import torch

    return torch.rand(tuple(shape), generator=torch.Generator().manual_seed(at))
