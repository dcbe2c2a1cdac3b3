"""Turns of threads at one object."""

from __future__ import annotations

import threading

from videogen.core.turns import turns_of


class Owner:
    pass


def test_an_object_has_one_lock_which_its_thread_may_take_again() -> None:
    first, second = Owner(), Owner()
    assert turns_of(first) is turns_of(first) and turns_of(first) is not turns_of(second)
    taken: list[bool] = []
    with turns_of(first), turns_of(first):
        other = threading.Thread(target=lambda: taken.append(turns_of(first).acquire(blocking=False)))
        other.start()
        other.join()
    assert taken == [False]
