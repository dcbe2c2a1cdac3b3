"""Independent clips: nothing ties them. The baseline that the other policies are measured against."""

from __future__ import annotations

from .chain import ClipChain


class Independent(ClipChain):
    """Each clip on its own noise."""
