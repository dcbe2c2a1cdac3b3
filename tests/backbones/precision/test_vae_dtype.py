"""A VAE in a dtype of its own: loaded so, decoded so, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.contract.hosting import build, class_of, first_call, hosted_rows
from tests.tiny.table import Tiny, load_rows
from videogen.backbones.precision.vae_dtype import converts_latents
from videogen.core.errors import UnsupportedError
from videogen.engine.engine import Engine


def save(name: str, folder: Path) -> Path:
    load_rows()[name].build().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("precision", "denoiser", "vae"),
    [
        pytest.param("fp16", torch.float16, torch.float32, id="it overflows in fp16"),
        pytest.param("fp16,vae=fp16", torch.float16, torch.float16, id="fp16 on request"),
        pytest.param("fp16,vae=bf16", torch.float16, torch.bfloat16, id="bf16 on request"),
        pytest.param("bf16", torch.bfloat16, torch.bfloat16, id="bf16 throughout"),
        pytest.param("vae=bf16", torch.float32, torch.bfloat16, id="the VAE alone"),
    ],
)
def test_wan_s_vae_has_its_dtype_and_decodes(
    precision: str, denoiser: torch.dtype, vae: torch.dtype, tmp_path: Path
) -> None:
    engine = Engine.load(save("WanPipeline", tmp_path), device="cpu", precision=precision)
    parts: Any = engine.backbone.components()
    assert (parts["transformer"].dtype, parts["vae"].dtype) == (denoiser, vae)
    frames, width, height = load_rows()["WanPipeline"].sizes[0]
    clip = engine.generate("a ball", frames=frames, width=width, height=height, steps=2, seed=1)
    assert clip.frames.std() > 1


def test_a_vae_that_decodes_in_the_dtype_of_the_run_is_refused(tmp_path: Path) -> None:
    folder = save("CogVideoXPipeline", tmp_path)
    with pytest.raises(UnsupportedError, match="AutoencoderKLCogVideoX latents in the dtype of the run"):
        Engine.load(folder, device="cpu", precision="bf16,vae=fp32")
    assert Engine.load(folder, device="cpu", precision="bf16,vae=bf16").backbone.dtype == torch.bfloat16


@pytest.mark.slow
@pytest.mark.parametrize("row", hosted_rows())
def test_pipelines_convert_latents_for_the_vaes_of_the_table(row: Tiny) -> None:
    call = first_call(row)
    pipeline = build(row, call, dtype=torch.bfloat16)
    vae = getattr(pipeline, "vae", None)
    if not converts_latents(type(pipeline).__name__, type(vae).__name__):
        return
    assert vae is not None
    vae.to(torch.float32)
    generator = torch.Generator().manual_seed(1)
    with torch.inference_mode():
        assert pipeline(**row.call(call), generator=generator, output_type="np") is not None, class_of(row)
