"""`python -m videogen.cli`."""

import sys

from . import entry

sys.exit(entry())
