"""Frame subset of a video transformer: blocks run on the fresh frames' tokens and attend to all tokens.

    keys, values:  the fresh frames' replace their cached ones
    fresh frame:   out = block(h),  residual = out - h is cached
    other frame:   out = h + its last residual in this block

This requires blocks whose self-attention is over the video's tokens alone, with text in cross-attention. With fixed
latents and conditions, and the frames in m groups taken in turn, the output of L blocks equals that of the full
evaluation from the ((L + 1)(m - 1) + 1)-th call on. The cache is three times the hidden states per block and branch.

Shapes: hidden states [b, n, c], n tokens frame by frame; keys and values [b, heads, n, d].
"""

from __future__ import annotations

import inspect

import torch
from torch import nn

from videogen.core.errors import UnsupportedError

from .attached_block_cut import block_lists
from .frame_attention import FrameAttention, FrameCache
from .frame_subset import FrameSelection, FrameSubset, FrameSubsetLayer, check_innermost
from .frame_tokens import select_tokens, token_index

#: Arguments of a block whose layout along the tokens is known.
_KNOWN = frozenset(
    (
        "hidden_states", "encoder_hidden_states", "temb", "embedded_timestep", "rotary_emb", "image_rotary_emb",
        "extra_pos_emb", "attention_mask", "encoder_attention_mask", "controlnet_residual", "latents", "block_idx",
    )
)  # fmt: skip


class DitFrameSubset(FrameSubset):
    """Frame subset of a transformer. UnsupportedError if its blocks do not fit, InputError if another attachment came
    first."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        blocks = _fitting_blocks(model)
        self.patch_t = _temporal_patch(model)
        self._caches: list[dict[str, FrameCache]] = []
        try:
            for block in blocks:
                self._caches.append({})
                attention = FrameAttention(block.get_submodule("attn1"), self)
                self._layers.append(attention)
                self._layers.append(_Block(block, self, attention, self._caches[-1]))
        except BaseException:
            self.close()
            raise

    def ready(self, branch: str) -> bool:
        return all(branch in cache for cache in self._caches)

    def forget(self, branch: str | None = None) -> None:
        for cache in self._caches:
            cache.clear() if branch is None else cache.pop(branch, None)

    def cached_bytes(self) -> int:
        return sum(one.bytes() for cache in self._caches for one in cache.values())


def _fitting_blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks of the model. UnsupportedError if their self-attention is not over the video's tokens alone."""
    blocks = block_lists(model)
    for block in blocks:
        check_innermost(block)
        unknown = set(inspect.signature(block.forward).parameters) - _KNOWN
        if not all(isinstance(getattr(block, name, None), nn.Module) for name in ("attn1", "attn2")) or unknown:
            blocks = []
            break
    if not blocks:
        raise UnsupportedError(
            f"{type(model).__name__} has no blocks with self-attention over the video's tokens alone, so frames cannot "
            "be computed separately; use frames=1"
        )
    return blocks


def _temporal_patch(model: nn.Module) -> int:
    """The number of latent frames in one frame of tokens."""
    config = getattr(model, "config", None)
    patch = getattr(config, "patch_size", 1)
    if isinstance(patch, list | tuple) and len(patch) == 3:
        return int(patch[0])
    return int(getattr(config, "patch_size_t", None) or 1)


class _Block(FrameSubsetLayer):
    """One transformer block, called with the fresh frames' tokens."""

    def __init__(
        self, module: nn.Module, subset: DitFrameSubset, attention: FrameAttention, caches: dict[str, FrameCache]
    ) -> None:
        self._patch_t, self._attention, self._caches = subset.patch_t, attention, caches
        super().__init__(module, subset)

    def run(self, selection: FrameSelection, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        hidden = self.hidden_states(args, kwargs)
        cache = self._caches.get(selection.branch)
        tokens = token_index(selection, self._patch_t, hidden)
        if tokens is None or cache is None or not cache.fits(hidden):
            return self._run_all(selection, hidden, args, kwargs)
        return self._run_fresh(cache, tokens, hidden, args, kwargs)

    def _run_all(
        self, selection: FrameSelection, hidden: torch.Tensor, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> torch.Tensor:
        """Compute and cache all frames."""
        cache = FrameCache()
        with self._attention.attending(cache, None, hidden.shape[1]):
            output = self._check_tensor(self.original(*args, **kwargs))
        cache.residual = (output - hidden).detach()
        self._caches[selection.branch] = cache
        return output

    def _run_fresh(
        self,
        cache: FrameCache,
        tokens: torch.Tensor,
        hidden: torch.Tensor,
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> torch.Tensor:
        count = hidden.shape[1]
        bound = self.__signature__.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            bound.arguments[name] = select_tokens(name, value, tokens, count)
        with self._attention.attending(cache, tokens, count):
            fresh = self._check_tensor(self.original(*bound.args, **bound.kwargs))
        assert cache.residual is not None
        cache.residual = cache.residual.index_copy(1, tokens, (fresh - hidden[:, tokens]).detach())
        return (hidden + cache.residual).index_copy(1, tokens, fresh)

    def _check_tensor(self, output: object) -> torch.Tensor:
        if not isinstance(output, torch.Tensor):
            raise UnsupportedError(
                f"{self._module_name} returns {type(output).__name__}, not one tensor of hidden states; use frames=1"
            )
        return output
