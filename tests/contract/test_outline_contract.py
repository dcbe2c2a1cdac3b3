"""Outline of each family's variants: it answers what the loaded model answers, and reads no weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.families import VARIANTS
from videogen import Engine, RenderRequest
from videogen.backbones import loading, registry
from videogen.backbones.base import Backbone
from videogen.backbones.registry import EMBEDDED, load_outline
from videogen.core.errors import CheckpointError
from videogen.request.continuity_policies import needs_met
from videogen.techniques.build import check_techniques


def describe(backbone: Backbone) -> dict[str, object]:
    """What a request is resolved against."""
    return {
        "name": backbone.name, "family": backbone.family, "guidance": backbone.native_guidance,
        "defaults": backbone.defaults, "training": backbone.training, "capabilities": backbone.capabilities,
        "geometry": backbone.geometry, "noise": backbone.noise_schedule, "needs": needs_met(backbone),
        "blocks": len(backbone.temporal_blocks()), "positions": backbone.temporal_positions,
        "prefix": backbone.takes_clean_prefix,
    }  # fmt: skip


def outline_of(name: str) -> Backbone:
    outline = load_outline(name)
    assert outline is not None
    return outline


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_outline_answers_as_the_loaded_model(
    variant: str, checkpoint: Callable[[str], Path], engine_of: Callable[[str], Engine]
) -> None:
    outline = outline_of(str(checkpoint(variant)))
    assert describe(outline) == describe(engine_of(variant).backbone)
    assert all(parameter.is_meta for model in outline.denoisers() for parameter in model.parameters())


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_request_resolves_against_an_outline(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "build_pipeline", lambda *_: pytest.fail("weights were loaded"))
    resolved = RenderRequest("a red ball", seconds=20.0).resolve(outline_of(name))
    assert resolved.model == name and resolved.is_long


@pytest.mark.parametrize("name", EMBEDDED)
@pytest.mark.parametrize(
    "options",
    [
        {"attention": "adaptive"}, {"attention": "adaspa"}, {"attention": "window"}, {"propagate": "max_error:0.02"},
        {"propagate": "every:2", "attention": "adaptive"}, {"propagate": "every:2", "seconds": 20.0},
    ],
    ids=str,
)  # fmt: skip
def test_techniques_attach_to_an_outline(name: str, options: dict[str, Any]) -> None:
    outline = outline_of(name)
    before = [dict(vars(module)) for model in outline.denoisers() for module in model.modules()]
    check_techniques(RenderRequest("a red ball", **options).resolve(outline), outline)
    after = [dict(vars(module)) for model in outline.denoisers() for module in model.modules()]
    assert [list(attributes) for attributes in before] == [list(attributes) for attributes in after]


def test_the_hub_is_read_only_online(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    monkeypatch.setattr(registry, "_hub_index", lambda name: (fetched.append(name), {"_class_name": "WanPipeline"})[1])
    assert load_outline("nobody/nothing") is None and not fetched
    assert load_outline("nobody/nothing", online=True) is None and fetched == ["nobody/nothing"]


def test_a_model_that_cannot_be_outlined_is_left_to_the_loader(
    checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(checkpoint("wan-2.1"))

    def fail(*_: object) -> None:
        raise KeyError("a class of tomorrow")

    monkeypatch.setattr("videogen.backbones.outline.build_outline", fail)
    assert load_outline(folder) is None


def test_defaults_that_do_not_fit_the_model_are_the_checkpoints_fault(
    checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "read_defaults", lambda _: ({"frames": 6}, {}))
    with pytest.raises(CheckpointError, match=r"defaults\.json of .* does not fit the model: frames=6"):
        load_outline(str(checkpoint("wan-2.1")))
