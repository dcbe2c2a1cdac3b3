"""Model of diffusers with propagation attached: each of its calls is given to the run."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import torch
from torch import nn

from videogen.core.attachment import ForwardAttachment, attachments_on
from videogen.core.errors import InputError, UnsupportedError

from .build_cut import build_cut
from .cut import ModelOutput
from .denoiser_call import DenoiserCall
from .key_step_frames import KeyStepFrames
from .library_hooks import has_library_cache
from .model_call import ModelCall

if TYPE_CHECKING:
    from .handle import PropagationHandle


class PropagatedModel(ForwardAttachment):
    """One denoiser of a pipeline, and its cut."""

    kind = "propagation"

    def __init__(self, name: str, model: nn.Module, handle: PropagationHandle) -> None:
        self.name, self.handle, self._model = name, handle, model
        self._signature = inspect.signature(model.forward)
        config = handle.config
        # attached first, as it must be innermost
        self.key_step_frames = KeyStepFrames(model, config.frames, config.frames_gate) if config.frames > 1 else None
        try:
            self.cut = build_cut(model, config)
        except BaseException:
            if self.key_step_frames:
                self.key_step_frames.close()
            raise
        self.denoiser = handle.run.add_denoiser(self.cut, self.key_step_frames, lambda: has_fixed_batch(model))
        self._called = True
        super().__init__(model)
        self._hooks = [
            model.register_forward_pre_hook(self._before_call),
            model.register_forward_hook(self._after_call),
        ]

    def _before_call(self, *_: object) -> None:
        self._called = False

    def _after_call(self, *_: object) -> None:
        """Attach again, around the present forward, if this one did not run: offloading replaces it between runs."""
        if not self._called:
            self._attach()

    def forward(self, *args: object, **kwargs: object) -> ModelOutput:
        self._called = True
        if torch.is_grad_enabled() and self._model.training:
            raise UnsupportedError("propagation is for inference; put the model into eval() or close() the handle")
        if has_library_cache(self._model):
            raise InputError(
                f"{type(self._model).__name__} had one of diffusers' caches enabled after propagation was attached; "
                "call disable_cache(), or close() the handle"
            )
        call = ModelCall(self._signature, args, kwargs)
        return self.denoiser.call(self.handle.context(call), self._describe(call))

    def _describe(self, call: ModelCall) -> DenoiserCall:
        """The call as a run sees it."""
        return DenoiserCall(
            latents=call.latents,
            timestep=call.timestep,
            forward=lambda copies, timesteps: call.run(self.original, copies, timesteps),
            conditions=call.conditions() | {"freeu": [getattr(block, "s1", None) for block in self._up_blocks()]},
            known_ahead=call.known_ahead,
        )

    def _up_blocks(self) -> list[nn.Module]:
        blocks = getattr(self._model, "up_blocks", None)
        return list(blocks) if isinstance(blocks, nn.ModuleList) else []

    def close(self) -> None:
        self.denoiser.forget()
        for hook in self._hooks:
            hook.remove()
        self.detach()
        self.cut.close()
        if self.key_step_frames:
            self.key_step_frames.close()


def has_fixed_batch(model: nn.Module) -> bool:
    """Whether another attachment needs calls of one batch size, such as sparse attention for its block maps."""
    return any(attachment.fixed_batch for attachment in attachments_on(model))
