"""HTML representation of objects in notebooks: a title, a table of facts, and an image or a video."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape

_LONGEST_VALUE = 400


def build_html(title: str, facts: Mapping[str, object], figure: str = "") -> str:
    """A `<div>` for `_repr_html_`. facts: label to value, both escaped; figure: HTML put first, see `data_url`."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(label)}</th><td style='text-align:left'>{_shorten(value)}</td></tr>"
        for label, value in facts.items()
    )
    return f"<div>{figure}<p><b>{escape(title)}</b></p><table>{rows}</table></div>"


def data_url(content: bytes, mime: str) -> str:
    """The `src` of an image or video that is part of the page. mime: such as `image/png`."""
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def _shorten(value: object) -> str:
    text = str(value)
    return escape(text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}...")
