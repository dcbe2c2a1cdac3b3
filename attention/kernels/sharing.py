"""Work shared out over a CPU's cores: each thread takes the next piece when it is done with its last.

PyTorch splits every operation evenly over its threads and waits for the slowest, at each. Here a thread runs whole
pieces with one core each, so a core that is busy elsewhere delays one piece, and nothing is waited for but the end.

The threads are PyTorch's own where they can be called upon: after an operation they look out for the next one for some
milliseconds, with all that their cores can do, and threads beside them would have to share these.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from itertools import chain, islice
from threading import Lock, current_thread, local, main_thread
from typing import Any, TypeVar

import torch

T = TypeVar("T")
_END = object()
_KEPT_BYTES = 4 << 20  # of a piece of scratch memory; larger ones are let go


def parallel_for(pieces: Iterable[T], work: Callable[[T], None], *, threads: int) -> None:
    """Call `work` with each piece, once, in at most so many threads. Pieces are made as they are taken, one at a time.

    They must not touch each other's memory. The first error of any of them is raised, after all threads have stopped.
    """
    left: Iterator[T] = iter(pieces)
    first = list(islice(left, 2))
    alone = (
        threads < 2 or len(first) < 2 or not main_thread().is_alive()
    )  # at the interpreter's end no thread can be begun any more
    left = chain(first, left)
    lock, errors = Lock(), list[BaseException]()
    inference, grad = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def stop() -> None:
        nonlocal left
        with lock:
            left = iter(())

    def taken() -> T | object:
        with lock:
            return next(left, _END)

    def run() -> None:
        try:
            with (
                _own_scratch(),
                torch.inference_mode(inference),
                torch.set_grad_enabled(grad),
                torch.autocast("cpu", enabled=False),
            ):
                while (piece := taken()) is not _END:
                    work(piece)  # type: ignore[arg-type]
        except BaseException as error:  # Ctrl-C included: no thread may take its error elsewhere
            failed(error)

    def failed(error: BaseException) -> None:
        errors.append(error)
        stop()

    if alone:
        run()
    elif (fork := _openmp()) is not None and os.getpid() == _process and not current_thread().daemon:
        _in_region(fork, run, failed, threads)
    else:
        _pooled(run, stop, threads)
    try:
        if errors:
            raise errors[0]
    finally:
        errors.clear()  # its traceback holds this frame, which holds it


# --- threads
# -------------------------------------------------------------------------------------------------------------------

_REGION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@cache
def _openmp() -> Callable[..., None] | None:
    """`GOMP_parallel(region, data, threads, flags)` of the OpenMP library that PyTorch itself runs on; None where it
    has another face.

    Within a region, PyTorch's operations keep to the thread that calls them.
    """
    if sys.platform != "linux" or not torch.backends.openmp.is_available() or "GCC" not in torch.__config__.show():
        return None
    fork: Any = getattr(ctypes.CDLL(None), "GOMP_parallel", None)
    if fork is not None:
        fork.argtypes, fork.restype = (_REGION, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
    return fork  # type: ignore[no-any-return]


def _in_region(
    fork: Callable[..., None], run: Callable[[], None], failed: Callable[[BaseException], None], threads: int
) -> None:
    """`run` in each of so many threads, this one included.

    A signal's handler may raise at the region's very edge, where ctypes can only report it: then it is taken from
    there.
    """

    def region(_: int) -> None:
        run()

    usual = sys.unraisablehook

    def reported(told: Any) -> None:
        if told.object is region:
            failed(told.exc_value)
        else:
            usual(told)

    main = current_thread() is main_thread()  # signals are handled there alone
    if main:
        sys.unraisablehook = reported
    try:
        fork(_REGION(region), None, threads, 0)
    finally:
        if main:
            sys.unraisablehook = usual


_pools: dict[int, ThreadPoolExecutor] = {}
_process = os.getpid()  # neither OpenMP's threads nor a pool's come along into a forked child
os.register_at_fork(after_in_child=_pools.clear)


def _pooled(run: Callable[[], None], stop: Callable[[], None], threads: int) -> None:
    """The same in threads of a pool, kept from call to call."""
    if threads not in _pools:
        _pools[threads] = ThreadPoolExecutor(threads, "videogen", initializer=torch.set_num_threads, initargs=(1,))
    usual = torch.get_num_threads()
    running: list[Future[None]] = []
    try:
        for _ in range(threads):
            running.append(_pools[threads].submit(run))
        wait(running)
    finally:
        stop()  # at Ctrl-C, nothing more is begun
        wait(running)
        torch.set_num_threads(usual)  # the workers' single thread would be the default of threads to come


# --- memory
# --------------------------------------------------------------------------------------------------------------------


class _Scratch(local):
    """A thread's memory by use, dtype and device."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, torch.dtype, torch.device], torch.Tensor] = {}


_scratch = _Scratch()
_spare: list[dict[tuple[str, torch.dtype, torch.device], torch.Tensor]] = []


@contextmanager
def _own_scratch() -> Iterator[None]:
    """Memory that no other thread has, left to the next one that asks: Python forgets a thread of OpenMP's at the end
    of its region."""
    outer = _scratch.kept
    try:
        _scratch.kept = _spare.pop()
    except IndexError:
        _scratch.kept = {}
    try:
        yield
    finally:
        _spare.append(_scratch.kept)
        _scratch.kept = outer


def scratch(use: str, count: int, like: torch.Tensor) -> torch.Tensor:
    """`count` values of memory [count], of this thread's own, for this use until it asks again: fresh pages cost as
    much as a copy."""
    key = use, like.dtype, like.device
    found = _scratch.kept.get(key)
    if found is None or len(found) < count:
        with torch.inference_mode(False):  # it may serve a call outside of it next
            found = like.new_empty(count)
        if found.nbytes <= _KEPT_BYTES and like.device.type == "cpu":
            _scratch.kept[key] = found
    return found[:count]
