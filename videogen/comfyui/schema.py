"""What all nodes of the pack share in their schemas."""

from __future__ import annotations

CATEGORY = "videogen"
