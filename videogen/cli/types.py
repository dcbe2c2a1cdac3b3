"""Types that the commands share."""

from __future__ import annotations

import argparse
from typing import Any, TypeAlias

#: An object of plain data, such as a manifest or a part of one.
Json: TypeAlias = dict[str, Any]
#: What `ArgumentParser.add_subparsers` returns.
Subparsers: TypeAlias = "argparse._SubParsersAction[Any]"
