"""LoRA files: what is damaged, pickled or gone is refused by its name before anything is loaded."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from videogen import CheckpointError, InputError
from videogen.backbones.lora.lora_file import read_tensor_file
from videogen.core.files import sha256


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file({"a.lora_A.weight": torch.ones(2, 3)}, tmp_path / "a.safetensors", {"videogen.steps": "4"})
    return tmp_path / "a.safetensors"


def test_the_header_says_what_is_in_it(file: Path) -> None:
    found = read_tensor_file(str(file), "LoRA")
    assert found.shapes == {"a.lora_A.weight": (2, 3)} and found.metadata == {"videogen.steps": "4"}
    assert found.sha256 == sha256(file)
    assert read_tensor_file(str(file.parent), "LoRA").path == file, "a folder with one file"


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


def _cut_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


def _wrong_shape(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b'"shape":[2,3]', b'"shape":[2,4]'))


def _no_offsets(path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))


def _pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"a": 1}, protocol=4))


def _zipped(path: Path) -> None:
    torch.save({"a": torch.ones(1)}, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(_cut, r"a.safetensors cannot be loaded: it has \d+ of its \d+ bytes; copy or", id="cut off"),
        pytest.param(_cut_header, "no safetensors header, so it is damaged or truncated", id="cut off in the header"),
        pytest.param(
            _wrong_shape, r"damaged safetensors header: \S+ is \[2, 4\] of F32 in 24 bytes", id="another shape"
        ),
        pytest.param(_no_offsets, "has no safetensors header", id="no offsets"),
        pytest.param(
            _pickled, "is pickled, whatever its name, and can run code when it is opened", id="a renamed pickle"
        ),
        pytest.param(_zipped, "is pickled", id="a renamed checkpoint"),
        pytest.param(lambda path: path.write_text("hello" * 9), "has no safetensors header", id="a text"),
        pytest.param(lambda path: path.write_bytes(b""), "has no safetensors header", id="empty"),
    ],
)
def test_damaged_files_are_refused(damage: Callable[[Path], None], message: str, file: Path) -> None:
    damage(file)
    with pytest.raises(CheckpointError, match=message):
        read_tensor_file(str(file), "LoRA")


def test_pickles_and_missing_files_are_refused_by_name(file: Path) -> None:
    for suffix in (".pt", ".bin", ".ckpt"):
        path = file.with_suffix(suffix)
        torch.save({}, path)
        with pytest.raises(CheckpointError, match=f"a{suffix} is pickled"):
            read_tensor_file(str(path), "LoRA")
    with pytest.raises(InputError, match=r"gone.safetensors does not exist; give the file of a LoRA, or restore it"):
        read_tensor_file(str(file.with_name("gone.safetensors")), "LoRA")
    (file.parent / "b.safetensors").write_bytes(file.read_bytes())
    with pytest.raises(InputError, match="is a folder with 2 safetensors files; name the LoRA itself"):
        read_tensor_file(str(file.parent), "LoRA")


def test_a_file_that_was_recorded_must_be_the_same(file: Path) -> None:
    recorded = sha256(file)
    assert read_tensor_file(str(file), "LoRA", recorded).sha256 == recorded
    save_file({"a.lora_A.weight": torch.zeros(2, 3), "b": torch.ones(1)}, file)
    with pytest.raises(InputError, match=r"has changed since it was recorded \(\w{8} then, \w{8} now\)"):
        read_tensor_file(str(file), "LoRA", recorded)
