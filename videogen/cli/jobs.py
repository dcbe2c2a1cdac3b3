"""A long render's job, as the command line sees it: whether it exists, how far it is, how to resume it."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from videogen.backbones.recorded import check_job_model
from videogen.core.errors import InputError
from videogen.longvideo.journal.job import SEGMENTS_FOLDER, job_folder

from .settings import OutputSettings, RenderSettings

if TYPE_CHECKING:
    from videogen.longvideo.stored_job import StoredJob

_WITH_RESUME = ("command", "verbose", "resume", "overwrite", "keep_job", "report", "json", "quiet", "allow_model")
_FLAGS = {"prompt": "the prompt", "negative_prompt": "--negative", "guidance_scale": "--guidance",
          "own_options": "--set", "loras": "--lora", "embeddings": "--embedding"}  # fmt: skip


def output_of(path: Path) -> Path:
    """The output file of a job's folder; any other path is the output itself."""
    return path.with_suffix("") if path.suffix == ".job" else path


def count_done(output: Path) -> int | None:
    """How many segments the job of an output holds; None where it has no job."""
    folder = job_folder(output)
    return len(list((folder / SEGMENTS_FOLDER).glob("*.json"))) if folder.is_dir() else None


def read_job(output: Path) -> StoredJob:
    """An output's job. InputError where there is none."""
    from videogen.longvideo.stored_job import read_stored_job

    if count_done(output) is None:
        raise InputError(
            f"{shorten(output)} has no job: {shorten(job_folder(output))} is not there; a finished render leaves one "
            "only with --keep-job"
        )
    return read_stored_job(output)


def check_model(job: StoredJob, output: Path, *, allow_model: bool) -> None:
    """InputError where the model that a job names would be fetched from the hub and that is not allowed."""
    folder, model_options = shorten(job_folder(output)), job.request.load_options()
    check_job_model(job.request.model, folder, model_options, allow_model=allow_model)


def read_resumed(options: argparse.Namespace) -> RenderSettings:
    """The settings of `--resume`. InputError where other settings are given with it, or the job's model is not
    allowed."""
    for name, value in vars(options).items():
        if name not in _WITH_RESUME and value is not None and value is not False:
            flag = _FLAGS.get(name, "--" + name.replace("_", "-"))
            raise InputError(f"--resume continues with the settings that its job was started with; leave {flag} out")
    output = output_of(options.resume)
    job = read_job(output)
    check_model(job, output, allow_model=options.allow_model)
    settings = OutputSettings(output, bool(options.overwrite), job.output.get("quality"))
    return RenderSettings(job.request, settings, job=job)


def interruption_message(output: Path, overwrite: bool, segments: int | None) -> str:
    """What is left of a long render that was interrupted, and how to resume it. segments: in all, where known."""
    done = count_done(output)
    if not overwrite and output.exists():  # it was not there when the render began
        return f"{shorten(output)} was finished"
    if done is None:
        return "nothing was written"
    command = f"videogen render --resume {shlex.quote(shorten(output))}{' --overwrite' if overwrite else ''}"
    of = "" if segments is None else f" of {segments}"
    return f"{done}{of} segments are stored in {shorten(job_folder(output))}: the same command (or {command}) resumes"


def shorten(path: Path) -> str:
    """The path, relative to the current folder where that is shorter."""
    absolute = Path(os.path.abspath(path))
    here = Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)
