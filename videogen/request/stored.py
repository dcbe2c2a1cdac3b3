"""Stored requests of earlier versions: read as today's, and today's request in the forms that those stored.

A job's segments name the digest of the request as it was stored, so that a job whose `job.json` is damaged is
recognised only by the form that its version wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from videogen.attention.config import with_policy, without_policy
from videogen.core.stored_keys import REQUEST_KEYS, with_current_keys, with_earlier_keys

from .continuity import without_unused_settings


def with_current_settings(request: Mapping[str, Any]) -> dict[str, Any]:
    """A stored request under today's keys and with today's configurations."""
    current: dict[str, Any] = with_current_keys(dict(request), REQUEST_KEYS)
    for name, renew in (("attention", with_policy), ("continuity", without_unused_settings)):
        if isinstance(current.get(name), dict):
            current[name] = renew(current[name])
    return current


def earlier_forms(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A request as plain data, in every form in which an earlier version may have stored it; first as it is."""
    forms: list[dict[str, Any]] = [dict(request)]
    for path, name in REQUEST_KEYS.items():
        earlier = [with_earlier_keys(form, {path: name}) for form in forms]
        forms += [form for form in earlier if form not in forms]
    for form in forms:
        yield form
        if isinstance(form.get("attention"), dict):
            yield {**form, "attention": without_policy(form["attention"])}
