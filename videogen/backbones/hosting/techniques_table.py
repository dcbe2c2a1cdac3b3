"""Table of techniques on hosted pipelines: what each can be combined with, and why where it cannot. No torch here.

`videogen models --table` prints it, and a request is checked against the same rules before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..anatomy import ANATOMY
from ..geometry import LatentGeometry
from ..lora.support import unsupported_reason
from .pipeline_row import DRIVEN, PipelineRow

_IN_ORDER = "its pipeline runs its steps once each, in order"
_SECTIONS = "its pipeline draws the noise of each section itself"
_CONDITIONED = "its conditions are of one clip, and each clip or window of a longer video would be given all of them"
_NOT_NOISE = "its loop does not begin with noise alone, so that a longer clip cannot begin as a window does"
_SOUND = "its sound is carried from step to step with the window's frames"
_NOT_NOISE_PIPELINES = ("CosmosTextToWorldPipeline",)
_NO_IMAGE = "it takes no image that a clip begins with"
_NO_LAST_IMAGE = "it takes no image that a clip ends with"
_SOUND_OF_ONE = "its sound is of one clip, and is not joined to that of the next"
_OTHER_CONDITIONS = "of its conditions, only images and references can be those of several clips"
#: pipelines whose image is not the first frame of the clip, and what it is
_OTHER_IMAGES = {
    "ChronoEditPipeline": "its image is one that it edits, and its clip the way to the result",
    "ConsisIDPipeline": "its image shows a person, and is not the clip's first frame",
    "HunyuanVideoFramepackPipeline": "it makes a long video of an image itself, in sections of one length",
}
_SHORTER = "its checkpoint leaves out the first four frames of a clip, and with them the image"
_OF_ANY_CLIP = {"image", "last_image", "images", "references"}
_PARTIAL = "its steps are of one section of the clip, not of all its frames"
_MIXED = "its latents have the condition in them, as further channels"
_OWN_LEVELS = "its noise levels are of its own making and cannot be read from its solver"
_OWN_LEVELS_PIPELINES = ("Cosmos2VideoToWorldPipeline",)
_LOOPS = "its pipeline makes a clip in sections, each with steps of its own that are not known ahead"
_FRAMEWISE = "its solver steps the frames as a batch, and predictions are not in the form of a clip"
_FRAMEWISE_PIPELINES = ("TextToVideoSDPipeline", "VideoToVideoSDPipeline", "I2VGenXLPipeline")
_DENSE_DENOISERS = {
    "SanaVideoPipeline": "SanaVideoTransformer3DModel",
    "SanaImageToVideoPipeline": "SanaVideoTransformer3DModel",
    "SanaWMPipeline": "SanaWMTransformer3DModel",
    "AnyFlowFARPipeline": "AnyFlowFARTransformer3DModel",
    **dict.fromkeys(
        ("Cosmos3OmniPipeline", "Cosmos3OmniModularPipeline", "Cosmos3DistilledModularPipeline"),
        "Cosmos3OmniTransformer",
    ),
    "WanAnimate2ModularPipeline": "WanAnimate2Transformer3DModel",
    "WanAnimate2DistilledModularPipeline": "WanAnimate2Transformer3DModel",
}
#: pipelines whose denoiser has no adapter loader in diffusers
_NO_ADAPTERS = {
    "StableVideoDiffusionPipeline": "UNetSpatioTemporalConditionModel",
    "TextToVideoSDPipeline": "UNet3DConditionModel",
    "VideoToVideoSDPipeline": "UNet3DConditionModel",
    "I2VGenXLPipeline": "I2VGenXLUNet",
    "AllegroPipeline": "AllegroTransformer3DModel",
    "LattePipeline": "LatteTransformer3DModel",
    "EasyAnimatePipeline": "EasyAnimateTransformer3DModel",
    "EasyAnimateInpaintPipeline": "EasyAnimateTransformer3DModel",
    "SanaWMPipeline": "SanaWMTransformer3DModel",
}
_PACKED = "its denoiser takes the tokens of text, video and sound in one list, not latents and a timestep"
_PACKED_PIPELINES = ("Cosmos3OmniPipeline", "Cosmos3OmniModularPipeline", "Cosmos3DistilledModularPipeline")
_TOKENWISE = "its solver steps each token at a level of its own, and predictions are not in the form of a clip"
_TOKENWISE_PIPELINES = ("SanaWMPipeline",)
_MIXED_PIPELINES = ("Kandinsky5I2VPipeline",)

#: (row, keys of the conditions that are given) -> why the technique cannot run; empty where it can
Rule = Callable[[PipelineRow, Sequence[str]], str]


@dataclass(frozen=True)
class Refusal:
    """Why a technique cannot run on a model: its name as the table has it, the reason, and what to do instead."""

    title: str
    reason: str
    instead: str


@dataclass(frozen=True)
class HostedTechnique:
    """A technique on hosted pipelines. title: a column of the table; instead: what a message suggests; by_inputs:
    whether it depends on the inputs alone, so that the rule is also that of pipelines which run by videogen's code."""

    title: str
    rule: Rule
    instead: str = "leave it out"
    by_inputs: bool = False


def _needs_weights(row: PipelineRow, given: Sequence[str]) -> str:
    denoiser = _DENSE_DENOISERS.get(row.name)
    return ANATOMY[denoiser].dense_only if denoiser else ""


def _needs_one_loop(row: PipelineRow, given: Sequence[str]) -> str:
    return _LOOPS if row.sections else ""


def _needs_latents(row: PipelineRow, given: Sequence[str]) -> str:
    return _needs_one_loop(row, given) or (_PACKED if row.name in _PACKED_PIPELINES else "")


def _needs_any_order(row: PipelineRow, given: Sequence[str]) -> str:
    return _IN_ORDER if row.mode == DRIVEN else ""


def _needs_known_noise(row: PipelineRow, given: Sequence[str]) -> str:
    refused = _needs_latents(row, given) or _needs_any_order(row, given)
    return refused or (_OWN_LEVELS if row.name in _OWN_LEVELS_PIPELINES else "")


def _needs_one_draw(row: PipelineRow, given: Sequence[str]) -> str:
    return _SECTIONS if row.mode == DRIVEN else ""


def _needs_late_start(row: PipelineRow, given: Sequence[str]) -> str:
    return _needs_any_order(row, given) or _needs_plain_latents(row, given)


def _needs_plain_latents(row: PipelineRow, given: Sequence[str]) -> str:
    if row.mode == DRIVEN:
        return _PARTIAL
    if row.name in _TOKENWISE_PIPELINES:
        return _TOKENWISE
    return _MIXED if row.name in _MIXED_PIPELINES else ""


def _needs_predictions(row: PipelineRow, given: Sequence[str]) -> str:
    return _needs_plain_latents(row, given) or (_FRAMEWISE if row.name in _FRAMEWISE_PIPELINES else "")


def _needs_joins(row: PipelineRow, given: Sequence[str]) -> str:
    return _needs_any_order(row, given) or (_CONDITIONED if given or row.needs else "")


def _needs_windows(row: PipelineRow, given: Sequence[str]) -> str:
    sound = _SOUND if row.audio else ""
    return _needs_joins(row, given) or sound or (_NOT_NOISE if row.name in _NOT_NOISE_PIPELINES else "")


def _needs_blending(row: PipelineRow, given: Sequence[str]) -> str:
    return _needs_joins(row, given) or (_SOUND if row.audio else "") or _needs_predictions(row, given)


def _needs_image(row: PipelineRow, given: Sequence[str]) -> str:
    if "image" not in row.inputs:
        return _NO_IMAGE
    if row.name in _OTHER_IMAGES:
        return _OTHER_IMAGES[row.name]
    if not all(set(key.split("|")) & _OF_ANY_CLIP for key in given):
        return _OTHER_CONDITIONS
    return _SOUND_OF_ONE if row.audio else ""


def _needs_last_image(row: PipelineRow, given: Sequence[str]) -> str:
    return _needs_image(row, given) or ("" if "last_image" in row.inputs else _NO_LAST_IMAGE)


def _needs_adapters(row: PipelineRow, given: Sequence[str]) -> str:
    denoiser = _NO_ADAPTERS.get(row.name)
    return unsupported_reason(denoiser) if denoiser else ""


_SINGLE_CLIP = "render a single clip: continuity='off'"

TECHNIQUES: dict[str, HostedTechnique] = {
    "attention": HostedTechnique("sparse attention", _needs_weights, "use attention='dense'"),
    "propagation": HostedTechnique("propagation", _needs_latents),
    "roll_back": HostedTechnique("max_error", _needs_known_noise, "use propagate='every:2'"),
    "warped_noise": HostedTechnique("warped noise", _needs_one_draw),
    "dual_clock": HostedTechnique("dual clock", _needs_late_start, "use motion_backend='warped_noise' where that runs"),
    "replay": HostedTechnique("replay", _needs_joins, _SINGLE_CLIP),
    "windows": HostedTechnique("windows", _needs_windows, _SINGLE_CLIP),
    "blend": HostedTechnique("prompt blend", _needs_blending, "let the shot begin with a cut"),
    "i2v_prefix": HostedTechnique("i2v_prefix", _needs_image, _SINGLE_CLIP, by_inputs=True),
    "keyframes": HostedTechnique("keyframes", _needs_last_image, _SINGLE_CLIP, by_inputs=True),
    "previews": HostedTechnique("previews", _needs_predictions),
    "stream": HostedTechnique("streaming decode", _needs_joins),
    "resume": HostedTechnique("resume", _needs_joins),
    "lora": HostedTechnique("LoRA", _needs_adapters),
}


def find_refusal(row: PipelineRow, technique: str, given: Sequence[str] = ()) -> Refusal | None:
    """Why a technique, a key of `TECHNIQUES`, cannot run on a pipeline with these conditions; None where it can."""
    known = TECHNIQUES[technique]
    reason = known.rule(row, given)
    return Refusal(known.title, reason, known.instead) if reason else None


def find_checkpoint_refusal(technique: str, config: Mapping[str, Any], accepts: Sequence[str]) -> Refusal | None:
    """The same for what only some checkpoints of a class cannot do. config: the denoiser's; accepts: the checkpoint's
    conditions."""
    known, reason = TECHNIQUES[technique], ""
    if known.by_inputs and config.get("image_condition_type") == "latent_concat":
        reason = _SHORTER
    elif technique == "keyframes" and "last_image" not in accepts:
        reason = _NO_LAST_IMAGE
    return Refusal(known.title, reason, known.instead) if reason else None


#: frames per latent frame of the published checkpoints, where the row does not state it
_TEMPORAL = {
    "wan": 4, "anyflow": 4, "skyreels": 4, "helios": 4, "hunyuan": 4, "hunyuan15": 4, "kandinsky": 4, "cogvideox": 4,
    "ltx": 8, "ltx2": 8, "cosmos": 4, "allegro": 4, "easyanimate": 4, "motif": 4, "sana": 4,
    "minimax": 4,
}  # fmt: skip


def frame_rule(row: PipelineRow) -> str:
    """Which lengths a pipeline takes: `4k+1`, `4k` or `any`."""
    ratio = row.temporal or _TEMPORAL[row.lineage]
    if ratio == 1:
        return "any"
    if row.vae_segments[0] > 1:
        return LatentGeometry(1, 1, ratio, 1, row.causal, 1, *row.vae_segments).rule
    return f"{ratio}k+1" if row.causal else f"{ratio}k"
