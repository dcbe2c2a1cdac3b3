"""Single files on the hub: fetched at a revision, recorded with their commit, and loaded again from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from videogen.cli.main import main
from videogen.core.errors import CheckpointError
from videogen.engine.engine import Engine

from .files import save, weights_of
from .test_single_files import WAN_CLIP, check_equal, original_wan, tensors_of

OLD, NEW = "a" * 40, "b" * 40
FILE = "split_files/wan.safetensors"


@dataclass
class Hub:
    """A repository, some/files, of two commits: revision -> commit, and the file that each commit has. fetched: what
    was downloaded, as (file, commit)."""

    cache: Path
    files: Mapping[str, Path]
    revisions: dict[str, str] = field(default_factory=lambda: {"main": NEW, "v1": OLD})
    fetched: list[tuple[str, str]] = field(default_factory=list)

    def download(self, repo_id: str, filename: str, *, revision: str | None = None, **options: Any) -> str:
        """Into the cache, as `huggingface_hub.hf_hub_download`."""
        assert not options
        name = revision or "main"
        commit = self.revisions.get(name, name)
        if repo_id != "some/files" or filename != FILE or commit not in self.files:
            raise FileNotFoundError(f"404 for {repo_id}/{filename} at {name}")
        root = self.cache / "models--some--files"
        (root / "refs").mkdir(parents=True, exist_ok=True)
        if name != commit:
            (root / "refs" / name).write_text(commit)
        target = root / "snapshots" / commit / filename
        if not target.exists():
            target.parent.mkdir(parents=True)
            target.symlink_to(self.files[commit])
            self.fetched.append((filename, commit))
        return str(target)


@pytest.fixture
def hub(wan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    cache, blobs = tmp_path / "hub", tmp_path / "hub" / "models--some--files" / "blobs"
    blobs.mkdir(parents=True)
    tensors = original_wan(wan)
    files = {
        NEW: save(tensors, blobs / "1.safetensors"),
        OLD: save({name: tensor * 0.9 for name, tensor in tensors.items()}, blobs / "2.safetensors"),
    }
    found = Hub(cache, files)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", found.download)
    return found


@pytest.mark.parametrize(
    ("name", "revision", "commit"),
    [
        pytest.param(f"some/files/{FILE}", None, NEW, id="main"),
        pytest.param(f"some/files/{FILE}@v1", None, OLD, id="a tag"),
        pytest.param(f"some/files/{FILE}", "v1", OLD, id="a tag by itself", marks=pytest.mark.slow),
        pytest.param(f"some/files/{FILE}@{OLD}", None, OLD, id="a commit", marks=pytest.mark.slow),
    ],
)
def test_a_file_is_fetched_at_its_revision(name: str, revision: str | None, commit: str, hub: Hub, wan: Path) -> None:
    engine = Engine.load(name, base=wan, revision=revision, device="cpu")
    assert hub.fetched == [(FILE, commit)]
    assert engine.backbone.revisions == {"model": commit} and engine.backbone.name == f"some/files/{FILE}"
    wanted = Engine.load(hub.files[commit], base=wan, device="cpu")
    check_equal(tensors_of(engine), tensors_of(wanted))
    Engine.load(name, base=wan, revision=revision, device="cpu")
    assert len(hub.fetched) == 1, "a file in the cache is not fetched again"


def test_a_component_is_fetched(hub: Hub, wan: Path) -> None:
    engine = Engine.load(wan, transformer=f"some/files/{FILE}@v1", device="cpu")
    assert engine.backbone.revisions == {"transformer": OLD}
    original = weights_of(wan, "transformer")
    check_equal(
        {name: tensor for name, tensor in tensors_of(engine).items() if name in original},
        {name: tensor * 0.9 for name, tensor in original.items()},
    )


def test_a_repeated_render_loads_the_recorded_commit(hub: Hub, wan: Path, tmp_path: Path) -> None:
    video = Engine.load(f"some/files/{FILE}@v1", base=wan, device="cpu").generate("a red ball", **WAN_CLIP)
    assert video.manifest is not None
    assert video.manifest["model"]["revisions"] == {"model": OLD}
    video.save(tmp_path / "first.mp4")
    hub.revisions["v1"] = NEW  # the tag moves
    again = Engine.load_like(tmp_path / "first.mp4", allow_model=True)
    assert again.backbone.revisions == {"model": OLD}
    assert np.array_equal(again.generate("a red ball", **WAN_CLIP).frames, video.frames)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f"some/files/{FILE}@v9", rf"some/files/{FILE} is not a file on this machine; .*@v9' is neither in the local"),
        ("some/files/other.safetensors", r"other\.safetensors' is neither .* 404 .*; give a folder, or go online"),
    ],
)
def test_a_file_that_is_nowhere_is_named(name: str, message: str, hub: Hub, wan: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        Engine.load(name, base=wan, device="cpu")
    assert hub.fetched == []


def test_a_pickle_on_the_hub_is_refused_by_name(hub: Hub, wan: Path) -> None:
    with pytest.raises(CheckpointError, match=r"some/files/wan\.ckpt is pickled .* download its \.safetensors"):
        Engine.load("some/files/wan.ckpt", base=wan)


def test_a_file_in_the_cache_is_described_offline(hub: Hub, wan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"some/files/{FILE}"
    hub.download("some/files", FILE)
    hub.fetched.clear()
    assert main(["models", name, "--base", str(wan), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["model"], facts["family"], hub.fetched) == (name, "wan", [])
