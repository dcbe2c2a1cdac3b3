"""Parallel loop over a CPU's cores with dynamic scheduling: a thread takes the next task when its last one is done.

PyTorch splits every operation evenly over its threads and waits for the slowest one each time. Here each thread runs
entire tasks on one core, so a core that is busy elsewhere delays one task, and the only wait is at the end.

PyTorch's own threads are used where they can be reached: after an operation they spin for some milliseconds, waiting
for the next one, and additional threads would compete with them for the cores.
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
_CACHED_BYTES = 4 << 20  # of one scratch buffer; larger ones are freed


def parallel_for(tasks: Iterable[T], work: Callable[[T], object], *, threads: int) -> None:
    """Call `work` once with each task, in at most this many threads. The iterable is advanced as threads become free,
    one task at a time.

    Tasks must not write to each other's memory. The first error of any task is raised, after all threads have stopped.
    """
    left: Iterator[T] = iter(tasks)
    del tasks  # so that what is left of it is freed as soon as an error stops the threads
    first = list(islice(left, 2))
    # while the interpreter shuts down, no thread can be started
    single = threads < 2 or len(first) < 2 or not main_thread().is_alive()
    left = chain(first, left)
    lock, errors = Lock(), list[BaseException]()
    inference, grad = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def stop() -> None:
        nonlocal left
        with lock:
            left = iter(())

    def next_task() -> T | object:
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
                while (task := next_task()) is not _END:
                    work(task)  # type: ignore[arg-type]
        except BaseException as error:  # Ctrl-C included: an error must not leave its thread any other way
            fail(error)

    def fail(error: BaseException) -> None:
        errors.append(error)
        stop()

    if single:
        run()
    elif (fork := _openmp()) is not None and os.getpid() == _process and not current_thread().daemon:
        _run_in_region(fork, run, fail, threads)
    else:
        _run_in_pool(run, stop, threads)
    try:
        if errors:
            raise errors[0]
    finally:
        errors.clear()  # its traceback refers to this frame, which refers to it


# --- threads
# -------------------------------------------------------------------------------------------------------------------

_REGION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@cache
def _openmp() -> Callable[..., None] | None:
    """`GOMP_parallel(region, data, threads, flags)` of the OpenMP library that PyTorch itself runs on; None where it
    has another interface.

    Within a region, PyTorch's operations run on the calling thread alone.
    """
    if sys.platform != "linux" or not torch.backends.openmp.is_available() or "GCC" not in torch.__config__.show():
        return None
    fork: Any = getattr(ctypes.CDLL(None), "GOMP_parallel", None)
    if fork is not None:
        fork.argtypes, fork.restype = (_REGION, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
    return fork  # type: ignore[no-any-return]


def _run_in_region(
    fork: Callable[..., None], run: Callable[[], None], fail: Callable[[BaseException], None], threads: int
) -> None:
    """Call `run` in each of `threads` threads, this one included.

    A signal handler may raise at the very edge of the region, where ctypes can only report the error as unraisable: it
    is caught there.
    """

    def region(_: int) -> None:
        run()

    usual = sys.unraisablehook

    def catch(unraisable: Any) -> None:
        if unraisable.object is region:
            fail(unraisable.exc_value)
        else:
            usual(unraisable)

    main = current_thread() is main_thread()  # the only one that handles signals
    if main:
        sys.unraisablehook = catch
    try:
        fork(_REGION(region), None, threads, 0)
    finally:
        if main:
            sys.unraisablehook = usual


_pools: dict[int, ThreadPoolExecutor] = {}
_process = os.getpid()  # a forked child has neither OpenMP's threads nor a pool's
os.register_at_fork(after_in_child=_pools.clear)


def _run_in_pool(run: Callable[[], None], stop: Callable[[], None], threads: int) -> None:
    """The same in the threads of a pool, which is reused by later calls."""
    if threads not in _pools:
        _pools[threads] = ThreadPoolExecutor(threads, "videogen", initializer=torch.set_num_threads, initargs=(1,))
    usual = torch.get_num_threads()
    running: list[Future[None]] = []
    try:
        for _ in range(threads):
            running.append(_pools[threads].submit(run))
        wait(running)
    finally:
        stop()  # after Ctrl-C, no further task is started
        wait(running)
        torch.set_num_threads(usual)  # else new threads would inherit the workers' setting of one thread


# --- memory
# --------------------------------------------------------------------------------------------------------------------


class _Scratch(local):
    """Scratch buffers of one thread, by use, dtype and device."""

    def __init__(self) -> None:
        self.buffers: dict[tuple[str, torch.dtype, torch.device], torch.Tensor] = {}


_scratch = _Scratch()
_spare: list[dict[tuple[str, torch.dtype, torch.device], torch.Tensor]] = []


@contextmanager
def _own_scratch() -> Iterator[None]:
    """Buffers that no other thread has. They are passed on to the next thread that enters: Python drops the locals of
    an OpenMP thread at the end of its region."""
    outer = _scratch.buffers
    try:
        _scratch.buffers = _spare.pop()
    except IndexError:
        _scratch.buffers = {}
    try:
        yield
    finally:
        _spare.append(_scratch.buffers)
        _scratch.buffers = outer


def scratch(use: str, count: int, like: torch.Tensor) -> torch.Tensor:
    """A buffer [count] of this thread, valid until the thread's next call with the same `use`. Fresh pages would cost
    as much as a copy."""
    key = use, like.dtype, like.device
    found = _scratch.buffers.get(key)
    if found is None or len(found) < count:
        with torch.inference_mode(False):  # the next user may be outside of inference mode
            found = like.new_empty(count)
        if count * like.element_size() <= _CACHED_BYTES and like.device.type == "cpu":
            _scratch.buffers[key] = found
    return found[:count]
