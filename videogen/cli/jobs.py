"""A long render's job as the command line sees it: whether it is there, how far it is, how to go on with it."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import Any

from videogen.core.errors import InputError
from videogen.longvideo.journal.job import SEGMENTS_FOLDER, job_folder
from videogen.request.request import RenderRequest

_WITH_RESUME = ("command", "verbose", "resume", "overwrite", "keep_job", "report", "json", "quiet")
_FLAGS = {"prompt": "the prompt", "negative_prompt": "--negative", "guidance_scale": "--guidance"}


def output_of(path: Path) -> Path:
    """The output file that is meant: a job's folder stands for its output."""
    return path.with_suffix("") if path.suffix == ".job" else path


def kept(output: Path) -> int | None:
    """How many segments the job of an output holds; None where it has no job."""
    folder = job_folder(output)
    return len(list((folder / SEGMENTS_FOLDER).glob("*.json"))) if folder.is_dir() else None


def read_job(output: Path) -> tuple[RenderRequest, dict[str, Any]]:
    """What the job of an output was begun with, and its output settings. InputError where there is no job."""
    from videogen.longvideo.render import read_job_request

    if kept(output) is None:
        told = f"{_near(output)} has no job: {_near(job_folder(output))} is not there"
        raise InputError(f"{told}; a render that is finished leaves one only with --keep-job")
    return read_job_request(output)


def resumed(options: argparse.Namespace) -> tuple[RenderRequest, dict[str, Any]]:
    """The request and the output settings of `--resume`. InputError where anything else is asked for beside it."""
    for name, value in vars(options).items():
        if name not in _WITH_RESUME and value is not None and value is not False:
            flag = _FLAGS.get(name, "--" + name.replace("_", "-"))
            raise InputError(f"--resume goes on with what its job was begun with; leave {flag} out")
    output = output_of(options.resume)
    request, settings = read_job(output)
    return request, {**settings, "output": output, "overwrite": options.overwrite}


def told_on_interrupt(output: Path, overwrite: bool, segments: int | None) -> str:
    """What a user hears whose long render was stopped. segments: in all, where that is known."""
    done = kept(output)
    if not overwrite and output.exists():  # it was not there when the render began
        return f"{_near(output)} was finished"
    if done is None:
        return "nothing was written"
    again = f"videogen render --resume {shlex.quote(_near(output))}{' --overwrite' if overwrite else ''}"
    of = "" if segments is None else f" of {segments}"
    return f"{done}{of} segments are kept in {_near(job_folder(output))}: the same command (or {again}) goes on"


def _near(path: Path) -> str:
    """As short as a path can be named from here."""
    absolute = Path(os.path.abspath(path))
    here = Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)
