"""Diffusers model with sparse attention attached: the context of each model call, and what its layers have run."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from videogen.core.attachment import HookAttachment, attachments_on
from videogen.core.errors import UnsupportedError

from .attached_layer import AttachedLayer
from .config import SparseAttention
from .dense_result import Dense
from .dispatch import attention_modules
from .layout import frames_per_token, guess_grid, token_layout
from .order import TokenGrid
from .visible_frames import Spans, check_within, frame_tokens, is_per_frame

if TYPE_CHECKING:
    from .attaching import Handle


@dataclass(frozen=True)
class CallContext:
    """The step of a model call and its guidance branch, or its number within the step; visible_frames: latent frames
    that every query sees, ascending."""

    step: int
    branch: str
    visible_frames: tuple[int, ...] = ()


class AttachedModel(HookAttachment):
    """The hooks on one model. given_context: what the handle's user has stated; None: to be counted."""

    kind: ClassVar[str] = "sparse attention"
    fixed_batch: ClassVar[bool] = True

    def __init__(self, name: str, model: nn.Module, handle: Handle, grid: TokenGrid | None) -> None:
        self.given_context: CallContext | None = None
        self.layers: dict[str, AttachedLayer] = {}
        self.handle, self._given_grid, self.calls = handle, grid, 0
        self._checked = False  # whether a call has shown that there is attention to make sparse
        self._grid: TokenGrid | None = None
        self._batch = 0  # of the latents; 0: unknown
        self._context = CallContext(0, "0")
        self._signature = inspect.signature(model.forward)
        super().__init__(model)
        for module_name, module in attention_modules(model):
            full = f"{name}.{module_name}" if name != "model" else module_name
            self.layers[full] = AttachedLayer(full, module, self)

    @property
    def config(self) -> SparseAttention:
        return self.handle.config

    def _register_hooks(self, module: nn.Module) -> list[RemovableHandle]:
        return [
            module.register_forward_pre_hook(self._enter, with_kwargs=True),
            module.register_forward_hook(self._leave),
        ]

    def _enter(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.calls += 1
        self.handle.run.steps = self.handle.steps
        values = self._signature.bind_partial(*args, **kwargs).arguments
        latents = next((x for x in values.values() if isinstance(x, torch.Tensor) and x.ndim == 5), None)
        timestep = values.get("timestep", values.get("timesteps"))
        if self.given_context is None:
            value = None if timestep is None else float(torch.as_tensor(timestep).max())
            self._context = self.handle.count_call(value, None if latents is None else tuple(latents.shape))
        else:
            self._context = self.given_context
        self._grid = self._given_grid or guess_grid(self._module, latents)
        self._batch = 0 if latents is None else latents.shape[0]
        if self._context.visible_frames:
            check_within(self._context.visible_frames, frames_per_token(self._module), self._grid)
        for layer in self.layers.values():
            layer.ordinal = 0

    def _leave(self, model: nn.Module, *_: Any) -> None:
        """After the first call, check that there is self-attention to make sparse, and that none was passed by."""
        layers = self.layers.values()
        if self._checked:
            return
        if any(layer.has_attended for layer in layers):
            self._checked = True
            self._check_all_ran(model)
            return
        name = type(model).__name__
        if any(layer.has_run for layer in layers):
            raise UnsupportedError(
                f"none of the {len(layers)} attention layers of {name} calls torch's scaled_dot_product_attention for "
                "self-attention (it is linear, or its processors call another library), so nothing can be made sparse; "
                "set the default processors, or leave sparse attention out"
            )
        if not self._may_skip(model):
            raise UnsupportedError(
                f"none of the {len(layers)} attention layers of {name} ran through its hooks, as it runs code that was "
                "compiled before; attach first, then compile"
            )

    def _check_all_ran(self, model: nn.Module) -> None:
        """UnsupportedError where some layers ran through their hooks and others of the same kind did not."""
        if self._may_skip(model):
            return
        kinds: dict[str, list[AttachedLayer]] = {}
        for name, layer in self.layers.items():
            if not layer.untouched:
                kinds.setdefault(re.sub(r"(?<=\.)\d+(?=\.)", "*", name), []).append(layer)
        for kind, layers in kinds.items():
            missed = [layer.name for layer in layers if not layer.has_run]
            if 0 < len(missed) < len(layers):
                raise UnsupportedError(
                    f"{len(missed)} of the {len(layers)} layers {kind} of {type(model).__name__} received no call, "
                    f"such as {missed[0]}, so they would run dense: their blocks run code that was compiled before, or "
                    "the model skips them; attach first, then compile"
                )

    def _may_skip(self, model: nn.Module) -> bool:
        """Whether something else on the model may leave out blocks."""
        others = any(not isinstance(other, HookAttachment) for other in attachments_on(model))
        return others or bool(getattr(model, "is_cache_enabled", False))

    def attend(
        self,
        layer: AttachedLayer,
        text: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        **options: Any,
    ) -> torch.Tensor | Dense:
        """The result of a call that may become sparse. text: tokens of the module's text input in its sequence;
        options: of `AttentionRun.attend`."""
        tokens, context, ordinal = query.shape[2], self._context, layer.ordinal
        layer.ordinal += 1
        grid = token_layout(self._grid, text, tokens, layer.processor_name)
        frames = context.visible_frames
        visible: Spans | None = ()
        if frames and not is_per_frame(self._grid, self._batch, query):
            visible = frame_tokens(frames, frames_per_token(self._module), self._grid, grid)
        if visible is None:
            return self.refuse(layer, tokens, "the tokens of visible_frames are unknown; give attach(..., grid=)")
        return self.handle.run.attend(
            layer.name, context.branch, context.step, grid, query, key, value, visible_tokens=visible, ordinal=ordinal,
            **options,
        )  # fmt: skip

    def refuse(self, layer: AttachedLayer, tokens: int, why: str) -> Dense:
        """Record a call of self-attention that stays dense."""
        return self.handle.run.refuse(layer.name, self._context.branch, self._context.step, tokens, why)

    def close(self) -> None:
        self.detach()
        for layer in self.layers.values():
            layer.detach()
