"""The command line: parses options, shows progress, prints results; `videogen.engine` does the work.

Nothing here imports torch at start.
"""

from __future__ import annotations

import signal
import sys
from contextlib import suppress


def entry() -> int:
    """The `videogen` program: `main`, and Ctrl-C from the very first import to the end of the process."""
    try:
        from .main import main

        return main()
    except KeyboardInterrupt:
        print("videogen: interrupted", file=sys.stderr)
        return 130
    finally:
        with suppress(OSError):
            sys.stdout.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the interpreter's own end would print a traceback
