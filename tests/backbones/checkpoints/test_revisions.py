"""Revisions on the hub: which are loaded, recorded as commits, and used again by a repeated render."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from videogen.backbones.checkpoints.location import locate
from videogen.backbones.checkpoints.names import join_revision, split_revision
from videogen.backbones.checkpoints.revisions import pin_sources
from videogen.core.errors import CheckpointError, InputError
from videogen.engine.engine import Engine
from videogen.request.request import RenderRequest

from .files import WEIGHTS, build_wan
from .test_single_files import WAN_CLIP, check_equal, tensors_of

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with some/one at two commits: `main` is the new one, the tag v1 the old one."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--some--one"
    (repository / "refs").mkdir(parents=True)
    for name, commit in (("main", NEW), ("v1", OLD)):
        (repository / "refs" / name).write_text(commit)
        build_wan(repository / "snapshots" / commit)
    weights = repository / "snapshots" / OLD / "vae" / WEIGHTS
    save_file({name: tensor * 0.9 for name, tensor in load_file(weights).items()}, weights)
    return repository / "snapshots"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("some/one@v1", ("some/one", "v1")), ("some/one@refs/pr/1", ("some/one", "refs/pr/1")),
        ("some/one", ("some/one", None)), ("some/one/a.gguf@v1", ("some/one/a.gguf", "v1")), ("./a@b", ("./a@b", None)),
        ("a@b", ("a@b", None)), ("embedded", ("embedded", None)),
    ],
)  # fmt: skip
def test_names_are_divided_into_repository_and_revision(name: str, parts: tuple[str, str | None]) -> None:
    assert split_revision(name) == parts and join_revision(*parts) == name


def test_a_folder_with_an_at_in_its_name_has_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some" / "one@v1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert split_revision("some/one@v1") == ("some/one@v1", None)
    assert isinstance(locate("some/one@v1"), Path)


@pytest.mark.parametrize(
    ("name", "revision", "commit"),
    [("some/one", None, NEW), ("some/one@v1", None, OLD), ("some/one", "v1", OLD), (f"some/one@{OLD}", None, OLD)],
)
def test_the_revision_is_loaded_and_its_commit_recorded(
    name: str, revision: str | None, commit: str, cache: Path
) -> None:
    backbone = Engine.load(name, revision=revision, device="cpu").backbone
    assert backbone.name == "some/one" and backbone.revisions == {"model": commit}
    assert backbone.recorded_identity["revisions"] == {"model": commit}
    assert backbone.digest == Engine.load(cache / commit, device="cpu").backbone.digest


def test_a_component_of_a_revision(cache: Path) -> None:
    engine = Engine.load("some/one", vae="some/one@v1", device="cpu")
    assert engine.backbone.revisions == {"model": NEW, "vae": OLD}
    wanted = Engine.load(cache / NEW, vae=cache / OLD / "vae", device="cpu")
    check_equal(tensors_of(engine, "vae"), tensors_of(wanted, "vae"))


def test_a_repeated_render_uses_the_recorded_commit(cache: Path, tmp_path: Path) -> None:
    engine = Engine.load("some/one@v1", device="cpu")
    video = engine.generate("a red ball", **WAN_CLIP)
    video.save(tmp_path / "first.mp4")
    (cache.parent / "refs" / "v1").write_text(NEW)  # the tag moves
    with pytest.raises(InputError, match="add --allow-model"):
        Engine.load_like(tmp_path / "first.mp4")
    again = Engine.load_like(tmp_path / "first.mp4", allow_model=True)
    assert again.backbone.revisions == {"model": OLD} and again.backbone.digest == engine.backbone.digest


def test_commits_replace_the_revisions_of_a_request() -> None:
    request = {"model": "some/one", "vae": "x/y@main", "base": None, "unet": "/a/b"}
    pinned = pin_sources(request, {"revisions": {"model": OLD, "vae": NEW}})
    assert pinned == {"revision": OLD, "vae": f"x/y@{NEW}"}
    assert pin_sources(request, {}) == {}


def test_two_revisions_are_refused(cache: Path) -> None:
    with pytest.raises(InputError, match="name two revisions"):
        Engine.load("some/one@v1", revision="main")
    with pytest.raises(InputError, match="name two revisions"):
        RenderRequest("a red ball", model="some/one@v1", revision="main")
    assert RenderRequest("a red ball", model="some/one@v1").revision == "v1"


def test_a_revision_that_is_nowhere_is_named(cache: Path) -> None:
    with pytest.raises(CheckpointError, match="'some/one@v9' is neither in the local cache nor available"):
        Engine.load("some/one@v9")
