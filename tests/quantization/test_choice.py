"""Choice of formats: least error for a size; sampling of steps."""

from __future__ import annotations

import itertools

import pytest
import torch

from videogen.backbones.precision.weight_format import parse_format
from videogen.core.errors import InputError
from videogen.quantization.choice import Candidate, choose
from videogen.quantization.observing import Observation
from videogen.quantization.options import QuantizeOptions
from videogen.quantization.sampling import choose_steps, weigh_steps


def rows(*pairs: tuple[int, float]) -> list[Candidate]:
    return [Candidate(parse_format("int4"), size, error) for size, error in pairs]


LAYERS = {
    "a": rows((3, 9.0), (4, 5.0), (6, 2.0), (8, 1.0)),
    "b": rows((3, 90.0), (4, 30.0), (8, 1.0)),
    "c": rows((3, 0.3), (4, 0.1)),
}


def least_error(budget: int) -> float:
    """By trying all."""
    sums = [
        (sum(one.size for one in found), sum(one.error for one in found))
        for found in itertools.product(*LAYERS.values())
    ]
    return min(error for size, error in sums if size <= budget)


@pytest.mark.parametrize("budget", [9, 10, 14, 20, 100])
def test_it_is_the_best_that_a_budget_allows(budget: int) -> None:
    found = choose(LAYERS, budget)
    assert sum(one.size for one in found.values()) <= budget
    assert sum(one.error for one in found.values()) == least_error(budget)


def test_more_bytes_never_give_more_error() -> None:
    errors = [sum(one.error for one in choose(LAYERS, budget).values()) for budget in range(9, 25)]
    assert errors == sorted(errors, reverse=True)


def observed(steps: int) -> Observation:
    """Steps whose features change fast in the beginning, and not at all in the end."""
    features = [torch.tensor([float(max(0, 4 - step)) ** 2, 1.0, float(step == 0)]) for step in range(steps)]
    return Observation([{} for _ in range(steps)], features, [])


@pytest.mark.parametrize("sampling", ["spread", "normal:0.4", "density"])
def test_weights_of_steps_sum_to_one(sampling: str) -> None:
    weights = weigh_steps(observed(10), QuantizeOptions(to="int8", sampling=sampling))
    assert len(weights) == 10 and min(weights) > 0 and sum(weights) == pytest.approx(1)


def test_samplings_prefer_what_they_say() -> None:
    normal = weigh_steps(observed(11), QuantizeOptions(to="int8", sampling="normal:0.2"))
    assert normal.index(max(normal)) == 8
    density = weigh_steps(observed(10), QuantizeOptions(to="int8", sampling="density"))
    assert density[0] > density[2] and density[9] > density[2]  # unlike all others; like many others
    equal_steps = Observation([{} for _ in range(4)], [torch.ones(3)] * 4, [])
    assert weigh_steps(equal_steps, QuantizeOptions(to="int8", sampling="density")) == pytest.approx([0.25] * 4)


def test_steps_are_chosen_at_equal_intervals_of_the_weights() -> None:
    assert choose_steps([1.0] * 16, 4) == [1, 5, 9, 13]  # sums that floating point has exactly
    assert choose_steps([1.0, 1.0, 6.0], 4) == [0, 2, 2, 2]
    assert choose_steps([0.0, 0.0, 1.0], 2) == [2, 2]
    assert choose_steps([1.0], 3) == [0, 0, 0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "none is given"),
        ({"target": "1GB", "psnr": 30.0}, "target and psnr are given"),
        ({"target": "much"}, "much"),
        ({"psnr": -1.0}, "psnr=-1.0"),
        ({"psnr": float("nan")}, "psnr=nan"),
        ({"to": "int9"}, "int9"),
        ({"to": "int8", "time_format": "x"}, "'x'"),
        ({"psnr": 30.0, "formats": ("int4", "int7")}, "int7"),
        ({"psnr": 30.0, "formats": ()}, "at least one"),
        ({"to": "int8", "formats": ("int4",)}, "give one of them"),
        ({"to": "int8", "samples": 0}, "at least one"),
        ({"to": "int8", "sampling": "normal"}, "normal:0.4"),
        ({"to": "int8", "sampling": "normal:7"}, "normal:0.4"),
        ({"to": "int8", "sampling": "random"}, "spread, density"),
    ],
)
def test_options_that_no_model_can_be_quantized_with_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        QuantizeOptions(**values)  # type: ignore[arg-type]
