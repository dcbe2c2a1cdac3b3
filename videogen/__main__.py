"""`python -m videogen`: the command line."""

import sys

from videogen.cli import entry

sys.exit(entry())
