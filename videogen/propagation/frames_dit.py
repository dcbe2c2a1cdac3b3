"""The frame lattice of a video transformer: blocks run on the fresh frames' tokens and attend to all of them.

    keys, values:  those of the fresh frames put into the kept ones, which then are kept in turn
    fresh frame:   out = block(h),  residual = out - h is kept
    other frame:   out = h + its last residual in this block

It fits blocks whose self-attention is over the video's tokens alone while text is cross-attended. At fixed latents and
conditions with the frames in m groups taken in turn, the output of L blocks is the full evaluation's from the
((L + 1)(m - 1) + 1)-th call on. What is kept is three times the hidden states for each block and guidance branch.

Shapes: hidden states [b, n, c], n tokens frame by frame; keys and values [b, heads, n, d].
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from videogen.core.errors import UnsupportedError

from .blocks import block_lists
from .frames_attention import Kept, SelfAttention
from .frames_tokens import cut_tokens, token_index
from .lattice import Asked, Lattice, LayerStub, check_first

#: Arguments of a block of which it is known how they lie along the tokens.
_KNOWN = frozenset(
    (
        "hidden_states", "encoder_hidden_states", "temb", "embedded_timestep", "rotary_emb", "image_rotary_emb", "extra_pos_emb",
        "attention_mask", "encoder_attention_mask", "controlnet_residual", "latents", "block_idx",
    )
)  # fmt: skip


class DitLattice(Lattice):
    """On a transformer. Raises UnsupportedError for one that does not fit, InputError if other stubs were first."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        blocks = _fitting_blocks(model)
        self.patch_t = _temporal_patch(model)
        self._kept: list[dict[str, Kept]] = []
        try:
            for block in blocks:
                self._kept.append({})
                attention = SelfAttention(block.attn1, self)
                self._stubs.append(attention)
                self._stubs.append(_Block(block, self, attention, self._kept[-1]))
        except BaseException:
            self.close()
            raise

    def ready(self, branch: str) -> bool:
        return all(branch in kept for kept in self._kept)

    def forget(self, branch: str | None = None) -> None:
        for kept in self._kept:
            kept.clear() if branch is None else kept.pop(branch, None)

    def kept_bytes(self) -> int:
        return sum(one.bytes() for kept in self._kept for one in kept.values())


def _fitting_blocks(model: Any) -> list[Any]:
    """The model's blocks. Raises UnsupportedError where their self-attention is not over the video's tokens alone."""
    blocks = block_lists(model)
    for block in blocks:
        check_first(block)
        unknown = set(inspect.signature(block.forward).parameters) - _KNOWN
        if not all(isinstance(getattr(block, name, None), nn.Module) for name in ("attn1", "attn2")) or unknown:
            blocks = []
            break
    if not blocks:
        raise UnsupportedError(
            f"{type(model).__name__} has no blocks with self-attention over the video's tokens alone, so frames cannot be "
            "computed apart; use frames=1"
        )
    return blocks


def _temporal_patch(model: Any) -> int:
    """Latent frames in one frame of tokens."""
    config = getattr(model, "config", None)
    patch = getattr(config, "patch_size", 1)
    if isinstance(patch, list | tuple) and len(patch) == 3:
        return int(patch[0])
    return int(getattr(config, "patch_size_t", None) or 1)


class _Block(LayerStub):
    """One transformer block, called with the fresh frames' tokens."""

    def __init__(self, module: Any, lattice: DitLattice, attention: SelfAttention, kept: dict[str, Kept]) -> None:
        self._patch_t, self._attention, self._kept = lattice.patch_t, attention, kept
        super().__init__(module, lattice)

    def run(self, asked: Asked, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        hidden = self.stream(args, kwargs)
        kept = self._kept.get(asked.branch)
        tokens = token_index(asked, self._patch_t, hidden)
        if tokens is None or kept is None or not kept.fits(hidden):
            return self._whole(asked, hidden, args, kwargs)
        return self._part(kept, tokens, hidden, args, kwargs)

    def _whole(self, asked: Asked, hidden: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
        """All frames, of which everything is kept."""
        kept = Kept()
        with self._attention.attending(kept, None, hidden.shape[1]):
            output = self._tensor(self._replaced.original(*args, **kwargs))
        kept.residual = (output - hidden).detach()
        self._kept[asked.branch] = kept
        return output

    def _part(
        self, kept: Kept, tokens: torch.Tensor, hidden: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> torch.Tensor:
        count = hidden.shape[1]
        bound = self.__signature__.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            bound.arguments[name] = cut_tokens(name, value, tokens, count)
        with self._attention.attending(kept, tokens, count):
            fresh = self._tensor(self._replaced.original(*bound.args, **bound.kwargs))
        assert kept.residual is not None
        kept.residual = kept.residual.index_copy(1, tokens, (fresh - hidden[:, tokens]).detach())
        return (hidden + kept.residual).index_copy(1, tokens, fresh)

    def _tensor(self, output: Any) -> torch.Tensor:
        if not isinstance(output, torch.Tensor):
            raise UnsupportedError(
                f"{self._module_name} returns {type(output).__name__}, not its stream alone; use frames=1"
            )
        return output
