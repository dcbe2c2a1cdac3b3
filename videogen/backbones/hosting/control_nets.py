"""Control networks of a pipeline: several of them take one video each, named by their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_ANY = "control:"


def control_nets(pipeline: Any) -> int:
    """How many control networks a pipeline has; 0 for one that has none as a component."""
    net = getattr(pipeline, "controlnet", None)
    return 0 if net is None else len(getattr(net, "nets", (net,)))


def name_controls(keys: Sequence[str], nets: int) -> tuple[str, ...]:
    """Keys of conditions; with several networks `control:` becomes `control:0`, `control:1`, ..."""
    if nets < 2:
        return tuple(keys)
    numbered = [f"{_ANY}{number}" for number in range(nets)]
    return tuple(one for key in keys for one in (numbered if key == _ANY else [key]))
