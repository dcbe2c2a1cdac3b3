"""Layout of a weights file: which components of a pipeline it has, by the prefixes of its tensors' names.

ComfyUI's and the original checkpoints prefix the components of one file; a file of one component has no prefix, or that
of the denoiser. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping

from .tensors import Header

DENOISER, VAE, AUDIO_VAE, TEXT_ENCODER, MOTION, LORA = "denoiser", "vae", "audio_vae", "text_encoder", "motion", "lora"
#: role -> prefixes of its tensors' names
PREFIXES: Mapping[str, tuple[str, ...]] = {
    DENOISER: ("model.diffusion_model.", "diffusion_model."),
    VAE: ("first_stage_model.", "vae."),
    AUDIO_VAE: ("audio_vae.",),
    TEXT_ENCODER: ("cond_stage_model.", "text_encoders.", "conditioner."),
}
#: role of a file without prefixes -> parts of names that no other has; the first that fits
_MARKS: Mapping[str, tuple[str, ...]] = {
    LORA: (".lora_down.", ".lora_up.", ".lora_A.", ".lora_B.", "lora_unet_", "lora_te_"),
    TEXT_ENCODER: ("encoder.block.0.layer.", "text_model.embeddings.", "enc.blk.0.", "model.embed_tokens.",
                   "token_embd."),
    VAE: ("decoder.conv_in.", "decoder.middle.", "decoder.mid_block.", "decoder.conv1.", "decoder.mid.",
          "decoder.up_blocks."),
}  # fmt: skip
_MOTION = ".motion_modules."
#: component that no conversion reads from a file with others -> what its tensors' names have
_UNREAD: Mapping[str, tuple[str, ...]] = {
    "vocoder": ("vocoder.",), "connectors": ("text_embedding_projection.", "_embeddings_connector."),
}  # fmt: skip
#: role -> what it is called in messages
TITLES = {
    DENOISER: "denoiser", VAE: "VAE", AUDIO_VAE: "audio VAE", TEXT_ENCODER: "text encoder", MOTION: "motion adapter",
    LORA: "LoRA",
}  # fmt: skip
#: component of a pipeline -> its role
ROLES = {
    "transformer": DENOISER, "transformer_2": DENOISER, "unet": DENOISER, "vae": VAE, "audio_vae": AUDIO_VAE,
    "text_encoder": TEXT_ENCODER, "motion_adapter": MOTION,
}  # fmt: skip


def find_roles(header: Header) -> dict[str, str]:
    """Role of each component in a file -> the prefix of its tensors' names, empty where it is alone in the file."""
    found = {
        role: prefix
        for role, prefixes in PREFIXES.items()
        for prefix in reversed(prefixes)
        if any(name.startswith(prefix) for name in header.tensors)
    }
    if DENOISER in found or (found and all(_has_prefix(name) for name in header.tensors)):
        return found
    if found and TEXT_ENCODER not in found and _main_role(header) == DENOISER:
        return {DENOISER: "", **found}  # such as an unprefixed denoiser with its VAE
    return {_main_role(header): ""}


def find_unread(header: Header) -> list[str]:
    """Components that a file has and that are always loaded from its base."""
    return [name for name, marks in _UNREAD.items() if any(mark in one for one in header.tensors for mark in marks)]


def prefix_of(header: Header, component: str) -> str:
    """The prefix of a component's tensors in a file that was given for it; empty where it is alone."""
    return find_roles(header).get(ROLES.get(component, ""), "")


def _main_role(header: Header) -> str:
    if all(_MOTION in name or name.startswith("conv_in.") for name in header.tensors):
        return MOTION
    for role, marks in _MARKS.items():
        if any(mark in name for name in header.tensors for mark in marks):
            return role
    return DENOISER


def _has_prefix(name: str) -> bool:
    return any(name.startswith(prefix) for prefixes in PREFIXES.values() for prefix in prefixes)
