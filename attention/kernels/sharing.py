"""Work shared out over a CPU's cores: each thread takes the next piece when it is done with its last.

PyTorch splits every operation evenly over its threads and waits for the slowest, at each. Here a thread runs whole pieces with one
core each, so a core that is busy elsewhere delays one piece, and nothing is waited for but the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Lock, local, main_thread
from typing import TypeVar

import torch

T = TypeVar("T")
_KEPT_BYTES = 4 << 20  # of a room; larger ones are let go


def parallel_for(pieces: Sequence[T], work: Callable[[T], None], *, threads: int) -> None:
    """Call `work` with each piece, once, in at most so many threads.

    The pieces must not touch each other's memory. The first error of any of them is raised, after all threads have stopped.
    """
    if min(threads, len(pieces)) < 2 or _closed():
        for piece in pieces:
            work(piece)
        return
    left: Iterator[T] = iter(pieces)
    lock = Lock()
    inference, grad = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def taken() -> T | None:
        nonlocal left
        with lock:
            return next(left, None)

    def run() -> None:
        with torch.inference_mode(inference), torch.set_grad_enabled(grad):
            while (piece := taken()) is not None:
                work(piece)

    usual = torch.get_num_threads()
    pool, running = _pool(threads), []
    try:
        for _ in range(min(threads, len(pieces))):
            running.append(pool.submit(run))
        wait(running, return_when=FIRST_EXCEPTION)
    finally:
        with lock:
            left = iter(())  # after an error, or Ctrl-C, nothing more is begun
        wait(running)
        torch.set_num_threads(usual)  # the workers' single thread would be the default of threads to come
    for done in running:
        done.result()


class _Rooms(local):
    """Each thread's memory by use, dtype and device."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, torch.dtype, torch.device], torch.Tensor] = {}


_rooms = _Rooms()


def scratch(use: str, count: int, like: torch.Tensor) -> torch.Tensor:
    """`count` values of memory [count], of this thread's own, for this use until it asks again: fresh pages cost as much as a copy."""
    key = use, like.dtype, like.device
    found = _rooms.kept.get(key)
    if found is None or len(found) < count:
        with torch.inference_mode(False):  # it may serve a call outside of it next
            found = like.new_empty(count)
        if found.nbytes <= _KEPT_BYTES and like.device.type == "cpu":
            _rooms.kept[key] = found
    return found[:count]


_pools: dict[int, ThreadPoolExecutor] = {}
os.register_at_fork(after_in_child=_pools.clear)  # threads do not live on in a child


def _closed() -> bool:
    """Whether the interpreter is ending, when no thread can be begun any more."""
    return not main_thread().is_alive()


def _pool(threads: int) -> ThreadPoolExecutor:
    """Kept from call to call, as is the memory that its threads have at hand."""
    if threads not in _pools:
        _pools[threads] = ThreadPoolExecutor(threads, "videogen", initializer=torch.set_num_threads, initargs=(1,))
    return _pools[threads]
