"""Table of hosted modular pipelines: one row per class of diffusers (docs/guide/modular.md). No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .pipeline_row import DRIVEN, PipelineRow

_PACKED = "b (f h w) c"
_IMAGE, _VIDEO, _START_END = {"image": "image"}, {"video": "video"}, {"image": "image", "last_image": "last_image"}

_PLACED = {"image": "image", "last_image": "", "images": "", "video": "", "control:reference": ""}


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
    ModularRow("HeliosModularPipeline", "helios", "Helios, segment by segment", _IMAGE | _VIDEO, mode=DRIVEN,
               sections=True, fps=24),
    ModularRow("HeliosPyramidModularPipeline", "helios", "Helios pyramid, segment by segment", _IMAGE | _VIDEO,
               mode=DRIVEN, sections=True, fps=24),
    ModularRow("HeliosPyramidDistilledModularPipeline", "helios", "Helios pyramid in few steps, segment by segment",
               _IMAGE | _VIDEO, mode=DRIVEN, sections=True, fps=24),
)  # fmt: skip

MODULAR_PIPELINES: dict[str, ModularRow] = {row.name: row for row in _ROWS}

_UNVERIFIED = "its hosted form has not been compared with the library's own, since no small model of it is built yet"

#: Modular video classes of diffusers that are not hosted, and why.
MODULAR_NOT_HOSTED: dict[str, str] = {
    "EchoModularPipeline": "its loop goes over noise levels, without timesteps and without a scheduler",
    "MiniMaxH3ModularPipeline": _UNVERIFIED,
    "WanAnimate2ModularPipeline": _UNVERIFIED,
    "WanAnimate2DistilledModularPipeline": _UNVERIFIED,
    "Cosmos3OmniModularPipeline": f"{_UNVERIFIED}, and it needs the safety checker of its publisher",
    "Cosmos3DistilledModularPipeline": f"{_UNVERIFIED}, and it needs the safety checker of its publisher",
}
