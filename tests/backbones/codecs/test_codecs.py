"""Each class of VAE: its codec decodes as its pipelines do, bit for bit, also as a stream, and encodes."""

from __future__ import annotations

import inspect
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.tiny.table import TinyCall, load_rows
from videogen.backbones.codecs.codec import Codec, build_codec
from videogen.backbones.codecs.table import CODECS, WITHOUT_CODEC
from videogen.backbones.hosting.backbone import HostedBackbone
from videogen.backbones.hosting.pipelines import PIPELINES
from videogen.core.errors import UnsupportedError
from videogen.engine.run import Run
from videogen.request.request import RenderRequest
from videogen.request.resolve import resolve

ROWS = load_rows()
#: one pipeline per codec; those of the quick selection decode in a stream
CORE = ("WanPipeline", "HunyuanVideoPipeline", "LTXPipeline", "CogVideoXPipeline")
FURTHER = (
    "AllegroPipeline", "AnimateDiffPipeline", "CosmosTextToWorldPipeline", "Cosmos2VideoToWorldPipeline",
    "EasyAnimatePipeline", "HunyuanVideo15Pipeline", "Kandinsky5T2VPipeline", "LattePipeline", "MochiPipeline",
    "MotifVideoPipeline", "SanaVideoPipeline", "SkyReelsV2Pipeline", "StableVideoDiffusionPipeline",
    "TextToVideoSDPipeline",
)  # fmt: skip
#: arguments of the tiny rows that the engine's keywords state
ENGINES = ("guidance_scale", "true_cfg_scale", "frame_rate", "fps", "min_guidance_scale", "max_guidance_scale")


def pipelines() -> list[Any]:
    return [*CORE, *(pytest.param(name, marks=pytest.mark.slow) for name in FURTHER)]


def generated(name: str) -> tuple[HostedBackbone, torch.Tensor, torch.Tensor]:
    """(backbone, final latents, pixels of the pipeline's own decoding) of two steps."""
    row = ROWS[name]
    backbone = HostedBackbone(row.build(), name, "")
    frames, width, height = row.sizes[-1]
    options = {key: value for key, value in row.options.items() if key not in ENGINES}
    request = RenderRequest(
        prompt="a red ball", frames=frames, width=width, height=height, steps=2, seed=1, noise="diffusers",
        conditions=row.given(TinyCall(frames, width, height)) or None, options=options or None, continuity="off",
    )  # fmt: skip
    run = Run(backbone, [resolve(request, backbone)], None)
    try:
        latents, _ = run.sample()
        assert run.clip is not None
        return backbone, latents, run.clip.decode(latents)
    finally:
        run.close()


@pytest.mark.parametrize("name", pipelines())
@torch.inference_mode()
def test_the_codec_decodes_as_the_pipeline_does(name: str) -> None:
    backbone, latents, pixels = generated(name)
    own = backbone.decode(latents)
    if "Cosmos" in name:  # its safety checker is given, and returns, integers
        own = (own * 255).to(torch.uint8) / 255
        torch.testing.assert_close(own, pixels, rtol=0, atol=1e-6)
    else:
        assert torch.equal(own, pixels)
    encoded = backbone.encode((pixels * 255).round().to(torch.uint8))
    assert encoded.shape == latents.shape and encoded.dtype == torch.float32 and encoded.std() > 1e-3


def codec_of(name: str) -> Codec:
    return build_codec(ROWS[name].build(), PIPELINES[name].lineage)


def random_latents(codec: Codec, frames: int, side: int = 4) -> torch.Tensor:
    channels = codec.vae.config.get("z_dim") or codec.vae.config.latent_channels
    return torch.randn(1, channels, frames, side, side, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def check_streams(codec: Codec, frames: int, split: int, side: int = 4) -> None:
    """A stream, and a fork of it from the middle on, equals one decode."""
    latents = random_latents(codec, frames, side)
    expected = codec.decode(latents)
    decoder, fork = codec.stream(frames), None
    parts: list[torch.Tensor] = []
    for number, part in enumerate(latents.split(split, 2)):
        if number == 1:
            fork, before, rest = decoder.fork(), list(parts), latents[:, :, number * split :]
        parts.append(decoder.push(part))
    assert torch.equal(torch.cat([*parts, decoder.finish()], 1), expected)
    assert (decoder.taken, decoder.given) == (frames, expected.shape[1])
    if fork is not None:
        assert torch.equal(torch.cat([*before, fork.push(rest), fork.finish()], 1), expected)


@pytest.mark.parametrize("split", [1, 2, 5])
@pytest.mark.parametrize("frames", [1, 2, 5, 6, 9])
@pytest.mark.parametrize("name", pipelines())
def test_a_stream_equals_one_decode(name: str, frames: int, split: int) -> None:
    check_streams(codec_of(name), frames, split)


@pytest.mark.parametrize("name", ["WanPipeline", "HunyuanVideoPipeline", "CogVideoXPipeline"])
def test_a_stream_equals_one_decode_with_tiles(name: str) -> None:
    codec = codec_of(name)
    overlap: dict[str, Any] = {"tile_sample_stride_height": 24, "tile_sample_stride_width": 24}
    if name == "CogVideoXPipeline":
        overlap = {"tile_overlap_factor_height": 0.25, "tile_overlap_factor_width": 0.25}
    codec.vae.enable_tiling(tile_sample_min_height=32, tile_sample_min_width=32, **overlap)
    for frames in (5, 6):
        check_streams(codec, frames, 2, side=6)


@pytest.mark.parametrize("frames", [2, 3, 6, 7])
def test_temporal_tiles_of_ltx(frames: int) -> None:
    codec = codec_of("LTXPipeline")
    codec.vae.use_framewise_decoding = True
    check_streams(codec, frames, 2)


def test_only_a_part_of_a_stream_is_held() -> None:
    """Pixels come as latents do, rather than at the end."""
    for name in CORE:
        codec = codec_of(name)
        decoder = codec.stream(25)
        for latents in random_latents(codec, 25).split(1, 2):
            decoder.push(latents)
        assert decoder.given > 0, name


def ltx2_vae() -> Any:
    from diffusers import AutoencoderKLLTX2Video

    torch.manual_seed(0)
    widths = (8, 16, 32, 32)
    vae = AutoencoderKLLTX2Video(
        latent_channels=4, block_out_channels=widths, decoder_block_out_channels=widths[:3],
        layers_per_block=(1,) * 5, decoder_layers_per_block=(1,) * 4, spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    ).eval()  # fmt: skip
    vae.latents_mean += 0.1
    vae.latents_std *= 0.9
    return vae


@torch.inference_mode()
def test_ltx2() -> None:
    vae = ltx2_vae()
    codec = build_codec(SimpleNamespace(vae=vae, _execution_device="cpu"), "ltx2")
    latents = random_latents(codec, 3)
    scaled = latents * vae.latents_std.view(1, -1, 1, 1, 1) / vae.config.scaling_factor + 0.1
    expected = (vae.decode(scaled, None, return_dict=False)[0] / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 4, 1)
    assert torch.equal(codec.decode(latents), expected)
    torch.testing.assert_close(codec.normalise(codec.denormalise(latents)), latents)
    check_streams(codec, 3, 2)


@pytest.mark.parametrize("name", ["LTXPipeline:decode-noise"])
def test_a_vae_that_needs_a_timestep_is_refused(name: str) -> None:
    codec = build_codec(ROWS[name].build(), "ltx")
    with pytest.raises(UnsupportedError, match="conditioned on a timestep and draws noise"):
        codec.decode(random_latents(codec, 2))


@torch.inference_mode()
def test_a_stream_that_ends_early_has_the_frames_of_the_clip_that_was_announced() -> None:
    codec = codec_of("CogVideoXPipeline")
    latents = random_latents(codec, 7)
    decoder = codec.stream(7)
    pixels = torch.cat([decoder.push(latents[:, :, :6]), decoder.finish()], 1)
    assert torch.equal(pixels[:, :17], codec.decode(latents)[:, :17])


@pytest.mark.slow
def test_each_vae_of_a_hosted_pipeline_has_a_codec_or_a_reason() -> None:
    import diffusers

    unknown = {}
    for name in PIPELINES:
        parameter = inspect.signature(getattr(diffusers, name).__init__).parameters.get("vae")
        kinds = set() if parameter is None else set(re.findall(r"Autoencoder\w+", str(parameter.annotation)))
        if missing := kinds - {*CODECS, *WITHOUT_CODEC}:
            unknown[name] = missing
    assert not unknown


def test_a_vae_without_a_codec_is_refused() -> None:
    class AutoencoderDC:
        pass

    with pytest.raises(UnsupportedError, match="AutoencoderDC cannot be used outside its pipeline's call: it is an"):
        build_codec(SimpleNamespace(vae=AutoencoderDC()))
