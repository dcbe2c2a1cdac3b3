"""Digest of a checkpoint: it changes with the values of any tensor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from videogen.backbones import digest as digests
from videogen.backbones.digest import digest


def write_checkpoint(folder: Path, changed: str | None = None) -> Path:
    """A checkpoint of 4 tensors of 100 KB each; all values of the tensor `changed` differ, if one is named."""
    folder.mkdir()
    tensors = {name: torch.randn(160, 160, generator=torch.Generator().manual_seed(i)) for i, name in enumerate("abcd")}
    if changed:
        tensors[changed] *= 1.01
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.mark.parametrize("fully_hashed_bytes", [1 << 30, 0], ids=["hashed in full", "sampled"])
@pytest.mark.parametrize("tensor", "abcd")
def test_the_digest_depends_on_every_tensor(
    fully_hashed_bytes: int, tensor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_FULLY_HASHED_BYTES", fully_hashed_bytes)
    one, same, other = (
        write_checkpoint(tmp_path / "one"),
        write_checkpoint(tmp_path / "same"),
        write_checkpoint(tmp_path / "other", tensor),
    )
    assert digest(one) == digest(same) != digest(other)


def test_the_digest_depends_on_the_config_but_not_on_the_defaults(tmp_path: Path) -> None:
    one = write_checkpoint(tmp_path / "one")
    before = digest(one)
    (one / "defaults.json").write_text('{"steps": 3}', encoding="utf-8")
    assert digest(one) == before
    (one / "config.json").write_text('{"layers": 3}', encoding="utf-8")
    assert digest(one) != before


@pytest.mark.parametrize(
    "head", [b"\0" * 8, b"\xff" * 8, (1 << 40).to_bytes(8, "little"), (2).to_bytes(8, "little") + b"[]"]
)
def test_a_damaged_file_next_to_the_weights_is_hashed_byte_by_byte(
    head: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_FULLY_HASHED_BYTES", 0)
    one = write_checkpoint(tmp_path / "one")
    before = digest(one)
    (one / "variant.safetensors").write_bytes(head + b"\1" * 50_000)
    first = digest(one)
    (one / "variant.safetensors").write_bytes(head + b"\2" * 50_000)
    assert len({before, first, digest(one)}) == 3
