"""Placeholder for the result of a call that the host is to run dense itself."""

from __future__ import annotations

from enum import Enum
from typing import Final


class Dense(Enum):
    """The type of `DENSE`."""

    DENSE = "dense"


#: In place of a result: the host is to run this call dense, with its own kernel.
DENSE: Final = Dense.DENSE
