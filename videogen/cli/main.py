"""`videogen`: the entry point, and how every error becomes a message and an exit code."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from types import FrameType

from videogen import __version__
from videogen.core.errors import VideogenError
from videogen.core.logs import quiet_third_parties

from .parser import build_parser

_CODES = """exit codes: 0 done, 1 failed, 2 your mistake, 3 out of memory, 4 bad output (NaN, black), 130 interrupted"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    parser = build_parser(__version__, _CODES)
    try:
        options = parser.parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    if options.command is None:
        parser.print_help()
        return 0
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with quiet_third_parties(verbose=options.verbose) as log_file:
            return _run(options, str(log_file))
    finally:
        signal.signal(signal.SIGTERM, previous)


def _run(options: argparse.Namespace, log_file: str) -> int:
    command = import_module(f".{options.command}", __package__)
    try:
        return int(command.run(options))
    except VideogenError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted; nothing was written", 130)
    except BrokenPipeError:  # the reader of our stdout went away: no fault of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        return _fail("out of memory; use fewer frames or a smaller size", 3)
    except Exception as error:  # the last line of defence: no traceback at a user
        import logging

        logging.getLogger("videogen").exception("unexpected error")
        if options.verbose:
            raise
        return _fail(f"unexpected {type(error).__name__}: {error}\nthe details are in {log_file}; please report this", 1)


def _fail(message: str, code: int) -> int:
    print(f"videogen: {message}", file=sys.stderr)
    return code


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
