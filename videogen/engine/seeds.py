"""Several seeds per prompt: the options `seeds` and `count` of `Engine.generate`, and the pairs of prompt and seed."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from videogen.core.checks import check_count
from videogen.core.errors import InputError
from videogen.request.request import RenderRequest

#: Options that render each prompt with several seeds.
SEED_OPTIONS = ("seeds", "count")


def has_several_seeds(options: Mapping[str, Any]) -> bool:
    """Whether the options render each prompt several times, so that the result is a list."""
    return any(options.get(name) is not None for name in SEED_OPTIONS)


def pair_with_seeds(prompts: Sequence[str], values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """(prompt, seed) of each clip, in the order of the prompts.

    values: the options that are given. `seeds`: each prompt with each of them; `count`: with so many, from `seed` on;
    otherwise each prompt once, the i-th with seed + i or with the i-th of a list. A seed of None is drawn once.
    InputError for values that are not valid.
    """
    if has_several_seeds(values):
        return list(product(prompts, _seeds_of_each(values)))
    seed = _plain(values.get("seed", 0))
    if not isinstance(seed, list):
        start = _drawn(seed) if len(prompts) > 1 else seed
        return [(prompt, start + number if number else start) for number, prompt in enumerate(prompts)]
    if len(seed) != len(prompts):
        raise InputError(
            f"seed={seed!r} has {len(seed)} values, and the number of prompts is {len(prompts)}; give one seed, or one "
            "per prompt; seeds=[...] renders each prompt with each of several"
        )
    return list(zip(prompts, seed, strict=True))


def _seeds_of_each(values: Mapping[str, Any]) -> list[int]:
    """The seeds with which each prompt is rendered."""
    seeds, count = _plain(values.get("seeds")), values.get("count")
    if seeds is not None and count is not None:
        raise InputError(f"seeds={seeds!r} and count={count!r} both say which seeds to render; give one of them")
    if seeds is not None:
        if "seed" in values:
            raise InputError(f"seed={values['seed']!r} and seeds={seeds!r} are both given; leave seed out")
        return _distinct(seeds)
    check_count("count", count, 1)
    start = _plain(values.get("seed", 0))
    if isinstance(start, list):
        raise InputError(f"seed={start!r} is one per prompt, and count={count!r} begins at one seed; give one number")
    first = _drawn(start)
    return [first + number for number in range(operator.index(count))] if count is not None else []


def _distinct(seeds: Any) -> list[int]:
    if not isinstance(seeds, list):
        raise InputError(f"seeds={seeds!r} must be a list of seeds, such as [1, 2, 7]; one alone is seed={seeds!r}")
    if not seeds:
        raise InputError("seeds=[] has no seed; give at least one, such as [1, 2, 7]")
    checked = [_drawn(seed) for seed in seeds if seed is not None]
    if len(checked) < len(seeds):
        raise InputError(f"seeds={seeds!r} has None; seed=None with count={len(seeds)} draws the first one")
    twice = next((seed for seed in checked if checked.count(seed) > 1), None)
    if twice is not None:
        raise InputError(f"seeds={seeds!r} has {twice} twice, which is the same clip; name each seed once")
    return checked


def _drawn(seed: Any) -> int:
    """A valid seed, drawn where it is None."""
    checked = RenderRequest("seed", seed=seed).seed
    assert checked is not None
    return checked


def _plain(value: Any) -> Any:
    """Sequences and arrays as a list, anything else as it is."""
    found = value.tolist() if hasattr(value, "tolist") else value
    return list(found) if isinstance(found, list | tuple | range) else found
