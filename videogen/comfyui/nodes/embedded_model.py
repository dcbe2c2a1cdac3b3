"""Loaders of the embedded DiT: as a native Wan model, with its text encoder and its VAE. They need no files."""

from __future__ import annotations

from typing import Any

import comfy.latent_formats
import comfy.sd
from comfy_api.latest import io

from ..embedded.native_wan import CALIBRATED_NAME, load_embedded_backbone, load_embedded_weights
from ..embedded.parts import EmbeddedTextEncoder, EmbeddedVae
from ..native.propagation import CALIBRATED_AS
from ..schema import CATEGORY

_SHIFT = 3.0  # of the embedded model's training; ComfyUI's own for Wan is 8


class LoadEmbeddedModel(io.ComfyNode):
    """MODEL for ComfyUI's samplers."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenLoadEmbeddedModel",
            display_name="Load Embedded Model (videogen)",
            category=f"{CATEGORY}/loaders",
            description="Loads the small text-to-video model that comes with videogen, for ComfyUI's own samplers. It "
            "needs no download and runs on a CPU: simple shapes that move, 64x64 pixels and 33 frames. It also makes "
            "96x96; in larger clips the shapes are lost.",
            search_aliases=["videogen", "test model", "offline model", "wan tiny"],
            outputs=[io.Model.Output(tooltip="A Wan model for KSampler and the like; shift 3 is set.")],
        )

    @classmethod
    def execute(cls) -> Any:
        weights, metadata = load_embedded_weights()
        model = comfy.sd.load_diffusion_model_state_dict(weights, metadata=metadata)
        model.model.model_sampling.set_parameters(shift=_SHIFT)
        setattr(model.model, CALIBRATED_AS, CALIBRATED_NAME)
        return io.NodeOutput(model)


class LoadEmbeddedTextEncoder(io.ComfyNode):
    """CLIP for CLIPTextEncode."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenLoadEmbeddedTextEncoder",
            display_name="Load Embedded Text Encoder (videogen)",
            category=f"{CATEGORY}/loaders",
            description="The text encoder of the embedded model. It knows a few hundred words: colours, shapes, "
            "directions, backgrounds.",
            search_aliases=["videogen", "clip", "text encoder"],
            outputs=[io.Clip.Output(tooltip="For CLIP Text Encode.")],
        )

    @classmethod
    def execute(cls) -> Any:
        return io.NodeOutput(EmbeddedTextEncoder(load_embedded_backbone()))


class LoadEmbeddedVae(io.ComfyNode):
    """VAE for VAEDecode and VAEEncode."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenLoadEmbeddedVAE",
            display_name="Load Embedded VAE (videogen)",
            category=f"{CATEGORY}/loaders",
            description="The VAE of the embedded model: 8 pixels and 4 frames per latent.",
            search_aliases=["videogen", "vae"],
            outputs=[io.Vae.Output(tooltip="For VAE Decode and VAE Encode.")],
        )

    @classmethod
    def execute(cls) -> Any:
        return io.NodeOutput(EmbeddedVae(load_embedded_backbone(), comfy.latent_formats.Wan21()))
