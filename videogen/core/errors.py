"""Tree of errors. Each error is also the nearest builtin, so that a plain `except ValueError` works.

    VideogenError
    ├── InputError (ValueError)              the user's mistake: a value, a name, a file that is in the way
    │   └── SavedElsewhereError              the result is complete, but under another name than requested
    ├── CheckpointError (OSError)            a folder or name that is not a loadable checkpoint
    ├── MediaError (OSError)                 a video or image that cannot be read or written
    ├── UnsupportedError (NotImplementedError) a request that this model or machine cannot serve
    ├── ResumeError (RuntimeError)           a run cannot be resumed from the files on disk
    ├── NumericsError (ArithmeticError)      NaN, Inf or black frames out of a model
    ├── OutOfMemoryError (MemoryError)       the device's memory ran out
    └── Cancelled                            the caller asked to stop

A message says what was wrong, the value, and what to do. `exit_code` is the exit status of the command line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class VideogenError(Exception):
    """Base of every error that videogen raises on purpose."""

    exit_code = 1


class InputError(VideogenError, ValueError):
    """The user's mistake."""

    exit_code = 2


class SavedElsewhereError(InputError):
    """The requested name was taken or could not be replaced; the complete result is at `path`."""

    exit_code = 1

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(message)
        self.path = path


class CheckpointError(VideogenError, OSError):
    """A folder or name that is not a loadable checkpoint."""

    exit_code = 2


class MediaError(VideogenError, OSError):
    """A video or image that cannot be read or written."""

    exit_code = 2


class UnsupportedError(VideogenError, NotImplementedError):
    """A request that this model or machine cannot serve."""

    exit_code = 2


class ResumeError(VideogenError, RuntimeError):
    """A run cannot be resumed from the files on disk."""

    exit_code = 2


class NumericsError(VideogenError, ArithmeticError):
    """NaN, Inf or flat black frames out of a model."""

    exit_code = 4


class OutOfMemoryError(VideogenError, MemoryError):
    """The device's memory ran out. latents: file of what was finished, where that is saved."""

    latents: Path | None = None

    exit_code = 3


class Cancelled(VideogenError):
    """The caller asked to stop; nothing was written."""

    exit_code = 130


#: what other programs call a setting or a value: here it is one of these, the first that is there
_SYNONYMS = {
    "num_frames": ("frames",), "length": ("frames",), "video_length": ("frames",), "duration": ("seconds",),
    "num_inference_steps": ("steps",), "cfg": ("guidance_scale", "guidance"),
    "cfg_scale": ("guidance_scale", "guidance"),
    "guidance_scale": ("guidance",), "sampler": ("solver",), "scheduler": ("solver",), "size": ("width",),
    "width": ("size",), "height": ("size",), "resolution": ("size", "width"), "out": ("output",), "file": ("output",),
    "negative": ("negative_prompt",), "negative_prompt": ("negative",), "checkpoint": ("model",), "gpu": ("cuda",),
    "fp32": ("float32",), "fp16": ("float16",), "half": ("float16",), "bf16": ("bfloat16",), "policy": ("continuity",),
}  # fmt: skip


def nearest(name: str, options: Iterable[str]) -> str | None:
    """The option that is meant by `name`: what other programs call so, or the most similar; None where nothing is
    close. Leading dashes of flags do not count."""
    plain = {option.lstrip("-").replace("-", "_"): option for option in options}
    wanted = name.lstrip("-").replace("-", "_")
    for synonym in _SYNONYMS.get(wanted.lower(), ()):
        if synonym in plain:
            return plain[synonym]
    found = difflib.get_close_matches(wanted, list(plain), n=1, cutoff=0.5)
    return plain[found[0]] if found else None


def unknown(kind: str, name: str, options: Iterable[str]) -> InputError:
    """`unknown solver 'uni_pc'; did you mean 'unipc'? known: ...`"""
    options = list(options)
    guess = nearest(name, options)
    hint = f"; did you mean {guess!r}?" if guess else ";"
    return InputError(f"unknown {kind} {name!r}{hint} known: {', '.join(options)}")
