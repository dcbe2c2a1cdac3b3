"""`videogen render` of several clips: each prompt with each seed, a file per clip, finished files kept at any stop."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

from videogen.core.errors import InputError, NumericsError, VideogenError
from videogen.core.files import check_output
from videogen.request.request import RenderRequest

from .clip_names import name_clips
from .clips_bar import ClipsBar
from .render import Written, check_before_loading, load_checked, print_notes, render_one, result_of, save_video
from .settings import OutputSettings, RenderSettings, gather_settings
from .several_options import parse_seeds, read_prompts
from .text import plural, printable
from .types import Json

if TYPE_CHECKING:
    from videogen.engine.engine import Engine
    from videogen.request.resolved import ResolvedRequest


@dataclass
class _Clip:
    """One clip. index: its number, from 0; result: its entry in the output of --json, once there is one."""

    index: int
    request: RenderRequest
    output: OutputSettings
    result: Json | None = None


@dataclass
class _Clips:
    """All clips of a command. notes: of the run, each once; code: the exit code so far."""

    clips: list[_Clip]
    options: argparse.Namespace
    bar: ClipsBar
    notes: list[str] = field(default_factory=list)
    code: int = 0
    finished: int = 0
    started: float = field(default_factory=time.perf_counter)

    @property
    def open(self) -> list[_Clip]:
        return [clip for clip in self.clips if clip.result is None]

    def add(self, clip: _Clip, written: Written) -> None:
        """Announce a clip that is written."""
        seconds, self.started = time.perf_counter() - self.started, time.perf_counter()
        clip.result = result_of(written, written.notes, {"total": seconds})
        self.notes += written.notes
        self.finished += 1
        if written.problem is not None:
            self.code = self.code or 1
            self.bar.announce([written.problem])
        self.announce(str(written.path))

    def skip(self, clip: _Clip) -> None:
        clip.result = {"path": str(clip.output.path), "skipped": True}
        self.announce(str(clip.output.path))

    def fail(self, clip: _Clip, error: NumericsError) -> None:
        """Note a clip that cannot be written; the others are rendered."""
        clip.result = {"path": str(clip.output.path), "error": str(error), "kind": type(error).__name__}
        self.code = error.exit_code
        self.notes.append(f"{clip.output.path} was not written: {error}")

    def announce(self, path: str) -> None:
        if not self.options.json:
            self.bar.show_path(path)

    def stopped(self, message: str) -> str:
        """A message, what is left of a run that stopped, and how to continue it."""
        if not self.finished:
            return message or "nothing was written"
        return "; ".join(filter(None, (message, self._remaining())))

    def _remaining(self) -> str:
        count = len(self.clips)
        if self.options.overwrite:
            return f"{self.finished} of {count} clips were written again"
        again = "the same command" if self.options.skip_existing else "the same command with --skip-existing"
        return f"{count - len(self.open)} of {count} clips are finished: {again} continues"


def run(options: argparse.Namespace) -> int:
    settings, clips = _plan(options)
    visible = not (options.quiet or options.json)
    bar = ClipsBar(visible, speaks=visible, count=len(clips))
    began = time.perf_counter()
    every = _Clips(clips, options, bar)
    try:
        bar.stage("check")
        for clip in clips if options.skip_existing else ():
            if os.path.lexists(clip.output.path):
                every.skip(clip)
        _check(settings, every.open, options)
        if every.open:
            bar.stage("load")
            engine = load_checked(
                replace(settings, request=every.open[0].request), every.open[0].output, options, every.notes
            )
            _render(engine, every)
    except KeyboardInterrupt as stop:
        stop.args = (every.stopped(str(stop)),)
        raise
    except VideogenError as error:
        error.args = (every.stopped(str(error)),)
        raise
    finally:
        bar.close()
    _report(every, time.perf_counter() - began)
    return every.code


def _plan(options: argparse.Namespace) -> tuple[RenderSettings, list[_Clip]]:
    """The settings, and each clip with its request and its file. InputError for what does not go together."""
    from videogen.engine.seeds import pair_with_seeds

    prompts = None if options.prompts is None else read_prompts(options.prompts)
    seeds = None if options.seeds is None else parse_seeds(options.seeds)
    first = argparse.Namespace(**{**vars(options), **({} if prompts is None else {"prompt": prompts[0]})})
    settings = gather_settings(first)
    given = {"seeds": seeds, "count": options.count}
    if seeds is None or options.seed is not None:
        given["seed"] = settings.request.seed
    pairs = pair_with_seeds(prompts or [settings.request.prompt], given)
    twice = next((pair for number, pair in enumerate(pairs) if pair in pairs[:number]), None)
    if twice is not None:
        raise InputError(
            f"the prompt {twice[0]!r} is twice in {options.prompts}, with the same seed; remove one of them"
        )
    requests = [replace(settings.request, prompt=prompt, seed=seed) for prompt, seed in pairs]
    paths = name_clips(requests, settings.output, skip_existing=options.skip_existing)
    outputs = [replace(settings.output, path=path.expanduser().absolute(), is_default=False) for path in paths]
    clips = [_Clip(index, *pair) for index, pair in enumerate(zip(requests, outputs, strict=True))]
    return settings, clips


def _check(settings: RenderSettings, clips: list[_Clip], options: argparse.Namespace) -> None:
    """InputError or UnsupportedError for what can be refused before torch is imported."""
    existing = [clip.output.path for clip in clips if os.path.lexists(clip.output.path) and not clip.output.overwrite]
    if existing:
        others = f" and {plural(len(existing) - 1, 'other file')}" if existing[1:] else ""
        raise InputError(
            f"{existing[0]}{others} of {plural(len(clips), 'clip')} exist; render the others with --skip-existing, or "
            "replace them with --overwrite"
        )
    for clip in clips:
        check_output(clip.output.path, clip.output.overwrite)
    for clip in clips[:1]:
        check_before_loading(replace(settings, request=clip.request, output=clip.output), options)


def _render(engine: Engine, every: _Clips) -> None:
    """Render and save what is open: long videos one by one, clips in batches."""
    from videogen.techniques.effects import effect_notes, expected_no_effect

    bar, name = every.bar, engine.backbone.name
    resolved = [replace(clip.request, model=name).resolve(engine.backbone) for clip in every.open]
    bar.numbers = [clip.index + 1 for clip in every.open]
    every.started = time.perf_counter()
    if resolved[0].is_long:
        for bar.first, clip in enumerate(every.open):
            request = replace(clip.request, model=name)
            every.add(clip, render_one(engine, request, clip.output, every.options, bar))
        return
    bar.announce(effect_notes(expected_no_effect(resolved[0], engine.backbone)))
    pending, size = list(zip(every.open, resolved, strict=True)), every.options.batch_size
    while pending:
        try:
            for clip, written in _written(engine, pending, size, bar):
                every.add(clip, written)
        except NumericsError as error:
            if size == 1 or len(pending) == 1:
                every.fail(every.open[0], error)
            size = 1  # to find out which clip of the batch it is
        pending = [pair for pair in pending if pair[0].result is None]


def _written(
    engine: Engine, pending: list[tuple[_Clip, ResolvedRequest]], size: int | None, bar: ClipsBar
) -> Iterator[tuple[_Clip, Written]]:
    """Each clip as soon as it is rendered and saved."""
    bar.first = bar.numbers.index(pending[0][0].index + 1)
    videos = engine.render_each([request for _, request in pending], progress=bar, batch_size=size)
    for (clip, request), video in zip(pending, islice(videos, len(pending)), strict=True):
        yield clip, save_video(video, request, clip.output)


def _report(every: _Clips, seconds: float) -> None:
    """Notes and a line of what was made; with --json all clips as a list."""
    if every.options.json:
        print(json.dumps([clip.result for clip in every.clips]))
        return
    failed = [clip.result["error"] for clip in every.clips if clip.result is not None and "error" in clip.result]
    if every.options.quiet:
        for error in failed:
            print(f"videogen: {printable(error)}", file=sys.stderr)
        return
    print_notes(list(dict.fromkeys(every.notes)))
    skipped = len(every.clips) - every.finished - len(failed)
    parts = [plural(every.finished, "clip")]
    parts += [f"{skipped} existed"] if skipped else []
    parts += [f"{len(failed)} failed"] if failed else []
    print(f"{', '.join(parts)}, in {seconds:.1f} s", file=sys.stderr)
