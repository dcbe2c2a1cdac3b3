"""Models that plans are compared on: the embedded ones, and Wan of a middle size with random weights."""

from __future__ import annotations

from collections.abc import Callable

import torch

from videogen import Engine


def build_wan(width: int, layers: int, vae_width: int) -> Engine:
    """Wan's classes with random weights, and the embedded model's tokenizer and text encoder."""
    import diffusers

    torch.manual_seed(0)
    parts = Engine.load("embedded", device="cpu").backbone.pipeline.components
    text = parts["text_encoder"].config.d_model
    denoiser = diffusers.WanTransformer3DModel(
        num_attention_heads=width // 64, attention_head_dim=64, in_channels=16, out_channels=16, text_dim=text,
        freq_dim=64, ffn_dim=4 * width, num_layers=layers,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLWan(base_dim=vae_width)
    pipeline = diffusers.WanPipeline(
        tokenizer=parts["tokenizer"], text_encoder=parts["text_encoder"], vae=vae.eval(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0), transformer=denoiser.eval(),
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    engine = Engine.from_pipeline(pipeline)
    engine.backbone.defaults = engine.backbone.defaults.__class__(
        **{**vars(engine.backbone.defaults), "frames": 9, "width": 96, "height": 96}
    )
    return engine


MODELS: dict[str, Callable[[], Engine]] = {
    "embedded": lambda: Engine.load("embedded", device="cpu"),
    "embedded-unet": lambda: Engine.load("embedded-unet", device="cpu"),
    "random Wan, width 256, 4 layers": lambda: build_wan(256, 4, 16),
}
