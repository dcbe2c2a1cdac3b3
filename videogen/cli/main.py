"""`videogen`: runs one command, and turns every error into a message and an exit code."""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from videogen.core._version import __version__
from videogen.core.errors import InputError, VideogenError
from videogen.core.logs import quiet_third_parties

from .parser import build_parser
from .stopping import Stoppable, Terminated
from .text import printable

_CODES = (
    "exit codes: 0 done, 1 failed or saved under another name, 2 usage error, 3 out of memory, 4 bad output (NaN, "
    "black), 130 interrupted, 143 terminated"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = build_parser(__version__, _CODES)
    try:
        options = parser.parse_args(argv)
    except SystemExit as stop:  # --help and --version
        return int(stop.code or 0)
    except InputError as error:
        return _fail(error, error.exit_code, "--json" in argv)
    if options.command is None:
        parser.print_help()
        return 0
    with Stoppable() as stops, quiet_third_parties(verbose=options.verbose) as log_file:
        return _run(options, str(log_file), stops)


def _run(options: argparse.Namespace, log_file: str, stops: Stoppable) -> int:
    as_json = bool(getattr(options, "json", False))
    try:
        try:
            return int(import_module(f".{options.command}", __package__).run(options))
        except Exception as error:
            if stops.requested:  # an error of a library whose work was stopped
                raise stops.error from error
            raise
        finally:
            stops.arrived()
    except KeyboardInterrupt as stop:
        code, word = (143, "terminated") if isinstance(stop, Terminated) else (130, "interrupted")
        return _fail(f"{word}; {str(stop) or 'nothing was written'}", code, as_json)
    except VideogenError as error:
        return _fail(error, error.exit_code, as_json)
    except BrokenPipeError:  # the reader of our stdout has gone: not an error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        return _fail("out of memory; use fewer frames or a smaller size", 3, as_json)
    except Exception as error:  # the last line of defence: no traceback for a user
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _fail(f"the disk is full ({error.filename or 'while writing'}); make room and run again", 1, as_json)
        import logging

        logging.getLogger("videogen").exception("unexpected error")
        if options.verbose:
            raise
        kind = type(error).__name__
        return _fail(f"unexpected {kind}: {error}; the details are in {log_file}: please report this", 1, as_json)


def _fail(error: object, code: int, as_json: bool) -> int:
    """The message on stderr; with --json, also one object on stdout."""
    message = printable(error)
    print(f"videogen: {message}", file=sys.stderr)
    if as_json:
        kind = type(error).__name__ if isinstance(error, VideogenError) else None
        print(json.dumps({"error": message, "kind": kind, "exit_code": code}))
    return code


if __name__ == "__main__":
    sys.exit(main())
