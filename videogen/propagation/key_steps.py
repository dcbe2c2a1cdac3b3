"""Key-step schedule: the steps of a run at which a model is fully evaluated; features are propagated between them.

Lists count from 0, the noisiest step. The published ones are from Faster Diffusion (Li et al. 2312.09608, appendix);
they are scaled to the number of steps and stay dense early and sparse late. Importing this loads no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from videogen.core.errors import InputError, unknown

#: name -> (steps of the list, its key steps)
PUBLISHED: dict[str, tuple[int, tuple[int, ...]]] = {
    "fd": (50, (0, 1, 2, 3, 5, 10, 15, 25, 35)),  # Stable Diffusion and Text2Video-Zero under DDIM
    "fd-dpm": (20, (0, 1, 2, 3, 5, 10, 15)),  # under DPM-Solver and DPM-Solver++
}
_INTERVAL = "every"
_MANY = 100_000  # steps, if the length of a run is not known


def published_key_steps(name: str, steps: int) -> tuple[int, ...]:
    """A published list for a run of `steps` steps. InputError for an unknown name."""
    if name not in PUBLISHED:
        raise unknown("list of key steps", name, PUBLISHED)
    length, key_steps = PUBLISHED[name]
    return scaled_key_steps(key_steps, length, steps)


def scaled_key_steps(key_steps: Sequence[int], length: int, steps: int) -> tuple[int, ...]:
    """The key steps of a run of `length` steps at the same fractions of a run of `steps` steps; 0 stays a key step.

    Steps of the list that follow each other directly are a dense part, which stays dense in a longer run.
    """
    found = {round(step * steps / length) for step in key_steps}
    for step, after in pairwise(key_steps):
        if after == step + 1:
            found |= set(range(round(step * steps / length), round((after + 1) * steps / length)))
    return tuple(sorted({min(steps - 1, step) for step in found}))


def uniform_key_steps(every: int, steps: int) -> tuple[int, ...]:
    """Steps 0, every, 2 every, ... InputError if `every` is below 1."""
    if every < 1:
        raise InputError(f"every:{every} must be at least every:1")
    return tuple(range(0, steps, every))


def check_key_steps(key_steps: Iterable[int], steps: int) -> tuple[int, ...]:
    """A user's list of key steps for a run of `steps` steps. InputError if it has no step 0, is unsorted or out of
    range."""
    found = tuple(key_steps)
    if not found or found[0] != 0:
        raise InputError(
            f"key steps {list(found)} must begin with 0: before the first key step there is nothing to propagate"
        )
    for before, after in pairwise(found):
        if after <= before:
            raise InputError(f"key steps {list(found)} must rise; {after} follows {before}")
    if found[-1] >= steps:
        raise InputError(f"key step {found[-1]} is out of range for {steps} steps, which count from 0 to {steps - 1}")
    return found


def parse_interval(spec: str, argument: str) -> int:
    """The N of a spec such as `every:N`. InputError if it is not a whole number of at least 1."""
    if not argument.isdecimal() or int(argument) < 1:
        name = spec.partition(":")[0]
        raise InputError(f"{spec!r} needs a whole number of at least 1 after the colon, such as {name}:3")
    return int(argument)


def check_key_steps_spec(keys: object) -> None:
    """InputError if this is not None, the name of a published list, `every:N` or a list of steps."""
    if keys is None or (isinstance(keys, str) and keys in PUBLISHED):
        return
    if isinstance(keys, str):
        name, _, argument = keys.partition(":")
        if name != _INTERVAL:
            raise InputError(f"keys={keys!r} is unknown; use {', '.join(PUBLISHED)}, every:N, or steps such as 0,1,2,5")
        parse_interval(keys, argument)
    elif not isinstance(keys, Sequence) or not all(isinstance(k, int) and not isinstance(k, bool) for k in keys):
        raise InputError(f"keys={keys!r} must be a name, every:N, or a list of whole numbers")
    else:
        check_key_steps(keys, max(keys, default=0) + 1)


def resolve_key_steps(keys: str | tuple[int, ...], steps: int | None) -> tuple[tuple[int, ...], int]:
    """The key steps of a run of `steps` steps (None: not known), and the number of steps that they cover. InputError if
    the keys need the number of steps or do not fit it."""
    if isinstance(keys, str) and keys not in PUBLISHED:
        count = steps or _MANY
        return uniform_key_steps(parse_interval(keys, keys.partition(":")[2]), count), count
    if steps is None:
        if isinstance(keys, tuple):
            return keys, max(keys) + 1
        raise InputError(
            f"the list {keys!r} is scaled to the run's steps; give attach(..., scheduler=) with its timesteps set"
        )
    return (published_key_steps(keys, steps) if isinstance(keys, str) else check_key_steps(keys, steps)), steps
