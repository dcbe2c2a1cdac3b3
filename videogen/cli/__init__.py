"""The command line: parses options, shows progress, prints results; `videogen.engine` does the work.

Nothing here imports torch at start.
"""

from __future__ import annotations

import sys


def entry() -> int:
    """The `videogen` program: `main`, and Ctrl-C from the very first import on."""
    try:
        from .main import main

        return main()
    except KeyboardInterrupt:
        print("videogen: interrupted; nothing was written", file=sys.stderr)
        return 130
