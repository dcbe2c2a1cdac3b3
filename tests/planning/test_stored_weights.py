"""Plans of models whose weights are quantized, and of those with LoRAs: the bytes that are stored, no fp8 storage."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.backbones.checkpoints.files import build_wan, save_gguf, weights_of
from tests.lora_files import write_lora
from videogen import Engine, InputError, RenderRequest
from videogen.backbones.load_options import LoadOptions
from videogen.backbones.lora.spec import Lora
from videogen.backbones.precision.quantizing import quantize, save_quantized
from videogen.backbones.precision.selection import find_quantizable
from videogen.backbones.precision.weight_format import parse_format
from videogen.planning.plan import plan_loaded, plan_render
from videogen.planning.planned_model import plan_loaded_model, read_planned_model
from videogen.planning.resident import weigh

CLIP: dict[str, Any] = {"frames": 5, "steps": 2, "width": 32, "height": 32}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wan(tmp_path_factory.mktemp("models") / "wan")


def build_quantized(plain: Path, target: Path) -> dict[str, str]:
    from diffusers import WanTransformer3DModel

    shutil.copytree(plain, target)
    model = WanTransformer3DModel.from_pretrained(plain, subfolder="transformer")
    how = parse_format("int4")
    names = find_quantizable(model)
    quantize(model, how)
    shutil.rmtree(target / "transformer")
    save_quantized(model, target / "transformer", dict.fromkeys(names, how))
    return {"model": str(target)}


def build_gguf(plain: Path, target: Path) -> dict[str, str]:
    file = save_gguf(weights_of(plain, "transformer"), target.with_suffix(".gguf"), "Q8_0")
    return {"model": str(file), "base": str(plain)}


FORMS: dict[str, Callable[[Path, Path], dict[str, str]]] = {"quantized folder": build_quantized, "GGUF": build_gguf}


def stored_bytes(engine: Engine) -> int:
    denoiser = engine.backbone.denoisers()[0]
    return sum(one.numel() * one.element_size() for one in [*denoiser.parameters(), *denoiser.buffers()])


@pytest.mark.parametrize("form", FORMS)
def test_stored_bytes_are_counted_and_fp8_is_not_offered(form: str, plain: Path, tmp_path: Path) -> None:
    source = FORMS[form](plain, tmp_path / "model")
    name, options = source["model"], LoadOptions(base=source.get("base"))
    engine = Engine.load(name, device="cpu", base=options.base)
    model = read_planned_model(name, torch.float32, options)
    loaded = plan_loaded_model(engine.backbone)
    assert not model.can_cast and not loaded.can_cast
    assert loaded.backbone.sources == engine.backbone.sources
    assert read_planned_model(str(plain), torch.float32).can_cast
    full = weigh(read_planned_model(str(plain), torch.float32)).plain["transformer"].total
    sizes = [weigh(one).plain["transformer"].total for one in (model, loaded)]
    decoded = max(weight.numel() for weight in model.denoisers()["transformer"].parameters()) * (4 + 13)
    for size in sizes:
        assert stored_bytes(engine) <= size <= stored_bytes(engine) + decoded
    assert sizes[0] == sizes[1] < full + decoded


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_memory_below_full_precision_suffices(form: str, plain: Path, tmp_path: Path) -> None:
    source = FORMS[form](plain, tmp_path / "model")
    request = RenderRequest("a ball", model=source["model"], base=source.get("base"), **CLIP)
    found = plan_render(request, memory=1 << 40, calibrate=False)
    with pytest.raises(InputError, match="smallest plan") as error:
        plan_render(request, memory=1000, calibrate=False)
    assert "fp8" not in str(error.value)
    engine = Engine.load(source["model"], device="cpu", base=source.get("base"))
    assert plan_loaded(engine.backbone, request, memory=1 << 40, calibrate=False).peak == found.peak


def test_the_matrices_of_loras_are_counted(plain: Path, tmp_path: Path) -> None:
    engine = Engine.load(str(plain), device="cpu")
    before = weigh(plan_loaded_model(engine.backbone)).plain["transformer"].total
    file = write_lora(tmp_path / "lora.safetensors", engine.backbone.denoisers()[0])
    with engine.backbone.adaptation.apply([Lora(str(file))], []):
        size = weigh(plan_loaded_model(engine.backbone)).plain["transformer"].total
        assert size >= stored_bytes(engine) - 4096 and size > before
