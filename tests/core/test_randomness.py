"""Addressed randomness: addresses are distinct, and noise is a function of its address."""

from __future__ import annotations

import torch

from videogen.core.randomness import address, normal


def test_every_part_of_an_address_counts_and_addresses_are_stable() -> None:
    base = (7, "initial", 3, -1)
    others = [(8, "initial", 3, -1), (7, "solver", 3, -1), (7, "initial", 4, -1), (7, "initial", 3, 0)]
    assert len({address(*base), *(address(*o) for o in others)}) == 5
    assert all(0 <= address(s, "x", f, t) < 2**63 for s in range(5) for f in range(5) for t in range(5))


def test_noise_is_standard_normal_and_a_function_of_its_address() -> None:
    values = normal(address(1, "initial", 0), (64, 64, 16))
    assert torch.equal(values, normal(address(1, "initial", 0), (64, 64, 16)))
    assert abs(float(values.mean())) < 0.02 and abs(float(values.std()) - 1) < 0.02
    neighbour = normal(address(1, "initial", 1), (64, 64, 16))
    assert abs(float((values * neighbour).mean())) < 0.02
