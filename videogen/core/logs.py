"""Quiet logs: warnings and log lines of third-party libraries go to a file, not to the terminal."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

# Libraries that print to the terminal by default; most read these variables once, at import.
_QUIET_ENVIRONMENT = {
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
}


_LARGEST_BYTES = 2 << 20
_LIBRARIES_WITH_HANDLERS = ("transformers", "diffusers", "huggingface_hub", "accelerate")


def log_note(note: str, *values: object) -> None:
    """Say something that the user should know and that is not an error, as `note: ...` in the log, which Python prints
    to stderr by default. values: for the note's % placeholders."""
    logging.getLogger("videogen").warning(f"note: {note}", *values)


def default_log_file() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "videogen"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir())
    return folder / "videogen.log"


@contextmanager
def quiet_third_parties(log_file: Path | None = None, verbose: bool = False) -> Iterator[Path]:
    """Send warnings and the logging of every library to `log_file` (and, with `verbose`, to stderr too)."""
    log_file = log_file or default_log_file()
    for name, value in _QUIET_ENVIRONMENT.items():
        if not verbose:
            os.environ.setdefault(name, value)
    handlers: list[logging.Handler] = [_file_handler(log_file)]
    if verbose:
        handlers.append(logging.StreamHandler(sys.stderr))
    root, before, level = logging.getLogger(), logging.getLogger().handlers[:], logging.getLogger().level
    root.handlers = handlers
    root.setLevel(logging.INFO)
    show, loud = warnings.showwarning, logging.raiseExceptions
    logging.raiseExceptions = False  # a log that cannot be written, as on a full disk, must not print to the terminal
    logging.captureWarnings(True)
    try:
        yield log_file
    finally:
        logging.captureWarnings(False)
        warnings.showwarning, logging.raiseExceptions = show, loud
        root.handlers = before
        root.setLevel(level)
        for handler in handlers:
            with suppress(OSError):
                handler.close()


def adopt_third_parties(verbose: bool = False) -> None:
    """Remove the handlers that libraries install themselves, so that their messages go to the common log. Call it after
    they are imported."""
    for name in _LIBRARIES_WITH_HANDLERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.INFO if verbose else logging.WARNING)


def _file_handler(log_file: Path) -> logging.Handler:
    if log_file.is_dir():
        return logging.NullHandler()
    handler = RotatingFileHandler(log_file, maxBytes=_LARGEST_BYTES, backupCount=1, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    return handler
