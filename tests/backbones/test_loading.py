"""A model is known by its weights: other values in any tensor make another digest."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from videogen.backbones import loading


def saved(folder: Path, changed: str | None = None) -> Path:
    """A checkpoint of 4 tensors of 100 KB each; one of them may differ in all of its values."""
    folder.mkdir()
    tensors = {name: torch.randn(160, 160, generator=torch.Generator().manual_seed(i)) for i, name in enumerate("abcd")}
    if changed:
        tensors[changed] *= 1.01
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.mark.parametrize("whole_bytes", [1 << 30, 0], ids=["read whole", "sampled"])
@pytest.mark.parametrize("tensor", "abcd")
def test_any_tensor_counts(whole_bytes: int, tensor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_FULLY_HASHED_BYTES", whole_bytes)
    one, same, other = saved(tmp_path / "one"), saved(tmp_path / "same"), saved(tmp_path / "other", tensor)
    assert loading.digest(one) == loading.digest(same) != loading.digest(other)


def test_a_config_counts_and_defaults_do_not(tmp_path: Path) -> None:
    one = saved(tmp_path / "one")
    before = loading.digest(one)
    (one / "defaults.json").write_text('{"steps": 3}', encoding="utf-8")
    assert loading.digest(one) == before
    (one / "config.json").write_text('{"layers": 3}', encoding="utf-8")
    assert loading.digest(one) != before


@pytest.mark.parametrize(
    "head", [b"\0" * 8, b"\xff" * 8, (1 << 40).to_bytes(8, "little"), (2).to_bytes(8, "little") + b"[]"]
)
def test_a_broken_file_beside_the_weights_is_hashed_as_it_is(
    head: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_FULLY_HASHED_BYTES", 0)
    one = saved(tmp_path / "one")
    before = loading.digest(one)
    (one / "variant.safetensors").write_bytes(head + b"\1" * 50_000)
    first = loading.digest(one)
    (one / "variant.safetensors").write_bytes(head + b"\2" * 50_000)
    assert len({before, first, loading.digest(one)}) == 3
