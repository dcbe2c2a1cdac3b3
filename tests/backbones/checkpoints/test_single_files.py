"""Single files: a pipeline whose denoiser, or more, is one file gives the frames of the folder that it is made of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from videogen.backbones.checkpoints import single_file
from videogen.backbones.checkpoints.header import read_header
from videogen.backbones.checkpoints.layout import find_roles
from videogen.core.errors import CheckpointError, InputError, UnsupportedError
from videogen.engine.engine import Engine

from .files import WEIGHTS, save, save_gguf, scale_to_fp8, weights_of
from .originals import LTX, LTX_VAE, WAN, add_prefix, to_original, wan_vae_to_original

WAN_CLIP: dict[str, Any] = {"frames": 1, "width": 32, "height": 16, "steps": 2}
LTX_CLIP: dict[str, Any] = {
    "frames": 9, "width": 64, "height": 32, "steps": 2, "options": {"max_sequence_length": 16}
}  # fmt: skip


def frames_of(engine: Engine, clip: dict[str, Any]) -> np.ndarray:
    return engine.generate("a red ball", **clip).frames


def tensors_of(engine: Engine, component: str = "transformer") -> dict[str, torch.Tensor]:
    """Weights and buffers, also those that are not stored."""
    module = engine.backbone.components()[component]
    return {**module.state_dict(), **dict(module.named_buffers())}


def check_equal(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if found[name].dtype != wanted[name].dtype] == []
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []


def original_wan(wan: Path) -> dict[str, torch.Tensor]:
    return to_original("WanTransformer3DModel", weights_of(wan, "transformer"), WAN)


@pytest.mark.parametrize("layout", ["diffusers", "original", "comfyui", "prefixed"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_file_has_the_weights_of_the_folder(layout: str, dtype: str, wan: Path, tmp_path: Path) -> None:
    tensors = weights_of(wan, "transformer") if layout == "diffusers" else original_wan(wan)
    prefix = {"comfyui": "model.diffusion_model.", "prefixed": "transformer."}.get(layout, "")
    path = save(add_prefix(tensors, prefix), tmp_path / "wan.safetensors")
    found = Engine.load(path, base=wan, device="cpu", dtype=dtype)
    check_equal(tensors_of(found), tensors_of(Engine.load(wan, device="cpu", dtype=dtype)))


def test_an_original_wan_gives_the_folders_frames(wan: Path, tmp_path: Path) -> None:
    engine = Engine.load(save(original_wan(wan), tmp_path / "wan.safetensors"), base=wan, device="cpu")
    video = engine.generate("a red ball", **WAN_CLIP)
    assert np.array_equal(video.frames, frames_of(Engine.load(wan, device="cpu"), WAN_CLIP))
    assert video.manifest is not None
    request = video.manifest["request"]
    assert (request["model"], request["base"]) == (str(tmp_path / "wan.safetensors"), str(wan))


def test_an_original_ltx_with_its_vae_gives_the_folders_frames(ltx: Path, tmp_path: Path) -> None:
    transformer = to_original(
        "LTXVideoTransformer3DModel", weights_of(ltx, "transformer"), LTX, "model.diffusion_model."
    )
    vae = to_original("AutoencoderKLLTXVideo", weights_of(ltx, "vae"), LTX_VAE, "vae.")
    path = save({**transformer, **vae}, tmp_path / "ltx.safetensors")
    assert find_roles(read_header(path)) == {"denoiser": "model.diffusion_model.", "vae": "vae."}
    engine = Engine.load(path, base=ltx, device="cpu")
    assert np.array_equal(frames_of(engine, LTX_CLIP), frames_of(Engine.load(ltx, device="cpu"), LTX_CLIP))


def test_the_vae_of_a_file_is_not_the_bases(ltx: Path, tmp_path: Path) -> None:
    transformer, vae = weights_of(ltx, "transformer"), weights_of(ltx, "vae")
    other = {name: tensor * 0.5 for name, tensor in vae.items()}
    path = save(
        {**add_prefix(transformer, "model.diffusion_model."), **add_prefix(other, "vae.")}, tmp_path / "x.safetensors"
    )
    found = tensors_of(Engine.load(path, base=ltx, device="cpu"), "vae")
    assert all(torch.equal(found[name], other[name]) for name in other)


@pytest.mark.parametrize("component", ["vae", "text_encoder"])
@pytest.mark.parametrize("layout", ["library", "comfyui"])
def test_components_from_files(component: str, layout: str, wan: Path, tmp_path: Path) -> None:
    tensors = weights_of(wan, component)
    if layout == "comfyui":
        tensors = wan_vae_to_original(tensors) if component == "vae" else {**tensors, "spiece_model": torch.zeros(9)}
    part: dict[str, Any] = {component: save(tensors, tmp_path / "part.safetensors")}
    engine = Engine.load(wan, device="cpu", **part)
    check_equal(tensors_of(engine, component), tensors_of(Engine.load(wan, device="cpu"), component))


@pytest.mark.parametrize(("kind", "error"), [("F32", 0.0), ("F16", 1e-3), ("Q8_0", 1e-2)])
def test_a_gguf_is_loaded(kind: str, error: float, wan: Path, tmp_path: Path) -> None:
    path = save_gguf(original_wan(wan), tmp_path / "wan.gguf", kind)
    engine, folder = Engine.load(path, base=wan, device="cpu"), Engine.load(wan, device="cpu")
    found, wanted = tensors_of(engine), tensors_of(folder)
    assert found.keys() == wanted.keys()
    quantized = {name for name in found if found[name].dtype == torch.uint8}
    assert bool(quantized) is (kind == "Q8_0")
    for name in wanted.keys() - quantized:
        assert torch.allclose(found[name], wanted[name], atol=error, rtol=error)
    predictions = [predict(one.backbone.denoisers()[0]) for one in (engine, folder)]
    assert (predictions[0] - predictions[1]).abs().max() <= 4 * error * predictions[1].abs().max()


def predict(model: Any) -> torch.Tensor:
    """A prediction of Wan's denoiser."""
    generator = torch.Generator().manual_seed(0)
    latents, text = (torch.randn(shape, generator=generator) for shape in ((1, 4, 2, 4, 4), (1, 16, 16)))
    with torch.inference_mode():
        found: torch.Tensor = model(latents, torch.tensor([500.0]), text, return_dict=False)[0]
    return found


def test_convolutions_that_comfyui_stores_as_matrices_get_their_shape(wan: Path, tmp_path: Path) -> None:
    tensors, name = original_wan(wan), "patch_embedding.weight"
    path = save_gguf(tensors, tmp_path / "wan.gguf", reshaped=(name,))
    assert read_header(path).tensors[name].shape == (32, 16)
    assert torch.equal(tensors_of(Engine.load(path, base=wan, device="cpu"))[name], tensors[name])


def test_a_quantized_gguf_computes_what_it_stores(wan: Path, tmp_path: Path) -> None:
    from diffusers.quantizers.gguf.utils import dequantize_gguf_tensor

    path = save_gguf(original_wan(wan), tmp_path / "wan.gguf", "Q8_0")
    model: Any = Engine.load(path, base=wan, device="cpu").backbone.denoisers()[0]
    weight, wanted = model.blocks[0].attn1.to_q.weight, weights_of(wan, "transformer")["blocks.0.attn1.to_q.weight"]
    stored = dequantize_gguf_tensor(weight).float()
    assert torch.allclose(stored, wanted, atol=wanted.abs().max().item() / 127)
    tokens = torch.randn(1, 3, 32)
    bias = model.blocks[0].attn1.to_q.bias
    assert torch.allclose(model.blocks[0].attn1.to_q(tokens), tokens @ stored.T + bias, atol=1e-5)


def test_scaled_fp8_is_multiplied_by_its_scales(wan: Path, tmp_path: Path) -> None:
    scaled = scale_to_fp8(original_wan(wan))
    assert sum(name.endswith(".scale_weight") for name in scaled) > 20
    engine = Engine.load(save(scaled, tmp_path / "wan.safetensors"), base=wan, device="cpu")
    wanted = weights_of(wan, "transformer")
    for name, tensor in tensors_of(engine).items():
        if name in wanted:  # fp8 has 4 significant bits
            assert torch.allclose(tensor, wanted[name], rtol=2**-4, atol=wanted[name].abs().max().item() * 2**-9)


def without(tensors: dict[str, torch.Tensor], text: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in tensors.items() if text not in name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda t: without(t, "self_attn.q."),
            r"not a complete WanTransformer3DModel of this base: 4 of its 69 tensors are missing "
            r"\(blocks\.0\.attn1\.to_q\.bias, .* and 1 more\), and 0 of 65 are unknown \(none\)",
            id="missing",
        ),
        pytest.param(
            lambda t: t | {"patch_embedding.weight": torch.zeros(32, 9, 1, 2, 2)},
            r"1 of 69 tensors have another shape, such as patch_embedding\.weight with \[32, 9, 1, 2, 2\] where "
            r"\[32, 4, 1, 2, 2\] is needed; give the base",
            id="another shape",
        ),
        pytest.param(
            lambda t: t | {f"vace_blocks.{i}.x": torch.zeros(1) for i in range(9)},
            r"is of another model than WanTransformer3DModel: 9 of its 78 tensors are unknown \(vace_blocks\.0\.x, .* "
            r"and 6 more\)",
            id="unknown",
        ),
        pytest.param(
            lambda t: {f"down_blocks.{i}.x": torch.zeros(1) for i in range(9)},
            r"69 of its 69 tensors are missing .* and 9 of 9 are unknown", id="nothing in common",
        ),
    ],
)  # fmt: skip
def test_a_file_of_another_model_is_refused(change: Any, message: str, wan: Path, tmp_path: Path) -> None:
    path = save(change(original_wan(wan)), tmp_path / "wan.safetensors")
    with pytest.raises(CheckpointError, match=message):
        Engine.load(path, base=wan, device="cpu")


def test_a_few_unknown_tensors_are_counted_and_named(
    wan: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save(original_wan(wan) | {"extra.a": torch.zeros(1), "extra.b": torch.zeros(1)}, tmp_path / "x.safetensors")
    Engine.load(path, base=wan, device="cpu")
    assert "has 2 of 71 tensors that WanTransformer3DModel does not use: extra.a, extra.b" in caplog.text


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["decoder.conv_in.weight"], "has a VAE and no denoiser; give it as vae="),
        (["encoder.block.0.layer.0.x"], "has a text encoder and no denoiser; give it as text_encoder="),
        (["blocks.0.q.lora_down.weight"], r"has a LoRA and no denoiser; load the model .* loras=FILE \(--lora\)"),
        (["down_blocks.0.motion_modules.0.norm.weight"], "has a motion adapter and no denoiser; .* motion_adapter="),
        (["vae.decoder.x", "vae.encoder.x"], "has a VAE and no denoiser"),
    ],
)
def test_a_file_without_a_denoiser_is_named(names: list[str], message: str, wan: Path, tmp_path: Path) -> None:
    path = save({name: torch.zeros(2) for name in names}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=message):
        Engine.load(path, base=wan)


def test_a_base_that_is_not_known_is_named(tmp_path: Path) -> None:
    path = save({"blocks.0.weight": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"does not state of which model it is.*give the rest of its pipeline"):
        Engine.load(path)


@pytest.mark.parametrize(
    ("shape", "options", "base"),
    [
        ((1536, 16, 1, 2, 2), {}, "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"),
        ((5120, 16, 1, 2, 2), {}, "Wan-AI/Wan2.1-T2V-14B-Diffusers"),
        ((5120, 16, 1, 2, 2), {"transformer_2": "x.safetensors"}, "Wan-AI/Wan2.2-T2V-A14B-Diffusers"),
        ((3072, 48, 1, 2, 2), {}, "Wan-AI/Wan2.2-TI2V-5B-Diffusers"),
    ],
)
def test_the_base_of_a_known_model_is_named_where_it_is_not_here(
    shape: tuple[int, ...], options: dict[str, Any], base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = {"head.modulation": torch.zeros(1), "patch_embedding.weight": torch.zeros(1).expand(shape)}
    monkeypatch.chdir(tmp_path)
    save(tensors, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=f"'{base}' is neither in the local cache nor available from the hub"):
        Engine.load("x.safetensors", **options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"transformer": "wan.safetensors"}, InputError, "are both the denoiser; give one of them"),
        ({"unet": "wan.safetensors"}, InputError, "WanPipeline has no unet; its components are"),
        ({"vae": "wan.safetensors"}, CheckpointError, "has a denoiser and no VAE; give it as transformer="),
        ({"revision": "main"}, InputError, "revision='main' is of a model on the hub"),
        ({"base": "wan.safetensors"}, CheckpointError, "is a file; give a folder"),
        ({"transformer": "none.safetensors"}, InputError, r"none\.safetensors does not exist"),
        ({"text_encoder": "wan.ckpt"}, CheckpointError, r"wan\.ckpt is pickled"),
    ],
)
def test_options_that_exclude_each_other_are_refused(
    options: dict[str, Any], error: type[Exception], message: str, wan: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    save(original_wan(wan), tmp_path / "wan.safetensors")
    (tmp_path / "wan.ckpt").write_bytes(b"x")
    with pytest.raises(error, match=message):
        Engine.load("wan.safetensors", **{"base": str(wan), **options})


def test_a_base_for_an_entire_pipeline_is_refused(wan: Path) -> None:
    with pytest.raises(InputError, match=r"completes a single file, and model=.* is an entire pipeline"):
        Engine.load(wan, base=wan)


def test_a_gguf_needs_its_package(wan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_gguf(original_wan(wan), tmp_path / "wan.gguf")
    for reason in ("gguf is not installed", "gguf is installed, but its import fails (OSError: x); install it again"):
        monkeypatch.setattr(single_file, "missing", lambda name, reason=reason: reason)
        with pytest.raises(UnsupportedError, match=rf"{re.escape(reason)}: pip install 'videogen\[quantization\]'"):
            Engine.load(path, base=wan)


def test_a_configuration_next_to_a_file_is_used(wan: Path, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    for path in wan.rglob("*"):
        if path.is_file() and path.parent.name != "transformer":
            (folder / path.relative_to(wan)).parent.mkdir(exist_ok=True)
            (folder / path.relative_to(wan)).write_bytes(path.read_bytes())
    engine = Engine.load(wan / "transformer" / WEIGHTS, base=folder, device="cpu")
    check_equal(tensors_of(engine), tensors_of(Engine.load(wan, device="cpu")))
