"""Stages of a render, counted: what encoding the text, denoising and decoding allocate and compute, without values.

Peaks are above the weights; which weights are on the device meanwhile depends on the residency (`residency.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from videogen.backbones.conditioning import Conditioning
from videogen.backbones.guided import guide
from videogen.core.branch import Branch
from videogen.core.errors import UnsupportedError, VideogenError
from videogen.request.continuity_policies import PIPELINE_GUIDANCE
from videogen.request.resolved import ResolvedRequest

from .counted import Counted
from .counter import LiveStorageCounter, OperatorCall
from .denoiser_inputs import CallShape, find_inputs
from .pipeline_calls import count_pipeline
from .planned_model import PlannedModel

TEXT, DENOISE, DECODE = "text", "denoise", "decode"
STAGES = (TEXT, DENOISE, DECODE)
#: text tokens of a model that states none
_TEXT_TOKENS = 512
_LONGEST_TEXT = 4096


@dataclass(frozen=True)
class StageCount:
    """One stage. components: those that compute in it; activations: peak bytes above the weights; flops, calls: of one
    repetition; repetitions: model calls per clip, of which each takes as long; known: whether it could be counted."""

    name: str
    components: tuple[str, ...]
    activations: int
    flops: int = 0
    calls: Counter[OperatorCall] = field(default_factory=Counter)
    repetitions: int = 1
    known: bool = True

    def again(self, repetitions: int) -> StageCount:
        return replace(self, repetitions=repetitions)


def count_stages(model: PlannedModel, request: ResolvedRequest, steps: int, batch: int = 1) -> dict[str, StageCount]:
    """Encoding and denoising, by name. steps: model calls of the plan; batch: clips at once. UnsupportedError for a
    denoiser that does not run without values."""
    if request.guidance_mode == PIPELINE_GUIDANCE:
        return _count_hosted(model, request, steps, batch)
    return {TEXT: count_text(model, request), DENOISE: count_denoise(model, request, steps, batch)}


def _count_hosted(model: PlannedModel, request: ResolvedRequest, steps: int, batch: int) -> dict[str, StageCount]:
    """By the pipeline's own code where it runs: without its tokenizer, from inputs of the denoiser's class."""
    try:
        found = count_pipeline(model, request, _latent_frames(model, request), batch)
    except Exception as error:  # whatever the pipeline's code raises without values
        try:
            return {TEXT: count_text(model, request), DENOISE: count_denoise(model, request, steps, batch)}
        except UnsupportedError as without_inputs:
            raise UnsupportedError(f"{without_inputs}; its pipeline stops at {_first_line(error)}") from error
    encode, step = found.encode, found.step
    return {
        TEXT: StageCount(TEXT, tuple(model.encoders), encode.peak, encode.flops, encode.calls),
        DENOISE: StageCount(DENOISE, tuple(model.denoisers()), step.peak, step.flops, step.calls, steps),
    }


def _latent_frames(model: PlannedModel, request: ResolvedRequest) -> int:
    frames = request.window if request.is_long else request.generated_frames
    return model.backbone.geometry.shape(frames, request.height, request.width)[2]


def count_text(model: PlannedModel, request: ResolvedRequest) -> StageCount:
    """The encoders of text, each called once per prompt; the larger of their peaks."""
    encoders = {name: part for name, part in model.encoders.items() if _encodes_text(name, part)}
    counts = [_count_encoder(model, request, part) for part in encoders.values()]
    found = [one for one in counts if one is not None]
    calls = sum((one.calls for one in found), Counter[OperatorCall]())
    return StageCount(
        TEXT, tuple(encoders), max((one.peak for one in found), default=0), sum(one.flops for one in found), calls,
        2 if _guided(request) else 1, known=len(found) == len(counts),
    )  # fmt: skip


def count_denoise(model: PlannedModel, request: ResolvedRequest, steps: int, batch: int = 1) -> StageCount:
    """One guided prediction. steps: model calls of the plan; batch: clips at once. UnsupportedError for a denoiser
    whose inputs are not known."""
    shape = model.backbone.geometry.shape(
        request.window if request.is_long else request.generated_frames, request.height, request.width
    )
    predict = _predict_hosted if request.guidance_mode == PIPELINE_GUIDANCE else _predict_own
    name = type(next(iter(model.denoisers().values()))).__name__
    with explain_failure(name), Counted(model, *model.denoisers().values()) as counter:
        repetitions = predict(model, request, (shape[1], shape[2], shape[3], shape[4]), batch)
    return StageCount(
        DENOISE, tuple(model.denoisers()), counter.peak, counter.flops, counter.calls, steps * repetitions
    )


def count_decode(model: PlannedModel, request: ResolvedRequest, *, tiling: bool, batch: int = 1) -> StageCount:
    """Decoding the final latents to uint8 frames, in tiles or not."""
    frames = request.window if request.is_long else request.generated_frames
    shape = model.backbone.geometry.shape(frames, request.height, request.width)
    vae: Any = model.backbone.components()["vae"]
    if tiling:
        vae.enable_tiling()
    try:
        return _count_decode(model, request, (batch, *shape[1:]))
    except UnsupportedError:
        raise
    except NotImplementedError as error:  # a VAE that only decodes in tiles
        if tiling:
            raise UnsupportedError(f"{type(vae).__name__} cannot be planned: {error}") from error
        return count_decode(model, request, tiling=True, batch=batch)
    finally:
        if tiling:
            vae.disable_tiling()


def _count_decode(model: PlannedModel, request: ResolvedRequest, shape: tuple[int, ...]) -> StageCount:
    vae: Any = model.backbone.components()["vae"]
    with explain_failure(type(vae).__name__), Counted(model, vae) as counter:
        latents = torch.empty(shape, dtype=_latents_dtype(model, request))
        pixels = model.backbone.decode(latents)
        torch.isfinite(pixels).all()
        frames_rgb = (pixels * 255).round().to(torch.uint8)
        del pixels, frames_rgb
    return StageCount(DECODE, ("vae",), counter.peak, counter.flops, counter.calls)


@contextmanager
def explain_failure(name: str) -> Iterator[None]:
    """Whatever a model raises that looks at values, as an UnsupportedError. name: its class."""
    try:
        yield
    except (VideogenError, NotImplementedError):
        raise
    except Exception as error:
        raise UnsupportedError(
            f"{name} cannot be planned: it does not run without values ({_first_line(error)})"
        ) from error


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:120] if text else type(error).__name__


def _predict_own(model: PlannedModel, request: ResolvedRequest, latents: tuple[int, int, int, int], batch: int) -> int:
    """One guided prediction of a family written here. Returns how often it is made per step."""
    backbone = model.backbone
    width = _text_width(model)
    text = torch.empty(batch, _text_tokens(model, request), width, dtype=model.dtype)
    conditioning = Conditioning(text, torch.empty_like(text) if _guided(request) else None)
    noisy, timestep = torch.empty(batch, *latents, dtype=torch.float32), torch.tensor(999.0)

    def evaluate(given: torch.Tensor, text: torch.Tensor, branch: Branch) -> torch.Tensor:
        return backbone.predict(given, timestep, text)

    prediction = guide(evaluate, noisy.to(model.dtype), conditioning, request.guidance_scale, request.guidance_mode)
    stepped = noisy + prediction.float()
    del stepped
    return 1


def _predict_hosted(
    model: PlannedModel, request: ResolvedRequest, latents: tuple[int, int, int, int], batch: int
) -> int:
    """One call of a hosted pipeline's denoiser, with both guidance branches where they are one batch."""
    denoiser: Any = next(iter(model.denoisers().values()))
    row = find_inputs(denoiser)
    guided = request.guidance_scale > 1 and not row.embedded
    samples = batch * (2 if guided and row.batched else 1)
    shape = CallShape(
        samples, latents, _text_tokens(model, request), model.dtype, request.fps, (request.height, request.width)
    )
    state = torch.empty(batch, *latents, dtype=torch.float32)
    result = denoiser(**row.build(shape, denoiser.config), return_dict=False)
    del state, result
    return 2 if guided and not row.batched else 1


def _latents_dtype(model: PlannedModel, request: ResolvedRequest) -> torch.dtype:
    """Of the latents that are decoded."""
    if request.guidance_mode == PIPELINE_GUIDANCE:
        return model.dtype
    solver = model.backbone.build_solver(request.solver, request.steps)
    return model.backbone.start(torch.empty(1, 1, 1, 1, 1), solver).dtype


def _guided(request: ResolvedRequest) -> bool:
    return max(request.guidance_scale, request.guidance_scale_2 or 0.0) > 1


def _text_tokens(model: PlannedModel, request: ResolvedRequest) -> int:
    """Tokens of a text as the denoiser is given it."""
    given = request.options.get("max_sequence_length")
    if isinstance(given, int):
        return given
    try:
        limit = int(model.backbone.text_limit)
    except (AttributeError, TypeError):  # an outline has no tokenizer
        limit = _encoder_limit(model)
    return limit if 0 < limit <= _LONGEST_TEXT else _encoder_limit(model)


def _encoder_limit(model: PlannedModel) -> int:
    configs: list[Any] = [part.config for name, part in model.encoders.items() if _encodes_text(name, part)]
    stated = (getattr(config, "max_position_embeddings", None) for config in configs)
    return min((int(limit) for limit in stated if limit), default=_TEXT_TOKENS)


def _text_width(model: PlannedModel) -> int:
    config: Mapping[str, Any] = next(iter(model.denoisers().values())).config  # type: ignore[assignment]
    names = ("text_dim", "text_embed_dim", "caption_channels", "cross_attention_dim")
    return int(next(config[name] for name in names if isinstance(config.get(name), int)))


def _encodes_text(name: str, part: nn.Module) -> bool:
    return name.startswith("text_encoder") and callable(getattr(part, "forward", None))


def _count_encoder(model: PlannedModel, request: ResolvedRequest, encoder: nn.Module) -> LiveStorageCounter | None:
    """One text through an encoder; None for one that cannot run without values."""
    tokens = min(_text_tokens(model, request), _encoder_limit(model))
    attempts: tuple[Callable[[], Any], ...] = (
        lambda: encoder(_ids(tokens), attention_mask=_ids(tokens)),
        lambda: encoder(_ids(tokens)),
        lambda: encoder(input_ids=_ids(tokens)),
    )
    for attempt in attempts:
        try:
            with Counted(model, encoder) as counter:
                result = attempt()
                del result
            return counter
        except Exception:  # whatever code that looks at values raises without any
            continue
    return None


def _ids(tokens: int) -> torch.Tensor:
    return torch.zeros(1, tokens, dtype=torch.int64)
