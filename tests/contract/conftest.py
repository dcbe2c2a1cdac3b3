"""Checkpoints of all variants, built once per session."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.families import VARIANTS
from videogen import Engine


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    built: dict[str, Path] = {}

    def get(name: str) -> Path:
        """name: a variant's, with `+clean_prefix` for a checkpoint trained to continue finished frames."""
        if name not in built:
            built[name] = tmp_path_factory.mktemp(name) / name
            variant, _, taught = name.partition("+")
            VARIANTS[variant].build(built[name])
            if taught:
                (built[name] / "defaults.json").write_text(json.dumps({"training": {taught: True}}), encoding="utf-8")
        return built[name]

    return get


@pytest.fixture(scope="session")
def engine_of(checkpoint: Callable[[str], Path]) -> Callable[[str], Engine]:
    loaded: dict[str, Engine] = {}

    def get(name: str) -> Engine:
        if name not in loaded:
            loaded[name] = Engine.load(str(checkpoint(name)), device="cpu")
        return loaded[name]

    return get
