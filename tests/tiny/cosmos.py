"""Tiny Cosmos pipelines of generations 1 to 3.

In real use they need torchvision (its nearest resize of the padding mask) and the package cosmos_guardrail, without
whose checker they refuse to run. Here `NearestResize` stands in for the first while the transformer runs, and
`SafetyChecker` for the second. With a checker, videos pass through uint8.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import torch

from tests.tiny import parts
from tests.tiny.table import Tiny, TinyCall

SIZES = ((9, 32, 32), (17, 48, 32))
SECOND_SIZES = ((5, 32, 32), (9, 48, 32))
OPTIONS: dict[str, Any] = {"max_sequence_length": 16}
SOUND: dict[str, Any] = {"enable_sound": True}
LATER_OPTIONS: dict[str, Any] = {"max_sequence_length": 40}
CHANNELS = 4


class SafetyChecker:
    """A checker that lets every prompt and every video pass."""

    def to(self, *_: Any) -> SafetyChecker:
        return self

    def check_text_safety(self, prompt: str) -> bool:
        return True

    def check_video_safety(self, frames: Any) -> Any:
        return frames


def nearest(image: torch.Tensor, size: list[int], **_: Any) -> torch.Tensor:
    return torch.nn.functional.interpolate(image, size, mode="nearest")


TRANSFORMS = SimpleNamespace(
    functional=SimpleNamespace(resize=nearest), InterpolationMode=SimpleNamespace(NEAREST="nearest")
)


def with_resize(model: Any) -> Any:
    """The model, whose module has torchvision's resize during each of its calls only."""
    module: Any = sys.modules[type(model).__module__]
    if not hasattr(module, "transforms"):
        model.register_forward_pre_hook(lambda *_: setattr(module, "transforms", TRANSFORMS))
        model.register_forward_hook(lambda *_: delattr(module, "transforms"), always_call=True)
    return model


def transformer(*, conditioned: bool, **config: Any) -> Any:
    """conditioned: a further input channel marks the given frames."""
    from diffusers import CosmosTransformer3DModel

    model = CosmosTransformer3DModel(
        in_channels=CHANNELS + conditioned, out_channels=CHANNELS, num_attention_heads=1, attention_head_dim=16,
        num_layers=1, mlp_ratio=1.0, text_embed_dim=16, adaln_lora_dim=4, max_size=(9, 16, 16), **config,
    )  # fmt: skip
    return with_resize(parts.fill_zeros(model).eval())


def first_vae() -> Any:
    """8 px and 8 frames per latent."""
    from diffusers import AutoencoderKLCosmos

    return AutoencoderKLCosmos(
        latent_channels=CHANNELS, encoder_block_out_channels=(8, 8, 8, 8), decode_block_out_channels=(8, 8, 8, 8),
        attention_resolutions=(8,), resolution=64, num_layers=1, latents_mean=None, latents_std=None,
    ).eval()  # fmt: skip


def build(name: str) -> Any:
    import diffusers

    parts.seed()
    second = name.startswith("Cosmos2")
    solver: Any = diffusers.FlowMatchEulerDiscreteScheduler if second else diffusers.EDMEulerScheduler
    config: dict[str, Any] = (
        {"use_karras_sigmas": True}
        if second
        else {"sigma_max": 80.0, "sigma_data": 0.5, "rho": 7.0, "final_sigmas_type": "sigma_min"}
    )
    pipeline = getattr(diffusers, name)(
        text_encoder=parts.t5(), tokenizer=parts.word_tokenizer(),
        transformer=transformer(conditioned="VideoToWorld" in name),
        vae=parts.wan_vae(CHANNELS) if second else first_vae(), scheduler=solver(**config),
        safety_checker=SafetyChecker(),
    )  # fmt: skip
    return parts.quiet(pipeline)


#: prompts are states of all layers of the language model, side by side
PROJECTION: dict[str, Any] = {
    "use_crossattn_projection": True, "crossattn_proj_in_channels": 48, "encoder_hidden_states_channels": 16,
}  # fmt: skip


def chat_tokenizer(text: str = "turn.content[0].text") -> Any:
    """A tokenizer of words with a template of conversations. text: where a turn has its text."""
    tokenizer = parts.word_tokenizer(64, vision_bos_token="<|vision_start|>")
    tokenizer.chat_template = "{% for turn in messages %}{{ turn.role }} {{ " + text + " }} {% endfor %}"
    return tokenizer


def control_network() -> Any:
    from diffusers import CosmosControlNetModel

    model = CosmosControlNetModel(
        n_controlnet_blocks=1, in_channels=CHANNELS + 2, latent_channels=CHANNELS + 2, model_channels=16,
        num_attention_heads=1, attention_head_dim=16, mlp_ratio=1.0, text_embed_dim=16, adaln_lora_dim=4,
        max_size=(9, 16, 16), **PROJECTION,
    )  # fmt: skip
    return with_resize(parts.fill_zeros(model).eval())


def build_later(name: str, **more: Any) -> Any:
    """Generation 2.5: a flow model with Wan's VAE that reads prompts with a language model. more: components."""
    import diffusers

    parts.seed()
    steps = {"controlnet_block_every_n": 1} if more else {}
    components = {key: make() for key, make in more.items()}
    pipeline = getattr(diffusers, name)(
        text_encoder=parts.qwen_vl(), tokenizer=chat_tokenizer(), vae=parts.wan_vae(CHANNELS),
        transformer=transformer(conditioned=True, extra_pos_embed_type=None, **PROJECTION, **steps),
        scheduler=parts.flow_unipc(), safety_checker=SafetyChecker(), **components,
    )  # fmt: skip
    return parts.quiet(pipeline)


def omni_transformer() -> Any:
    """The language model is part of it; with heads for video and sound."""
    from diffusers import Cosmos3OmniTransformer

    model = Cosmos3OmniTransformer(
        head_dim=8, hidden_size=16, intermediate_size=16, latent_channel=CHANNELS, num_attention_heads=2,
        num_hidden_layers=1, num_key_value_heads=1, patch_latent_dim=4 * CHANNELS, rope_axes_dim=(2, 1, 1),
        vocab_size=64, sound_gen=True, sound_dim=4, sound_latent_fps=60.0,
    )  # fmt: skip
    return parts.fill_zeros(model).eval()


def sound_tokenizer() -> Any:
    """Sound of 240 samples per second, 4 samples per latent."""
    from diffusers import Cosmos3AVAEAudioTokenizer

    model = Cosmos3AVAEAudioTokenizer(
        sampling_rate=240, vocoder_input_dim=4, dec_dim=4, dec_c_mults=(1, 2), dec_strides=(2, 2), encoder_enabled=False
    )
    return model.eval()


def build_omni() -> Any:
    from diffusers import Cosmos3OmniPipeline

    parts.seed()
    pipeline = Cosmos3OmniPipeline(
        transformer=omni_transformer(), text_tokenizer=chat_tokenizer("turn.content"), vae=parts.wan_vae(CHANNELS),
        scheduler=parts.flow_unipc(), sound_tokenizer=sound_tokenizer(), safety_checker=SafetyChecker(),
    )  # fmt: skip
    return parts.quiet(pipeline)


def text(call: TinyCall) -> dict[str, Any]:
    return {
        "prompt": call.prompt, "negative_prompt": call.negative_prompt, "height": call.height, "width": call.width,
        "num_inference_steps": call.steps, "guidance_scale": 4.0 if call.guided else 1.0, "max_sequence_length": 16,
    }  # fmt: skip


def call_text(call: TinyCall) -> dict[str, Any]:
    return text(call) | {"num_frames": call.frames, "fps": 24}


def first_frame(call: TinyCall) -> dict[str, Any]:
    return {"image": parts.image(call.width, call.height)}


def source(call: TinyCall) -> dict[str, Any]:
    """The first 9 frames, which the result continues."""
    return {"video": parts.clip(9, call.width, call.height)}


def call_later(call: TinyCall) -> dict[str, Any]:
    return text(call) | {"num_frames": call.frames, "max_sequence_length": 40}


def edges(call: TinyCall) -> dict[str, Any]:
    return {"control": {"edge": parts.clip(call.frames, call.width, call.height)}}


def call_transfer(call: TinyCall) -> dict[str, Any]:
    """In segments of nine frames, each of which begins with the last frame of the one before."""
    return call_later(call) | {"controls": edges(call)["control"]["edge"], "num_frames_per_chunk": 9}


def call_omni(call: TinyCall) -> dict[str, Any]:
    """With sound."""
    arguments = call_text(call) | {"enable_sound": True}
    del arguments["max_sequence_length"]
    return arguments


ROWS = (
    Tiny(
        "CosmosTextToWorldPipeline",
        build=lambda: build("CosmosTextToWorldPipeline"), call=call_text,
        sizes=SIZES, options=OPTIONS, core=True,
    ),
    Tiny(
        "CosmosVideoToWorldPipeline",
        build=lambda: build("CosmosVideoToWorldPipeline"),
        call=lambda call: call_text(call) | first_frame(call), given=first_frame,
        sizes=SIZES, options=OPTIONS, batch=False,
    ),
    Tiny(
        "CosmosVideoToWorldPipeline:video",
        build=lambda: build("CosmosVideoToWorldPipeline"),
        call=lambda call: call_text(call) | source(call), given=source,
        sizes=((17, 32, 32), (25, 48, 32)), options=OPTIONS, batch=False,
    ),
    Tiny(
        "Cosmos2VideoToWorldPipeline",
        build=lambda: build("Cosmos2VideoToWorldPipeline"),
        call=lambda call: call_text(call) | first_frame(call), given=first_frame,
        sizes=SECOND_SIZES, options=OPTIONS, batch=False,
    ),
    Tiny(
        "Cosmos2TextToImagePipeline",
        build=lambda: build("Cosmos2TextToImagePipeline"), call=text,
        sizes=((1, 32, 32), (1, 48, 32)), options=OPTIONS,
    ),
    Tiny(
        "Cosmos2_5_PredictBasePipeline",
        build=lambda: build_later("Cosmos2_5_PredictBasePipeline"), call=call_later,
        sizes=SECOND_SIZES, options=LATER_OPTIONS,
    ),
    Tiny(
        "Cosmos2_5_PredictBasePipeline:video",
        build=lambda: build_later("Cosmos2_5_PredictBasePipeline"),
        call=lambda call: call_later(call) | source(call), given=source,
        sizes=((9, 32, 32), (13, 48, 32)), options=LATER_OPTIONS, batch=False,
    ),
    Tiny(
        "Cosmos2_5_TransferPipeline",
        build=lambda: build_later("Cosmos2_5_TransferPipeline", controlnet=control_network),
        call=call_transfer, given=edges,
        sizes=((9, 32, 32), (17, 48, 32)), options=LATER_OPTIONS | {"num_frames_per_chunk": 9}, batch=False,
    ),
    Tiny(
        "Cosmos3OmniPipeline",
        build=build_omni, call=call_omni, sizes=SECOND_SIZES, options=SOUND, batch=False,
    ),
    Tiny(
        "Cosmos3OmniPipeline:image",
        build=build_omni, call=lambda call: call_omni(call) | first_frame(call), given=first_frame,
        sizes=SECOND_SIZES, options=SOUND, batch=False,
    ),
    Tiny(
        "Cosmos3OmniPipeline:video",
        build=build_omni, call=lambda call: call_omni(call) | source(call), given=source,
        sizes=((13, 32, 32), (17, 48, 32)), options=SOUND, batch=False,
    ),
)  # fmt: skip
