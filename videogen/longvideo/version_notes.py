"""Note on a segment that an earlier run has rendered with other versions than the present ones."""

from __future__ import annotations

from collections.abc import Mapping

from videogen.core.manifest import collect_versions


def note_other_versions(notes: list[str], index: int, versions: Mapping[str, str]) -> None:
    """Add a note, once, where segment `index` was rendered by other versions than these."""
    now = collect_versions()
    other = [f"{name} {was} (now {now.get(name, 'gone')})" for name, was in versions.items() if now.get(name) != was]
    if other and not notes:
        notes.append(
            f"segment {index} was rendered with {', '.join(other)}: where it joins the later ones, frames may differ"
        )
