"""Bit packing: codes of 2 to 8 bits, eight at a time in as many bytes as a code has bits."""

from __future__ import annotations

import torch

Tensor = torch.Tensor


def pack(codes: Tensor, bits: int) -> Tensor:
    """uint8 codes [n] below 2**bits -> uint8 bytes [ceil(n / 8) * bits]."""
    if bits == 8:
        return codes
    padded = torch.nn.functional.pad(codes, (0, -len(codes) % 8)).reshape(-1, 8, 1)
    shifts = torch.arange(bits, dtype=torch.uint8, device=codes.device)
    stream = ((padded >> shifts) & 1).reshape(-1, bits, 8)
    return (stream << torch.arange(8, dtype=torch.uint8, device=codes.device)).sum(-1, dtype=torch.uint8).reshape(-1)


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """The inverse: `count` uint8 codes."""
    if bits == 8:
        return packed[:count]
    if bits == 4:  # the most frequent one, without a tensor of single bits
        return torch.stack([packed & 15, packed >> 4], -1).reshape(-1)[:count]
    shifts = torch.arange(8, dtype=torch.uint8, device=packed.device)
    stream = ((packed.reshape(-1, bits, 1) >> shifts) & 1).reshape(-1, 8, bits)
    places = torch.arange(bits, dtype=torch.uint8, device=packed.device)
    return (stream << places).sum(-1, dtype=torch.uint8).reshape(-1)[:count]
