"""Engines in several threads: one engine's calls take turns, two engines run in parallel; all clips are as alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.contract.families import wan
from videogen import Engine, Progress, RenderRequest, Video

CLIP: dict[str, Any] = {"frames": 9, "size": (32, 32), "steps": 4}
PROMPTS = ("a red ball", "a blue square")


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Engine]:
    folder = tmp_path_factory.mktemp("threads") / "wan"
    wan(folder)
    return lambda: Engine.load(str(folder), device="cpu")


def generate(engine: Engine, seed: int, **options: Any) -> Video:
    return engine.generate(PROMPTS[seed % 2], seed=seed, **CLIP, **options)


@pytest.mark.parametrize("engines", [1, 2], ids=["two engines with one model", "one engine"][::-1])
def test_calls_with_one_model_take_turns(engines: int, load: Callable[[], Engine]) -> None:
    engine = load()
    doors = [engine, engine if engines == 1 else Engine(engine.backbone)]
    alone = [generate(engine, seed).frames for seed in range(4)]
    heard: list[int] = []
    started = threading.Barrier(4)

    def call(seed: int) -> np.ndarray:
        started.wait(60)
        return generate(doors[seed % 2], seed, progress=lambda _: heard.append(seed)).frames

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(call, range(4)))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))
    changes = sum(a != b for a, b in pairwise(heard))
    assert len(heard) > 8 and changes == 3, "each call reports all of its steps before the next one begins"


def test_a_long_render_and_a_clip_take_turns(load: Callable[[], Engine], tmp_path: Path) -> None:
    engine = load()
    request = RenderRequest(PROMPTS[0], frames=37, window=21, width=32, height=32, steps=2, seed=3, continuity="replay")
    alone = engine.render(request).frames, generate(engine, 1).frames
    running, started = threading.Event(), threading.Event()

    def on_progress(progress: Progress) -> None:
        running.set()
        started.wait(60)

    def clip() -> np.ndarray:
        running.wait(60)
        started.set()
        return generate(engine, 1).frames

    with ThreadPoolExecutor(2) as threads:
        long = threads.submit(engine.render_long, request, tmp_path / "long", progress=on_progress)
        second = threads.submit(clip)
        long.result(), second.result()
    assert np.array_equal(Video.open(tmp_path / "long").frames, alone[0])
    assert np.array_equal(second.result(), alone[1])


def test_a_progress_callback_may_use_its_engine(load: Callable[[], Engine]) -> None:
    engine = load()
    alone = [generate(engine, seed).frames for seed in (0, 1)]
    inner: list[np.ndarray] = []

    def on_progress(progress: Progress) -> None:
        if progress.stage == "decode" and not inner:
            inner.append(generate(engine, 1).frames)

    assert np.array_equal(generate(engine, 0, progress=on_progress).frames, alone[0])
    assert np.array_equal(inner[0], alone[1])


def test_two_engines_run_in_parallel(load: Callable[[], Engine]) -> None:
    """Each waits in a step until the other is in one: calls that took turns would never meet."""
    engines = [load(), load()]
    alone = [generate(engine, seed).frames for seed, engine in enumerate(engines)]
    meeting = threading.Barrier(2)

    def call(seed: int) -> np.ndarray:
        def on_progress(progress: Progress) -> None:
            if progress.stage == "denoise" and progress.step == 2:
                meeting.wait(60)

        return generate(engines[seed], seed, progress=on_progress).frames

    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(call, range(2)))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def test_reprs_are_short_and_name_what_matters(load: Callable[[], Engine], tmp_path: Path) -> None:
    engine = load()
    assert repr(engine).startswith("<Engine: ") and "wan (wan), " in repr(engine) and "float32 on cpu" in repr(engine)
    request = RenderRequest(PROMPTS[0], frames=37, window=21, width=32, height=32, steps=1, continuity="replay")
    for name in ("a.mp4", "folder"):
        done = engine.render_long(request, tmp_path / name)
        assert f"<LongVideo: {tmp_path / name}, 37 frames of 32x32, 16 fps, 3 segments" in repr(done)
        page = done._repr_html_()
        assert len(repr(done)) < 250 and "37 frames of 32x32" in page and ("<video" in page) == (name == "a.mp4")
    page = engine._repr_html_()
    assert page.startswith("<div>") and "float32 on cpu" in page and page.endswith("</div>")
