"""Models for the documentation's programs and commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.contract.families import wan
from tests.docs.small import share_models, write_hosted_models, write_small_models
from videogen.backbones import registry


@pytest.fixture(scope="session")
def tiny_hub_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "tiny-wan"
    wan(folder)
    return folder


@pytest.fixture(scope="session")
def small_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_small_models(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def hosted_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_hosted_models(tmp_path_factory.mktemp("hosted"))


@pytest.fixture(scope="session")
def loaded() -> dict[Any, Any]:
    return {}


@pytest.fixture
def shared_models(
    loaded: dict[Any, Any], hosted_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty folder to work in, and models that are loaded once per session."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    share_models(monkeypatch, loaded, hosted_models)


@pytest.fixture
def small_models(small_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded models render few frames in few steps."""
    for name, folder in small_folders.items():
        monkeypatch.setitem(registry.EMBEDDED, name, folder)
