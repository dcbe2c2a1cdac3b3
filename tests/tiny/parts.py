"""Parts that several lineages share: tokenizers, text and image encoders, VAEs, conditions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

WORDS = ["a", "red", "blue", "ball", "square", "moves", "right", "left", "on", "black", "background", "blurry"]


def seed(value: int = 0) -> None:
    """Fix the weights of what is built next."""
    torch.manual_seed(value)


def word_tokenizer(length: int = 16, **tokens: str) -> Any:
    """A tokenizer of some words; tokens: further special tokens by role."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS, *tokens.values()])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=length,
        **tokens,
    )  # fmt: skip


def t5(width: int = 16) -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(T5Config(vocab_size=64, d_model=width, d_kv=8, d_ff=16, num_layers=1, num_heads=2)).eval()


def umt5(width: int = 16) -> Any:
    from transformers import UMT5Config, UMT5EncoderModel

    return UMT5EncoderModel(UMT5Config(vocab_size=64, d_model=width, d_kv=8, d_ff=16, num_layers=1, num_heads=2)).eval()


def clip_text(width: int = 16, length: int = 16, *, projection: int | None = None) -> Any:
    """CLIP's text encoder; with a projection, the class that has one."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=64, hidden_size=width, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=length, pad_token_id=0, eos_token_id=1, bos_token_id=1,
        projection_dim=projection or width,
    )  # fmt: skip
    return (CLIPTextModel if projection is None else CLIPTextModelWithProjection)(config).eval()


def clip_vision(width: int = 16, side: int = 32, *, projection: int | None = None) -> Any:
    """CLIP's image encoder for images of `side` px; with a projection, the class that has one."""
    from transformers import CLIPVisionConfig, CLIPVisionModel, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=width, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=side,
        patch_size=side // 2, projection_dim=projection or width,
    )  # fmt: skip
    return (CLIPVisionModel if projection is None else CLIPVisionModelWithProjection)(config).eval()


def image(width: int, height: int, shade: int = 0) -> Image.Image:
    """An image with a gradient and a square, another one for each shade (0 to 255)."""
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([columns * 255 // width, rows * 255 // height, np.full_like(rows, shade)], -1).astype(np.uint8)
    pixels[height // 4 : height // 2, width // 4 : width // 2] = (255 - shade, 40, 90)
    return Image.fromarray(pixels)


def clip(frames: int, width: int, height: int) -> list[Image.Image]:
    """A video whose shade changes with time."""
    return [image(width, height, 255 * frame // max(1, frames)) for frame in range(frames)]


def mask(frames: int, width: int, height: int) -> list[Image.Image]:
    """A mask video: a white rectangle on black."""
    pixels = np.zeros((height, width), np.uint8)
    pixels[height // 4 : height * 3 // 4, width // 2 :] = 255
    return [Image.fromarray(pixels)] * frames


def flow_unipc(shift: float = 3.0) -> Any:
    """UniPC as the checkpoints of Wan and SkyReels configure it."""
    from diffusers import UniPCMultistepScheduler

    return UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift, num_train_timesteps=1000
    )


def clip_image_processor(side: int = 32) -> Any:
    """CLIP's image processor for images of `side` px; the class that needs no torchvision."""
    from transformers import CLIPImageProcessorPil

    return CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})


def wan_vae(channels: int = 4) -> Any:
    """Wan's VAE of 2.1: 8 px and 4 frames per latent."""
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(
        base_dim=4, z_dim=channels, dim_mult=[1, 1, 1, 1], num_res_blocks=1,
        latents_mean=[0.1 * i for i in range(channels)], latents_std=[1.0 + 0.1 * i for i in range(channels)],
    ).eval()  # fmt: skip


def wan_vae_22(channels: int = 4) -> Any:
    """Wan's VAE of 2.2 TI2V: 16 px and 4 frames per latent, residual, pixels in patches of 2."""
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(
        base_dim=4, z_dim=channels, dim_mult=[1, 1, 1, 1], num_res_blocks=1, is_residual=True, patch_size=2,
        in_channels=12, out_channels=12, scale_factor_spatial=16,
        latents_mean=[0.1 * i for i in range(channels)], latents_std=[1.0 + 0.1 * i for i in range(channels)],
    ).eval()  # fmt: skip


def quiet(pipeline: Any) -> Any:
    """The pipeline without a progress bar."""
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def as_tensor(frames: list[Image.Image]) -> torch.Tensor:
    """[f, c, h, w] in 0..1."""
    return torch.stack([torch.from_numpy(np.array(frame)).permute(2, 0, 1) / 255 for frame in frames])


def hunyuan_vae(channels: int = 4, width: int = 4) -> Any:
    """HunyuanVideo's VAE: 8 px and 4 frames per latent."""
    from diffusers import AutoencoderKLHunyuanVideo

    return AutoencoderKLHunyuanVideo(
        latent_channels=channels, block_out_channels=(width,) * 4, layers_per_block=1, norm_num_groups=2
    ).eval()


def siglip_vision(width: int = 16, side: int = 32) -> Any:
    """SigLIP's image encoder for images of `side` px: four tokens."""
    from transformers import SiglipVisionConfig, SiglipVisionModel

    config = SiglipVisionConfig(
        hidden_size=width, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=side,
        patch_size=side // 2,
    )  # fmt: skip
    return SiglipVisionModel(config).eval()


def siglip_image_processor(side: int = 32) -> Any:
    """SigLIP's image processor for images of `side` px; the class that needs no torchvision."""
    from transformers import SiglipImageProcessorPil

    return SiglipImageProcessorPil(size={"height": side, "width": side})


def qwen_text_config(layers: int = 3) -> dict[str, Any]:
    """The language model of Qwen2.5-VL: rotary axes for time, height and width."""
    return {
        "vocab_size": 64, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": layers,
        "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 2048, "pad_token_id": 0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]},
    }  # fmt: skip


def qwen_text() -> Any:
    from transformers import Qwen2_5_VLTextConfig, Qwen2_5_VLTextModel

    return Qwen2_5_VLTextModel(Qwen2_5_VLTextConfig(**qwen_text_config())).eval()


def qwen_vl() -> Any:
    """Qwen2.5-VL with a tiny vision tower, which text-only prompts do not use."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    vision = {
        "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16,
        "patch_size": 8, "spatial_merge_size": 1, "window_size": 32, "fullatt_block_indexes": [0],
    }  # fmt: skip
    config = Qwen2_5_VLConfig(text_config=qwen_text_config(), vision_config=vision)
    return Qwen2_5_VLForConditionalGeneration(config).eval()


def fill_zeros(model: Any) -> Any:
    """The model with random values in each parameter that its class initialises with zeros, such as gates: otherwise
    the conditions have no effect."""
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def kl_vae(width: int = 8, *, levels: int = 4, groups: int = 4, **config: Any) -> Any:
    """The VAE of Stable Diffusion, eightfold at four levels."""
    from diffusers import AutoencoderKL

    config = dict(latent_channels=4, sample_size=32) | config
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(width,) * levels, norm_num_groups=groups, **config,
    ).eval()  # fmt: skip


def unet2d(width: int = 8, **config: Any) -> Any:
    """The image UNet of Stable Diffusion with two levels."""
    from diffusers import UNet2DConditionModel

    config = dict(
        sample_size=4, in_channels=4, out_channels=4, cross_attention_dim=16, attention_head_dim=2, layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(width, 2 * width), norm_num_groups=4,
    ) | config  # fmt: skip
    return UNet2DConditionModel(**config).eval()  # type: ignore[arg-type]


def qwen2_vl(width: int = 16) -> Any:
    """Qwen2-VL, read for its text states alone."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    text = dict(
        vocab_size=64, hidden_size=width, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=1, pad_token_id=0,
        rope_parameters={"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4},
    )  # fmt: skip
    vision = dict(depth=1, embed_dim=16, hidden_size=width, num_heads=2, patch_size=4, mlp_ratio=1)
    return Qwen2VLForConditionalGeneration(Qwen2VLConfig(text_config=text, vision_config=vision)).eval()


def pixels(clip: list[Image.Image]) -> Any:
    """A clip as a tensor [1, channels, frames, height, width] from 0 to 1."""
    frames = np.stack([np.atleast_3d(np.asarray(image)) for image in clip]).astype(np.float32) / 255
    return torch.from_numpy(frames).permute(3, 0, 1, 2)[None]
