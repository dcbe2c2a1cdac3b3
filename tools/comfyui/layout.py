"""Positions of a workflow's nodes: columns from left to right along the links, as people draw them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

_COLUMN_GAP, _ROW_GAP = 60.0, 60.0
_TITLE = 30.0  # a node's title is above its position

Size = tuple[float, float]


def place(sizes: Mapping[str, Size], links: list[tuple[str, str]]) -> dict[str, tuple[float, float]]:
    """Upper left corners. links: (from, to). Each node is in the column before its first consumer's, so that loaders
    lie next to what they feed."""
    consumers = defaultdict(list)
    for source, target in links:
        consumers[source].append(target)
    distance: dict[str, int] = {}

    def steps_to_end(name: str) -> int:
        if name not in distance:
            distance[name] = max((steps_to_end(one) + 1 for one in consumers[name]), default=0)
        return distance[name]

    columns = defaultdict(list)
    for name in sizes:
        columns[steps_to_end(name)].append(name)
    widths = {column: max(sizes[name][0] for name in names) for column, names in columns.items()}
    found: dict[str, tuple[float, float]] = {}
    centre: dict[str, float] = {}
    for column in sorted(columns):  # the last column first
        x = sum(widths[other] + _COLUMN_GAP for other in widths if other > column)
        names = sorted(columns[column], key=lambda name: (_mean([centre[one] for one in consumers[name]]), name))
        height = sum(sizes[name][1] + _TITLE + _ROW_GAP for name in names) - _ROW_GAP
        y = -height / 2
        for name in names:
            found[name] = (x, y + _TITLE)
            centre[name] = y + (sizes[name][1] + _TITLE) / 2
            y += sizes[name][1] + _TITLE + _ROW_GAP
    return found


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
