"""Techniques of a request, as objects for the denoising loop."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from videogen.backbones.base import Backbone
from videogen.propagation.caches import LibraryCache
from videogen.request.resolved import ResolvedRequest
from videogen.sampling.sample import begin_outline, plan_of
from videogen.sampling.technique import AttachedTechnique, Technique

from .compiled_blocks import CompiledBlocks
from .feature_cache import LibraryCacheTechnique
from .kernel_validation import KernelValidation
from .lora_schedule import LoraSchedule
from .propagation import PropagationTechnique
from .sparse_attention import SparseAttentionTechnique


def check_techniques(request: ResolvedRequest, backbone: Backbone) -> None:
    """Attach a request's techniques to a model and remove them again: raises what does not fit the model or the solver.

    backbone: also one without weights.
    """
    frames = request.window if request.is_long else request.generated_frames
    latents = backbone.geometry.shape(frames, request.height, request.width)[2]
    backbone.adaptation.check(request.loras, request.embeddings)
    state, plan = begin_outline(backbone, request, latents), plan_of(backbone, request)
    with closing(state.clip):
        for technique in build_techniques(request):
            technique.begin(backbone, plan, state)
            if isinstance(technique, AttachedTechnique):
                technique.close()


def build_lora_schedule(request: ResolvedRequest) -> list[Technique]:
    """The schedule of a request's LoRAs, where one of them is on for a part of the run; every run of the model has
    it."""
    return [] if all(lora.is_constant for lora in request.loras) else [LoraSchedule(request.loras)]


def build_techniques(
    request: ResolvedRequest, visible_frames: tuple[int, ...] = (), *, per_frame_timesteps: bool = False
) -> list[Technique]:
    """The techniques of a request, outermost first: attention must see every model call.

    visible_frames: latent frames that every query attends to. per_frame_timesteps: frames have separate timesteps at
    each step, so that propagation does not batch several steps into one model call.
    """
    sparse, propagation = request.attention, request.propagation
    found: list[Technique] = [*build_lora_schedule(request)]
    if request.request.validate:
        found.insert(0, KernelValidation(request.request.strict, compiled=bool(request.compile)))
    if isinstance(propagation, LibraryCache):
        found.append(
            LibraryCacheTechnique(
                propagation, one_branch_per_call=request.guidance_mode == "sequential" or not request.guided
            )
        )
    elif propagation is not None:
        single = replace(propagation, micro_batch=1) if per_frame_timesteps else propagation
        found.append(PropagationTechnique(single, sparse))
    if sparse is not None:
        found.append(SparseAttentionTechnique(sparse, visible_frames))
    if request.compile:
        found.append(CompiledBlocks())
    return found
