"""Key steps: at which steps of a run a model is evaluated whole, and between which its features are propagated.

Lists count from 0, the noisiest step. Published ones are Faster Diffusion's (Li et al. 2312.09608, appendix); for
another number of steps they are scaled, dense early and sparse late as they were. Importing this loads no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from videogen.core.errors import InputError, unknown

#: name -> (steps of the list, its keys)
PUBLISHED: dict[str, tuple[int, tuple[int, ...]]] = {
    "fd": (50, (0, 1, 2, 3, 5, 10, 15, 25, 35)),  # Stable Diffusion and Text2Video-Zero under DDIM
    "fd-dpm": (20, (0, 1, 2, 3, 5, 10, 15)),  # under DPM-Solver and DPM-Solver++
}


def published_keys(name: str, steps: int) -> tuple[int, ...]:
    """A published list for a run of `steps` steps. InputError for an unknown name."""
    if name not in PUBLISHED:
        raise unknown("list of key steps", name, PUBLISHED)
    length, keys = PUBLISHED[name]
    return scaled_keys(keys, length, steps)


def scaled_keys(keys: Sequence[int], length: int, steps: int) -> tuple[int, ...]:
    """Keys of a run of `length` steps at the same shares of a run of `steps` steps; 0 stays a key."""
    return tuple(sorted({min(steps - 1, round(key * steps / length)) for key in keys}))


def uniform_keys(every: int, steps: int) -> tuple[int, ...]:
    """Steps 0, every, 2 every, ... InputError where `every` is under 1."""
    if every < 1:
        raise InputError(f"every:{every} must be at least every:1")
    return tuple(range(0, steps, every))


def checked_keys(keys: Iterable[int], steps: int) -> tuple[int, ...]:
    """The user's own list for a run of `steps` steps. InputError where it has no step 0, is unsorted or out of
    range."""
    found = tuple(keys)
    if not found or found[0] != 0:
        raise InputError(
            f"key steps {list(found)} must begin with 0: nothing is there to propagate before the first key"
        )
    for before, after in pairwise(found):
        if after <= before:
            raise InputError(f"key steps {list(found)} must rise; {after} stands after {before}")
    if found[-1] >= steps:
        raise InputError(f"key step {found[-1]} is out of range for {steps} steps, which count from 0 to {steps - 1}")
    return found
