"""Single files with an entire pipeline, under the names of the original repositories: Stable Diffusion, LTX-2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny.table import load_rows
from videogen.backbones.checkpoints.header import read_header
from videogen.backbones.checkpoints.layout import find_roles
from videogen.engine.engine import Engine

from .files import save, weights_of
from .latent_diffusion import file_of
from .originals import Pairs, add_prefix, to_original
from .test_single_files import check_equal, frames_of, tensors_of

CLIP: dict[str, Any] = {"frames": 4, "width": 32, "height": 32, "steps": 2}
LTX2: Pairs = (
    ("patchify_proj", "proj_in"), ("adaln_single", "time_embed"), ("q_norm", "norm_q"), ("k_norm", "norm_k"),
    ("av_ca_video_scale_shift_adaln_single", "av_cross_attn_video_scale_shift"),
    ("av_ca_a2v_gate_adaln_single", "av_cross_attn_video_a2v_gate"),
    ("av_ca_audio_scale_shift_adaln_single", "av_cross_attn_audio_scale_shift"),
    ("av_ca_v2a_gate_adaln_single", "av_cross_attn_audio_v2a_gate"),
    ("scale_shift_table_a2v_ca_video", "video_a2v_cross_attn_scale_shift_table"),
    ("scale_shift_table_a2v_ca_audio", "audio_a2v_cross_attn_scale_shift_table"),
)  # fmt: skip
LTX2_VAE: Pairs = (
    *((f"down_blocks.{2 * level}", f"down_blocks.{level}") for level in range(4)),
    *((f"down_blocks.{2 * level + 1}", f"down_blocks.{level}.downsamplers.0") for level in range(4)),
    ("down_blocks.8", "mid_block"), ("up_blocks.0", "mid_block"),
    *((f"up_blocks.{2 * level + 1}", f"up_blocks.{level}.upsamplers.0") for level in range(3)),
    *((f"up_blocks.{2 * level + 2}", f"up_blocks.{level}") for level in range(3)),
    ("res_blocks", "resnets"), ("per_channel_statistics.mean-of-means", "latents_mean"),
    ("per_channel_statistics.std-of-means", "latents_std"),
)  # fmt: skip
LTX2_AUDIO: Pairs = LTX2_VAE[-2:]  # type: ignore[index]


def test_stable_diffusion_with_a_motion_adapter(
    stable_diffusion: Path, adapter: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tensors = {name: weights_of(stable_diffusion, name) for name in ("unet", "vae", "text_encoder")}
    path = save(file_of(**tensors, layers=1), tmp_path / "sd15.safetensors")
    roles = {"denoiser": "model.diffusion_model.", "vae": "first_stage_model.", "text_encoder": "cond_stage_model."}
    assert find_roles(read_header(path)) == roles
    folder = Engine.load(stable_diffusion, motion_adapter=adapter, device="cpu")
    engine = Engine.load(path, base=stable_diffusion, motion_adapter=adapter, device="cpu")
    for component in ("unet", "vae", "text_encoder"):
        check_equal(tensors_of(engine, component), tensors_of(folder, component))
    assert "the base's" not in caplog.text
    assert np.array_equal(frames_of(engine, CLIP), frames_of(folder, CLIP))


@pytest.mark.slow
def test_two_text_encoders_are_the_bases(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "sdxl"
    load_rows()["AnimateDiffSDXLPipeline"].build().save_pretrained(folder)
    tensors = add_prefix(weights_of(folder, "unet"), "model.diffusion_model.")
    tensors |= {"conditioner.embedders.0.transformer.text_model.x": torch.zeros(1)}
    path = save(tensors, tmp_path / "sdxl.safetensors")
    Engine.load(path, base=folder, device="cpu")
    assert f"{path} has its own text_encoder and text_encoder_2; the base's are used" in caplog.text


@pytest.mark.slow
def test_ltx_2(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "ltx2"
    load_rows()["LTX2Pipeline"].build().save_pretrained(folder)
    classes = {
        "transformer": ("LTX2VideoTransformer3DModel", LTX2, "model.diffusion_model."),
        "vae": ("AutoencoderKLLTX2Video", LTX2_VAE, "vae."),
        "audio_vae": ("AutoencoderKLLTX2Audio", LTX2_AUDIO, "audio_vae."),
    }
    tensors: dict[str, torch.Tensor] = {}
    for component, (kind, pairs, prefix) in classes.items():
        changed = {name: tensor * 0.9 for name, tensor in weights_of(folder, component).items()}
        tensors |= to_original(kind, changed, pairs, prefix)
    others = {"vocoder.x": 1, "text_embedding_projection.x": 1, "model.diffusion_model.video_embeddings_connector.x": 1}
    path = save(tensors | {name: torch.zeros(size) for name, size in others.items()}, tmp_path / "ltx2.safetensors")
    engine = Engine.load(path, base=folder, device="cpu")
    assert f"{path} has its own vocoder and connectors; the base's are used" in caplog.text
    for component in classes:
        found, own = tensors_of(engine, component), weights_of(folder, component)
        assert len(own) > 10
        assert [name for name in own if not torch.equal(found[name], own[name] * 0.9)] == [], component
