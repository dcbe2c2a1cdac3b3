"""Headers of weights files: what is in them, and what is damaged or refused is named before tensors are read."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
import torch
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from safetensors.torch import save_file

from videogen.backbones.checkpoints.file_names import check_links
from videogen.backbones.checkpoints.gguf_header import TYPES
from videogen.backbones.checkpoints.header import read_header
from videogen.backbones.checkpoints.location import locate
from videogen.core.errors import CheckpointError

from .files import save_gguf

TENSORS = {"a.weight": torch.zeros(4, 64), "a.bias": torch.ones(4), "conv.weight": torch.zeros(2, 3, 1, 2, 2)}


def write(path: Path) -> Path:
    save_file(TENSORS, path, metadata={"format": "pt"}) if path.suffix == ".safetensors" else save_gguf(
        TENSORS, path, "Q8_0"
    )
    return path


@pytest.mark.parametrize("name", ["x.safetensors", "x.gguf"])
def test_the_names_and_shapes_are_read(name: str, tmp_path: Path) -> None:
    header = read_header(write(tmp_path / name))
    assert {key: facts.shape for key, facts in header.tensors.items()} == {
        key: tuple(tensor.shape) for key, tensor in TENSORS.items()
    }
    assert header.end <= header.size
    assert header.dtypes == ({"F32": 3} if header.format == "safetensors" else {"F32": 2, "Q8_0": 1})


def test_offsets_are_those_of_the_formats_own_reader(tmp_path: Path) -> None:
    path = write(tmp_path / "x.gguf")
    own = {tensor.name: (tensor.data_offset, tensor.n_bytes) for tensor in gguf.GGUFReader(str(path)).tensors}
    header = read_header(path)
    assert {name: (facts.begin, facts.end - facts.begin) for name, facts in header.tensors.items()} == own


def test_the_sizes_of_all_quantization_types_are_known() -> None:
    sizes = {int(kind): (values, stored) for kind, (values, stored) in GGML_QUANT_SIZES.items()}
    assert {kind: row[1:] for kind, row in TYPES.items() if kind in sizes} == sizes
    named = {kind.value: kind.name for kind in GGMLQuantizationType}
    assert all(row[0] == named[kind] for kind, row in TYPES.items() if kind in named)


@pytest.mark.parametrize("name", ["x.safetensors", "x.gguf"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda data: data[:-9], r"cannot be loaded: it has \d+ of its \d+ bytes; copy", id="truncated"),
        pytest.param(lambda data: data[:20], r"cannot be loaded: it has no .*header", id="within the header"),
        pytest.param(lambda data: b"", r"cannot be loaded: it has no .*header", id="empty"),
        pytest.param(lambda data: b"\xff" * 99, r"cannot be loaded: it has no .*header", id="other content"),
    ],
)
def test_damage_is_named(name: str, damage: Callable[[bytes], bytes], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / name)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=rf"x\.\w+ {message}"):
        read_header(path)


@pytest.mark.parametrize("version", [0, 9])
def test_a_gguf_of_another_version_is_refused(version: int, tmp_path: Path) -> None:
    path = write(tmp_path / "x.gguf")
    data = path.read_bytes()
    path.write_bytes(data[:4] + struct.pack("<I", version) + data[8:])
    with pytest.raises(CheckpointError, match=f"version {version}"):
        read_header(path)


def test_a_length_that_no_file_has_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1 << 40, 1) + struct.pack("<Q", 1 << 60))
    with pytest.raises(CheckpointError, match="a text of 1152921504606846976 bytes"):
        read_header(path)


def gguf_with(setting: str, kind: int, value: bytes) -> bytes:
    """A GGUF of one setting and no tensor."""
    name = setting.encode()
    return b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, len(name)) + name + struct.pack("<I", kind) + value


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(
            gguf_with("x", 9, struct.pack("<IQ", 9, 1) * 5000), "arrays within arrays, more than 8 deep", id="arrays"
        ),
        pytest.param(
            gguf_with("general.alignment", 9, struct.pack("<IQI", 4, 1, 32)), r"general.alignment=\[32\]", id="an array"
        ),
        pytest.param(gguf_with("general.alignment", 4, bytes(4)), "general.alignment=0", id="zero"),
        pytest.param(gguf_with("general.alignment", 6, struct.pack("<f", 0.5)), "general.alignment=0.5", id="half"),
    ],
)
def test_settings_that_no_gguf_has_are_named(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"x.gguf cannot be loaded: .*{message}"):
        read_header(tmp_path / "x.gguf")


@pytest.mark.parametrize(
    ("shape", "offsets"),
    [
        pytest.param([-1, -3], [0, 12], id="negative sides"),
        pytest.param([2, 3], [0, 20], id="too few bytes"),
        pytest.param([2, 3], [24, 0], id="ends before its begin"),
    ],
)
def test_sizes_that_do_not_fit_shapes_are_named(shape: list[int], offsets: list[int], tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))
    with pytest.raises(CheckpointError, match=r"x.safetensors has a damaged safetensors header: w is \["):
        read_header(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("x.ckpt", r"x\.ckpt is pickled .*convert it to safetensors", id="ckpt"),
        pytest.param("x.pt", "is pickled", id="pt"),
        pytest.param("x.BIN", "is pickled", id="bin in capitals"),
        pytest.param("x.pth", "is pickled", id="pth"),
        pytest.param("._x.safetensors", r"is what macOS leaves .*; give .*/x\.safetensors", id="of macOS"),
        pytest.param("x.onnx", r"another kind; give the folder .* weights \(\.safetensors or \.gguf\)", id="another"),
    ],
)
def test_files_are_refused_by_their_names(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(CheckpointError, match=message):
        locate(str(tmp_path / name))


def test_a_pickle_under_another_name_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="is pickled, whatever its name"):
        read_header(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        pytest.param("../outside", r"vae/model\.safetensors is a link out of the checkpoint", id="out of the folder"),
        pytest.param("../nowhere", "which does not exist", id="nowhere"),
        pytest.param("inside", "", id="within the folder"),
    ],
)
def test_links_out_of_a_folder_are_refused(target: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "model" / "vae").mkdir(parents=True)
    (tmp_path / "outside").write_bytes(b"x")
    (tmp_path / "model" / "inside").write_bytes(b"x")
    (tmp_path / "model" / "vae" / "model.safetensors").symlink_to((tmp_path / "model" / target).resolve())
    if message:
        with pytest.raises(CheckpointError, match=message):
            check_links(tmp_path / "model")
    else:
        check_links(tmp_path / "model")


def test_links_of_the_hubs_cache_are_not(tmp_path: Path) -> None:
    vae, blob = tmp_path / "snapshots" / "abc" / "vae", tmp_path / "blobs" / "123"
    for folder in (vae, blob.parent):
        folder.mkdir(parents=True)
    blob.write_bytes(b"x")
    (vae / "model.safetensors").symlink_to("../../../blobs/123")
    for folder in (vae.parent, vae):
        check_links(folder)
    assert (vae / "model.safetensors").read_bytes() == b"x"
