"""Turns: calls from several threads that use one object run one after the other."""

from __future__ import annotations

import threading
from weakref import WeakKeyDictionary

_turns: WeakKeyDictionary[object, threading.RLock] = WeakKeyDictionary()
_guard = threading.Lock()


def turns_of(owner: object) -> threading.RLock:
    """The lock of an object, always the same one, which the thread that holds it may take again.

    owner: hashable by identity, such as a module.
    """
    with _guard:
        return _turns.setdefault(owner, threading.RLock())
