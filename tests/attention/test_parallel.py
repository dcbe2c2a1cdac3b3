"""The parallel loop: each task runs once, errors are raised, and no setting stays changed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from videogen.attention import BlockMap, search, sparse_attention
from videogen.attention.kernels import parallel
from videogen.attention.kernels.parallel import parallel_for, scratch
from videogen.attention.mass import row_mass

LONG_ENOUGH = 120  # s; it ends the wait of a test that fails


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    usual = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(usual)


@pytest.fixture(autouse=True, params=["openmp", "pool"] if parallel._openmp() else ["pool"])
def kind_of_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs in PyTorch's OpenMP threads, where they can be reached, and in those of a pool."""
    if request.param == "pool":
        monkeypatch.setattr(parallel, "_openmp", lambda: None)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_each_task_runs_once_and_torch_retains_its_threads(threads: int) -> None:
    done: list[tuple[int, int]] = []
    parallel_for(range(40), lambda task: done.append((task, threading.get_ident())), threads=threads)
    assert sorted(task for task, _ in done) == list(range(40))
    assert len({thread for _, thread in done}) <= threads
    assert torch.get_num_threads() == 2
    found: list[int] = []
    other = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert found == [2], "the workers' setting of one thread must not become the default"


def test_workers_have_the_callers_modes() -> None:
    found: set[tuple[bool, bool]] = set()

    def note(_: int) -> None:
        found.add((torch.is_inference_mode_enabled(), torch.is_grad_enabled()))

    for context, expected in (
        (torch.inference_mode, (True, False)),
        (torch.no_grad, (False, False)),
        (torch.enable_grad, (False, True)),
    ):
        found.clear()
        with context():
            parallel_for(range(9), note, threads=2)
        assert found == {expected}


def test_an_error_is_raised_and_the_next_call_works() -> None:
    def fail(task: int) -> None:
        if task == 3:
            raise ValueError("task 3")

    with pytest.raises(ValueError, match="task 3"):
        parallel_for(range(8), fail, threads=2)
    done: list[int] = []
    parallel_for(range(8), done.append, threads=2)
    assert sorted(done) == list(range(8))


@pytest.mark.parametrize("failing", [0, 3])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError], ids=["Ctrl-C", "an error"])
def test_after_an_error_no_task_is_started(error: type[BaseException], failing: int) -> None:
    """Tasks after the failing one end once the loop has dropped those that are left."""
    done, dropped = list[int](), threading.Event()

    def tasks() -> Iterator[int]:
        try:
            yield from range(60)
        finally:
            dropped.set()

    def work(task: int) -> None:
        if task == failing:
            raise error("failing")
        assert task < failing or dropped.wait(LONG_ENOUGH)
        done.append(task)

    with pytest.raises(error, match="failing"):
        parallel_for(tasks(), work, threads=2)
    before = list(range(failing))
    assert sorted(done) in (before, [*before, failing + 1])


def test_no_signal_is_lost_at_the_edge_of_a_region() -> None:
    usual, hook = signal.signal(signal.SIGINT, signal.default_int_handler), sys.unraisablehook
    try:
        for number in range(30):
            soon = threading.Timer(0.003 + 0.0001 * number, signal.raise_signal, (signal.SIGINT,))
            end = time.monotonic() + LONG_ENOUGH
            with pytest.raises(KeyboardInterrupt):
                soon.start()
                while time.monotonic() < end:
                    parallel_for(range(8), lambda _: torch.zeros(20_000).exp_(), threads=2)
            soon.join()
    finally:
        signal.signal(signal.SIGINT, usual)
    assert sys.unraisablehook is hook


@pytest.mark.parametrize("threads", [1, 2])
def test_tasks_may_be_none_or_few_and_their_iterable_may_fail(threads: int) -> None:
    done: list[object] = []
    parallel_for([1, None, 2], done.append, threads=threads)
    parallel_for([], done.append, threads=threads)
    parallel_for(["one"], done.append, threads=threads)
    assert sorted(map(str, done)) == ["1", "2", "None", "one"]

    def failing() -> Iterator[int]:
        yield from range(5)
        raise ValueError("no sixth")

    with pytest.raises(ValueError, match="no sixth"):
        parallel_for(failing(), done.append, threads=threads)


def test_autocast_is_off_in_tasks() -> None:
    found: set[bool] = set()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for threads in (1, 2):
            parallel_for(range(6), lambda _: found.add(torch.is_autocast_enabled("cpu")), threads=threads)
    assert found == {False}


def test_both_threads_work_at_once() -> None:
    meeting, met = threading.Barrier(2, timeout=LONG_ENOUGH), list[int]()
    parallel_for(range(2), lambda _: met.append(meeting.wait()), threads=2)
    assert sorted(met) == [0, 1]


def test_nested_tasks_run_in_the_thread_that_starts_them() -> None:
    done: list[int] = []
    parallel_for(
        range(4),
        lambda outer: parallel_for(range(3), lambda inner: done.append(3 * outer + inner), threads=1),
        threads=2,
    )
    assert sorted(done) == list(range(12))


def test_scratch_memory_is_used_again() -> None:
    first: set[int] = set()
    again: set[int] = set()
    for found in (first, again):

        def work(_: int, found: set[int] = found) -> None:
            found.add(scratch("values", 1000, torch.zeros(1)).data_ptr())

        parallel_for(range(8), work, threads=2)
    assert first & again


def test_autocast_leaves_a_search_in_full_precision() -> None:
    query, key = (torch.randn(1, 2, 1024, 32, generator=torch.Generator().manual_seed(i)) for i in range(2))
    plain = search(query, key, recall=0.9, rows=4)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = search(query=query, key=key, recall=0.9, rows=4)
        assert found.recall is not None and plain.recall is not None and torch.equal(found.recall, plain.recall)


def test_a_forked_child_starts_its_own_threads() -> None:
    parallel_for(range(4), lambda _: None, threads=2)
    child = os.fork()
    if child == 0:  # pragma: no cover
        signal.alarm(LONG_ENOUGH)  # ends it if it waits for threads of its parent
        parallel_for(range(4), lambda _: None, threads=2)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_scratch_memory_of_inference_mode_is_usable_outside_of_it() -> None:
    like = torch.zeros(1)
    with torch.inference_mode():
        scratch("test", 10, like).fill_(1)
    assert scratch("test", 8, like).fill_(2).tolist() == [2] * 8 and len(scratch("test", 20, like)) == 20


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_threads_change_no_bit(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 3, 1500, 32, generator=generator).to(dtype) for _ in range(3))
    block_map = search(query, key, recall=0.9, rows=4)
    mask = torch.rand(1, 3, 6, 24, generator=generator) < 0.3
    mask[..., 0] = True
    ragged = BlockMap.from_dense(mask, query_block=256, key_block=64, length=1500)
    made = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        again = search(query, key, recall=0.9, rows=4)
        assert torch.equal(again.to_dense(), block_map.to_dense())
        made.append(
            [
                sparse_attention(query, key, value, found, return_lse=True, backend="torch")
                for found in (block_map, ragged)
            ]
        )
    for one, two in zip(*made, strict=True):
        assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])


def test_a_search_takes_tensors_that_require_gradients_and_a_measurement_takes_no_rows() -> None:
    query, key = (torch.randn(1, 2, 300, 16, requires_grad=True) for _ in range(2))
    found = search(query, key, recall=0.9, rows=4, query_block=64)
    assert torch.equal(
        found.to_dense(), search(query.detach(), key.detach(), recall=0.9, rows=4, query_block=64).to_dense()
    )
    mass, lse = row_mass(query, key, torch.zeros(0, dtype=torch.int64), key_block=64)
    assert mass.shape == (1, 2, 0, 5) and lse.shape == (1, 2, 0) and not mass.requires_grad


def test_a_thread_that_outlives_the_main_thread_runs_all_tasks_itself() -> None:
    script = (
        "import threading, time, torch; torch.set_num_threads(2)\n"
        "from videogen.attention.kernels.parallel import parallel_for\n"
        "def late():\n"
        "    threading.main_thread().join(); done = []\n"
        "    parallel_for(range(6), done.append, threads=2); print(sorted(done))\n"
        "threading.Thread(target=late).start()\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=LONG_ENOUGH, check=False
    )
    assert outcome.stdout.strip() == "[0, 1, 2, 3, 4, 5]", outcome.stderr


def test_scratch_memory_may_be_traced_with_a_size_that_changes() -> None:
    """The second step of a model that was attached to and compiled failed: a symbolic size has no `nbytes`."""
    torch._dynamo.reset()
    traced = torch.compile(lambda x: scratch("traced", 3 * len(x), x).fill_(1).sum(), backend="eager", dynamic=True)
    with torch.no_grad():
        assert [float(traced(torch.ones(count))) for count in (8, 9)] == [24.0, 27.0]
