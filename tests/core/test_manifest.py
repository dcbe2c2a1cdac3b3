"""Manifests: read back from plain data; other data are refused."""

from __future__ import annotations

import pytest

from videogen.core.errors import InputError
from videogen.core.manifest import Manifest


def test_manifest_round_trip_and_refusals() -> None:
    manifest = Manifest({"prompt": "x"}, {"name": "m"}, measured={"recall": 0.95})
    assert Manifest.from_dict(manifest.to_dict()) == manifest
    complete = {"schema": 1, "request": {}, "model": {}}
    for values in ({}, {"schema": 99}, {"schema": 1}, {**complete, "extra": 1}, {**complete, "request": []}):
        with pytest.raises(InputError, match="manifest"):
            Manifest.from_dict(values)
