"""Names of guidance branches in ComfyUI's batches: the same at each step, and in each run.

ComfyUI draws an id per condition at random. A branch is named by its kind, by the order in which its conditions were
first evaluated, and by the length of the context window.
"""

from __future__ import annotations

from typing import Any

_KINDS = ("cond", "uncond")


class BranchNames:
    """Names of one run's branches."""

    def __init__(self) -> None:
        self._found: dict[str, list[Any]] = {}

    def name(self, options: dict[str, Any]) -> tuple[str, ...]:
        """Of each part of a batch, in its order. options: the `transformer_options` of the call."""
        kinds = options.get("cond_or_uncond") or [0]
        ids = options.get("uuids") or [None] * len(kinds)
        window = getattr(options.get("context_window"), "index_list", None)
        suffix = "" if window is None else f"@{len(window)}"
        return tuple(self._name(kind, one) + suffix for kind, one in zip(kinds, ids, strict=True))

    def _name(self, kind: int, uuid: Any) -> str:
        name = _KINDS[kind] if kind < len(_KINDS) else f"cond{kind}"
        known = self._found.setdefault(name, [])
        if uuid not in known:
            known.append(uuid)
        order = known.index(uuid)
        return name if order == 0 else f"{name}#{order + 1}"
