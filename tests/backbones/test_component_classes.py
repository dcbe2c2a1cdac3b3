"""A component whose class the library does not have: said by name, before weights are read and when they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tiny.table import load_rows
from videogen import Engine
from videogen.backbones.registry import load_outline
from videogen.core.errors import CheckpointError

MESSAGE = (
    r"transformer is a 'WanTransformer9DModel', which diffusers [\d.]+\S* does not have; did you mean 'Wan.*update diff"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("components") / "wan"
    load_rows()["WanImageToVideoPipeline"].build().save_pretrained(folder)
    file = folder / "model_index.json"
    index = json.loads(file.read_text())
    index["transformer"][1] = "WanTransformer9DModel"
    file.write_text(json.dumps(index))
    return folder


def test_before_weights_are_read(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=MESSAGE):
        load_outline(str(folder))


def test_when_weights_are_read(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=MESSAGE):
        Engine.load(folder)
