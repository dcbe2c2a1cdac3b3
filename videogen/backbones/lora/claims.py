"""Claims on models that a render changes: what two engines share is changed by one of them at a time.

LoRAs and textual inversions put a model back as it was before them, which only fits where nothing else has changed it
meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from videogen.core.errors import InputError

_lock = threading.Lock()
#: model -> the backbone whose render changes it, and how many of its parts do
_claimed: WeakKeyDictionary[nn.Module, tuple[Any, int]] = WeakKeyDictionary()


@contextmanager
def claim(models: Mapping[str, nn.Module], owner: Any) -> Iterator[None]:
    """Models that only this owner changes within the block. models: by component; owner: the backbone, which may claim
    a model several times. InputError where another has claimed one."""
    plain = {name: getattr(model, "_orig_mod", model) for name, model in models.items()}
    with _lock:
        taken = [name for name, model in plain.items() if _claimed.get(model, (owner, 0))[0] is not owner]
        if taken:
            raise InputError(
                f"{' and '.join(taken)} of {owner.name!r} is shared with another engine, whose LoRAs or textual "
                "inversions are on it; end that render first, or load the engines from files of their own"
            )
        for model in plain.values():
            _claimed[model] = owner, _claimed.get(model, (owner, 0))[1] + 1
    try:
        yield
    finally:
        with _lock:
            for model in plain.values():
                count = _claimed.pop(model)[1] - 1
                if count:
                    _claimed[model] = owner, count
