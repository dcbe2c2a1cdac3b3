"""Each family's variants before their weights are loaded: the outline and the configuration files answer what the
loaded model answers."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest

from tests.contract.families import VARIANTS
from videogen import Engine, RenderRequest
from videogen.backbones import animatediff_spec, loading, registry, wan_spec
from videogen.backbones.base import Backbone
from videogen.backbones.model_spec import PIPELINE
from videogen.backbones.registry import EMBEDDED, load_outline, read_model
from videogen.backbones.resolvable import ResolvableModel
from videogen.core.errors import CheckpointError
from videogen.request.continuity_policies import needs_met
from videogen.techniques.build import check_techniques


def describe(model: ResolvableModel) -> dict[str, object]:
    """What a request is resolved against."""
    noise = model.noise_schedule
    return {
        "name": model.name, "guidance": model.native_guidance, "defaults": model.defaults, "training": model.training,
        "capabilities": model.capabilities, "geometry": model.geometry, "limits": model.limits,
        "noise": replace(noise, alphas=()), "zero SNR": noise.zero_snr, "needs": needs_met(model),
        "prefix": model.takes_clean_prefix, "one pass": model.single_pass_frames,
    }  # fmt: skip


def describe_loaded(backbone: Backbone) -> dict[str, object]:
    return describe(backbone) | {
        "family": backbone.family, "noise": backbone.noise_schedule, "blocks": len(backbone.temporal_blocks()),
        "positions": backbone.temporal_positions,
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
    assert describe_loaded(outline) == describe_loaded(engine_of(variant).backbone)
    assert all(parameter.is_meta for model in outline.denoisers() for parameter in model.parameters())


@pytest.mark.parametrize("variant", [*VARIANTS, *EMBEDDED])
def test_configuration_files_answer_as_the_loaded_model(variant: str, checkpoint: Callable[[str], Path]) -> None:
    name = variant if variant in EMBEDDED else str(checkpoint(variant))
    outline, model = outline_of(name), read_model(name)
    assert model is not None and describe(model) == describe(outline)
    assert model.noise_schedule.alphas == pytest.approx(outline.noise_schedule.alphas, abs=1e-5)


def test_files_of_earlier_versions_lack_later_settings(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    """Every setting that a specification reads has the default of the library's class."""
    for variant, defaults in (("wan-2.1", wan_spec.CLASS_DEFAULTS), ("animatediff", animatediff_spec.CLASS_DEFAULTS)):
        source, folder = checkpoint(variant), tmp_path / variant
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        index = json.loads((folder / "model_index.json").read_text())
        for component, settings in defaults.items():
            file = folder / (f"{component}/config.json" if component else "model_index.json")
            if file.is_file():
                earlier = {name: value for name, value in json.loads(file.read_text()).items() if name not in settings}
                file.write_text(json.dumps(earlier))
            kind = index["_class_name"] if component == PIPELINE else index.get(component, [None, None])[1]
            parameters = inspect.signature(getattr(diffusers, kind or "MotionAdapter").__init__).parameters
            assert {name: parameters[name].default for name in settings} == settings
        model, outline = read_model(str(folder)), load_outline(str(folder))
        assert model is not None and (outline is None or describe(model) == describe(outline))


def test_an_adapters_motion_modules_are_added_to_a_still_models_unet() -> None:
    still: dict[str, Any] = {"_class_name": "UNet2DConditionModel", "in_channels": 4, "sample_size": 64}
    parts: dict[str, dict[str, Any]] = {"unet": still, "vae": {"block_out_channels": (1, 2, 3, 4)}}
    spec = animatediff_spec.read_spec(parts | {"motion_adapter": {"motion_max_seq_length": 24}})
    assert (spec.limits.frames, spec.geometry.channels, spec.defaults["width"]) == (24, 4, 512)
    assert animatediff_spec.read_spec(parts | {"motion_adapter": {"conv_in_channels": 9}}).geometry.channels == 9


@pytest.mark.parametrize("damage", ["{", "[]", '{"in_channels": 4, "patch_size": 3}', None], ids=str)
def test_a_damaged_configuration_is_left_to_the_loader(
    damage: str | None, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(checkpoint("wan-2.1"), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = folder / "transformer" / "config.json"
    config.unlink() if damage is None else config.write_text(damage)
    assert read_model(str(folder)) is None


def test_a_model_of_the_hub_is_described_from_its_cache(
    checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoint("wan-2.1")
    monkeypatch.setattr(registry, "find_cached", lambda _, file: folder / file)
    cached, local = read_model("nobody/nothing"), read_model(str(folder))
    assert cached is not None and local is not None and cached.name == "nobody/nothing"
    assert {**describe(cached), "name": local.name} == describe(local)
    monkeypatch.setattr(registry, "find_cached", lambda *_: None)
    assert read_model("nobody/nothing") is None


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
