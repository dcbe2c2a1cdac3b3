"""Table of hosted modular pipelines: one row per class of diffusers (docs/guide/modular.md). No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .pipeline_row import DRIVEN, PipelineRow
from .pipelines import PIPELINES

_PACKED, _UNBATCHED = "b (f h w) c", "c f h w"
_IMAGE, _VIDEO, _START_END = {"image": "image"}, {"video": "video"}, {"image": "image", "last_image": "last_image"}

_PLACED = {"image": "image", "last_image": "", "images": "", "video": "", "control:reference": ""}

_CHECKER = PIPELINES["Cosmos3OmniPipeline"]


@dataclass(frozen=True)
class ModularRow(PipelineRow):
    """One modular pipeline class; what it is made from, text, image or video, selects its workflow.

    needs_guidance: whether its blocks fail where guidance is off. draws_before: condition -> how many draws its
    workflow makes before the initial noise. batches: as for other rows, but off: whether a clip of a batch is the clip
    alone has not been compared.
    """

    batches: bool = False
    needs_guidance: bool = False
    draws_before: Mapping[str, int] = field(default_factory=dict)


_ROWS = (
    ModularRow("WanModularPipeline", "wan", "Wan 2.1, text to video", needs_guidance=True, width=832, height=480,
               frames=81),
    ModularRow("WanImage2VideoModularPipeline", "wan", "Wan 2.1, image or first and last image to video", _START_END,
               ("image",), needs_guidance=True),
    ModularRow("Wan22ModularPipeline", "wan", "Wan 2.2, two experts, text to video", needs_guidance=True, width=832,
               height=480, frames=81),
    ModularRow("Wan22Image2VideoModularPipeline", "wan", "Wan 2.2, two experts, image to video", _IMAGE, ("image",),
               needs_guidance=True),
    ModularRow("Wan22VaceModularPipeline", "wan", "Wan 2.2 VACE, two experts: control, inpainting, references",
               {"video": "video", "mask": "mask", "references": "reference_images"}, needs_guidance=True, width=832,
               height=480),
    ModularRow("WanAnimate2ModularPipeline", "wan", "Wan-Animate-2: a character moves as in a video",
               {"image": "image", "control:driving": "driving_video"}, ("image", "control:driving"),
               latents=_UNBATCHED, noise=_UNBATCHED, mode=DRIVEN, sections=True, fps=24, frames=81),
    ModularRow("WanAnimate2DistilledModularPipeline", "wan", "Wan-Animate-2 in few steps",
               {"image": "image", "control:driving": "driving_video"}, ("image", "control:driving"),
               latents=_UNBATCHED, noise=_UNBATCHED, mode=DRIVEN, sections=True, fps=24, frames=81),
    ModularRow("HunyuanVideo15ModularPipeline", "hunyuan15", "HunyuanVideo 1.5, text or image to video", _IMAGE,
               needs_guidance=True, fps=24, width=848, height=480),
    ModularRow("LTXModularPipeline", "ltx", "LTX-Video, text or image to video", _IMAGE, needs_guidance=True,
               latents=_PACKED, draws_before={"image": 1}, fps=25, frames=161),
    ModularRow("LTX2ModularPipeline", "ltx2", "LTX-2, text, images, videos or a reference video to video with sound",
               _PLACED, adapter="ltx_conditions:build_modular", latents=_PACKED, noise=_PACKED, extras_behind=True,
               fps=24, frames=121, audio=True),
    ModularRow("LTX25ModularPipeline", "ltx2", "LTX-2.5, text, images, videos or a reference video to video with sound",
               _PLACED, adapter="ltx_conditions:build_modular", latents=_PACKED, noise=_PACKED, extras_behind=True,
               fps=24, frames=121, audio=True),
    ModularRow("EchoModularPipeline", "ltx2", "Echo, text, an image and remembered images to video with sound",
               {"image": "image", "references": "memory_images"}, latents=_PACKED, noise=_PACKED, fps=25, steps=8,
               audio=True),
    ModularRow("MiniMaxH3ModularPipeline", "minimax", "MiniMax-H3, text, images or references, with sound",
               _START_END | {"references": "references"}, adapter="frame_conditions:build_references",
               latents="(f h w) (c p q)", temporal=4, vae_segments=(5, 2), fps=24, frames=124, width=1344, height=768,
               draws_before={"image": 1, "last_image": 1, "references": 1}, audio=True),
    ModularRow("HeliosModularPipeline", "helios", "Helios, segment by segment", _IMAGE | _VIDEO, mode=DRIVEN,
               sections=True, fps=24, frames=129),
    ModularRow("HeliosPyramidModularPipeline", "helios", "Helios pyramid, segment by segment", _IMAGE | _VIDEO,
               mode=DRIVEN, sections=True, fps=24, frames=129),
    ModularRow("HeliosPyramidDistilledModularPipeline", "helios", "Helios pyramid in few steps, segment by segment",
               _IMAGE | _VIDEO, mode=DRIVEN, sections=True, fps=24, frames=129),
    ModularRow("Cosmos3OmniModularPipeline", "cosmos", "Cosmos 3 omni, text, image or video to video, with sound",
               _IMAGE | _VIDEO | {"control:": "control_videos"}, adapter="frame_conditions:build_controls",
               mode=DRIVEN, fps=24, frames=189, width=1280, height=720, audio=True, requires=_CHECKER.requires,
               packages=_CHECKER.packages, continues=True),
    ModularRow("Cosmos3DistilledModularPipeline", "cosmos", "Cosmos 3 in few steps, text, image or video to video",
               _IMAGE | _VIDEO, mode=DRIVEN, fps=24, frames=189, width=1280, height=720, requires=_CHECKER.requires,
               packages=_CHECKER.packages, continues=True),
)  # fmt: skip

MODULAR_PIPELINES: dict[str, ModularRow] = {row.name: row for row in _ROWS}

#: Modular video classes of diffusers that are not hosted, and why.
MODULAR_NOT_HOSTED: dict[str, str] = {}
