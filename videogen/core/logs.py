"""Third parties' warnings and log lines go to a file, not to the terminal."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Each would print to the terminal by itself, and most read these once at import.
_QUIET_ENVIRONMENT = {
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
}


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
    root.handlers, root.level = handlers, logging.INFO
    show = warnings.showwarning
    logging.captureWarnings(True)
    try:
        yield log_file
    finally:
        logging.captureWarnings(False)
        warnings.showwarning = show
        root.handlers, root.level = before, level
        for handler in handlers:
            handler.close()


def _file_handler(log_file: Path) -> logging.Handler:
    try:
        handler: logging.Handler = logging.FileHandler(log_file, encoding="utf-8", delay=True)
    except OSError:
        return logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    return handler
