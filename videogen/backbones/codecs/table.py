"""Table of codecs: one row per VAE class of diffusers (docs/extending/pipeline.md). No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class CodecRow:
    """A class of VAE.

    home: its codec, as `module:Class` of this package; forms: those of lineages that scale the latents of the same VAE
    in another way. streams: in constant memory as latents arrive; otherwise they are held until the last. tiles_only:
    whether the class decodes and encodes in tiles alone, one clip at a time.
    """

    name: str
    home: str
    streams: bool
    description: str
    forms: Mapping[str, str] = field(default_factory=dict)
    tiles_only: bool = False


CODECS: dict[str, CodecRow] = {
    row.name: row
    for row in (
        CodecRow(
            "AutoencoderKLWan", "wan:WanCodec", True, "causal, latent frame by latent frame",
            {"motif": "wan:MotifCodec", "cosmos": "wan:CosmosWanCodec"},
        ),
        CodecRow("AutoencoderKLHunyuanVideo", "temporal_tiles:HunyuanVideoCodec", True, "overlapping temporal tiles"),
        CodecRow("AutoencoderKLHunyuanVideo15", "scaled:ScaledCodec", False, "the entire clip"),
        CodecRow("AutoencoderKLLTXVideo", "ltx:LTXVideoCodec", True, "convolutions over time with a look-ahead"),
        CodecRow("AutoencoderKLLTX2Video", "ltx:LTX2VideoCodec", False, "the entire clip"),
        CodecRow("AutoencoderKLCogVideoX", "cogvideox:CogVideoXCodec", True, "pairs of latent frames, the first three"),
        CodecRow("AutoencoderKLMochi", "mean_std:MochiCodec", False, "the entire clip"),
        CodecRow("AutoencoderKLAllegro", "scaled:AllegroCodec", False, "overlapping tiles", tiles_only=True),
        CodecRow("AutoencoderKLMagvit", "scaled:InverseScaledCodec", False, "groups of latent frames"),
        CodecRow("AutoencoderKLCosmos", "mean_std:CosmosCodec", False, "the entire clip"),
        CodecRow(
            "AutoencoderKL", "framewise:FramewiseCodec", True, "each frame, in groups",
            {
                "latte": "framewise:LatteCodec", "modelscope": "framewise:ClipCodec",
                "i2vgen": "framewise:ClipCodec",
            },
        ),
        CodecRow("AutoencoderKLTemporalDecoder", "framewise:TemporalDecoderCodec", False, "the entire clip"),
    )
}  # fmt: skip

#: VAE classes of video pipelines that have no codec, and why.
WITHOUT_CODEC: dict[str, str] = {
    "AutoencoderDC": "it is an image VAE, which the video pipelines that name it cannot decode a clip with",
}
