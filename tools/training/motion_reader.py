"""A first block that reads motion off the noise, so that a trained video DiT can learn to follow warped noise in little time.

What moves in warped noise shows in products of two frames' noise, which gradient descent is slow to find: on the small DiT 9,000
clips taught it nothing. So the block begins as a correlator (Reichardt 1961): two heads fetch the noise of the same place a latent
frame before and after, and GELU pairs square sums of it with the place's own noise, shifted by one latent pixel either way; what
comes of it is written into directions of the residual stream that the patch embedding leaves free. All of it goes on learning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import WanTransformer3DModel
from torch import nn

LEVEL = 1000.0  # the timestep at which the block's modulation begins neutral: pure noise, where motion is decided
COPY = 0.3  # size of the fetched noise beside the place's own
FEATURE = 0.2  # size of a feature beside the residual stream
SHARP = 2.0  # gain of queries and keys: one place gets nearly all attention
GAIN = 0.7  # of sums before GELU, which is nearly a square there
FETCHED = (-1, 1)  # the latent frames from which the first heads fetch
DIRECTIONS = ("right", "left", "down", "up")


def with_motion_reader(model: WanTransformer3DModel, noise: torch.Tensor) -> WanTransformer3DModel:
    """The model with a block more at its front; on plain noise it predicts nearly as before (3 to 5 % of the power differ).

    noise: white or warped [b, c, f, h, w], enough to fit linear maps on (b of 100). ValueError where patches are not 2 x 2, the
    feed-forward layer has no room for the products, or the model has a reader.
    """
    config = {name: value for name, value in model.config.items() if not name.startswith("_")}
    channels, patch = config["in_channels"], config["patch_size"]
    if tuple(patch) != (1, 2, 2) or config["ffn_dim"] < 40 * channels:
        raise ValueError(f"a motion reader needs patches of 1 x 2 x 2 and ffn_dim >= {40 * channels}; got {patch}, {config['ffn_dim']}")
    if is_motion_reader(model):
        raise ValueError("the model has a motion reader already: keep it")
    grown = WanTransformer3DModel(**{**config, "num_layers": config["num_layers"] + 1})
    missing, strange = grown.load_state_dict(_one_later(model.state_dict()), strict=False)
    assert not strange and all(name.startswith("blocks.0.") for name in missing)
    with torch.no_grad():
        _begin(grown, noise)
    return grown


def is_motion_reader(model: WanTransformer3DModel) -> bool:
    """Whether a model begins with one: its first block hears no words."""
    return not model.blocks[0].attn2.to_out[0].weight.any()


def freeze_motion_reader(model: WanTransformer3DModel) -> None:
    """Keep the first block, and what its balances stand on, out of the training. ValueError where the model has no reader."""
    if not is_motion_reader(model):
        raise ValueError("the model has no motion reader to keep: begin one")
    embedder = model.condition_embedder
    for module in (model.patch_embedding, model.blocks[0], embedder.time_embedder, embedder.time_proj):
        module.requires_grad_(False)


def _one_later(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a model, its blocks numbered one higher."""
    found = {}
    for name, value in state.items():
        head, _, rest = name.partition(".")
        number, _, rest = rest.partition(".") if head == "blocks" else ("", "", rest)
        found[f"blocks.{int(number) + 1}.{rest}" if head == "blocks" else name] = value
    return found


def _begin(model: WanTransformer3DModel, noise: torch.Tensor) -> None:
    block, own = model.blocks[0], _patches(noise)
    _neutral(model)
    hidden = model.patch_embedding(noise).flatten(2).transpose(1, 2)
    free = _free_directions(hidden, own.shape[-1])
    length = hidden.square().sum(-1).mean().sqrt()
    size = float(COPY * length / own.shape[-1] ** 0.5)
    normed = _norm(hidden)
    _fetch(block.attn1, _Linear.fit(normed, own), free, size)
    nn.init.zeros_(block.attn2.to_out[0].weight)
    nn.init.zeros_(block.attn2.to_out[0].bias)
    fetched = block.attn1(normed, None, None, model.rope(noise))
    before, after = (fetched @ free[:, at : at + own.shape[-1]] / size for at in (0, own.shape[-1]))
    _correlate(block.ffn, _norm(hidden + fetched), (own, before, after), free[:, 2 * own.shape[-1] :], float(FEATURE * length))


def _neutral(model: WanTransformer3DModel) -> None:
    """No scale, no shift, open gates at LEVEL."""
    block, width = model.blocks[0], model.config["num_attention_heads"] * model.config["attention_head_dim"]
    text = torch.zeros(1, 1, model.config["text_dim"])
    modulation = model.condition_embedder(torch.tensor([LEVEL]), text, None)[1].view(6, width)
    wanted = torch.zeros(6, width)
    wanted[2] = wanted[5] = 1
    block.scale_shift_table.copy_((wanted - modulation)[None])


def _fetch(attention: nn.Module, noise_of: _Linear, free: torch.Tensor, size: float) -> None:
    """The first heads look at their own place, a frame away, and write its noise, `size` large; the others write nothing."""
    heads = attention.heads
    width = attention.to_q.weight.shape[0] // heads
    query, key = torch.zeros(heads, width), torch.zeros(heads, width)
    space = 2 * (width // 6)
    time = width - 2 * space
    for head, frames in enumerate(FETCHED):
        for begin, size_of_axis, pairs, offset in ((0, time, 3, frames), (time, space, 2, 0), (time + space, space, 2, 0)):
            for pair in range(pairs):
                at, turn = begin + 2 * pair, 10000.0 ** (-2 * pair / size_of_axis) * offset
                query[head, at] = 1 - 0.2 * pair
                key[head, at], key[head, at + 1] = query[head, at] * math.cos(turn), -query[head, at] * math.sin(turn)
    for layer, vector in ((attention.to_q, query), (attention.to_k, key)):
        nn.init.zeros_(layer.weight)
        layer.bias.copy_(vector.flatten() / vector.square().mean().sqrt())
    attention.norm_q.weight.fill_(SHARP)
    attention.norm_k.weight.fill_(SHARP)
    count = len(noise_of.weight)
    values, offsets = torch.zeros(heads, width, width * heads), torch.zeros(heads, width)
    values[:, :count], offsets[:, :count] = noise_of.weight, noise_of.bias
    attention.to_v.weight.copy_(values.flatten(0, 1))
    attention.to_v.bias.copy_(offsets.flatten())
    out = attention.to_out[0]
    nn.init.zeros_(out.weight)
    nn.init.zeros_(out.bias)
    for head in range(len(FETCHED)):
        out.weight[:, head * width : head * width + count] = size * free[:, head * count : (head + 1) * count]


def _correlate(ffn: nn.Module, normed: torch.Tensor, noise: tuple[torch.Tensor, ...], free: torch.Tensor, size: float) -> None:
    """Features: motion right and down since the frame before and to the one after, and how much the place changed."""
    own, before, after = (_Linear.fit(normed, part) for part in noise)
    inner, outer = ffn.net[0].proj, ffn.net[2]
    rows: list[_Linear] = []
    features = torch.zeros(5, len(inner.weight))
    for other, (past, sense) in enumerate(((before, True), (after, False))):
        for number, direction in enumerate(DIRECTIONS):
            for late, early in _shifted_pairs(direction, len(own.weight) // 4):
                row = (own[late] + past[early] if sense else own[early] + past[late]) * GAIN
                features[2 * other + number // 2, len(rows) : len(rows) + 2] = 1 - 2 * (number % 2)
                rows += [row, row * -1]
    for index in range(len(own.weight)):
        row = (own[index] - before[index]) * (1.4 * GAIN)
        features[4, len(rows) : len(rows) + 2] = 1
        rows += [row, row * -1]
    nn.init.zeros_(inner.weight)
    nn.init.zeros_(inner.bias)
    inner.weight[: len(rows)] = torch.stack([row.weight for row in rows])
    inner.bias[: len(rows)] = torch.stack([row.bias for row in rows])
    found = F.gelu(inner(normed), approximate="tanh") @ features.T
    scale, mean = size / found.std((0, 1)), found.mean((0, 1))
    outer.weight.copy_(free[:, :5] @ (features * scale[:, None]))
    outer.bias.copy_(-free[:, :5] @ (mean * scale))


def _shifted_pairs(direction: str, channels: int) -> list[tuple[int, int]]:
    """(place of the later noise, of the earlier) within a patch, where things move by a latent pixel that way."""

    def at(channel: int, row: int, column: int) -> int:
        return (channel * 2 + row) * 2 + column

    across = direction in ("right", "left")
    first = 1 if direction in ("right", "down") else 0
    pairs = []
    for channel in range(channels):
        for line in range(2):
            ends = [(line, first), (line, 1 - first)] if across else [(first, line), (1 - first, line)]
            pairs.append((at(channel, *ends[0]), at(channel, *ends[1])))
    return pairs


@dataclass(frozen=True)
class _Linear:
    """x @ weight.T + bias, fitted."""

    weight: torch.Tensor
    bias: torch.Tensor

    @classmethod
    def fit(cls, inputs: torch.Tensor, targets: torch.Tensor) -> _Linear:
        """Least squares over tokens, a little ridged."""
        x, y = inputs.flatten(0, -2).double(), targets.flatten(0, -2).double()
        x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
        gram = x.T @ x
        gram += 1e-5 * gram.diagonal().mean() * torch.eye(len(gram), dtype=x.dtype)
        solution = torch.linalg.solve(gram, x.T @ y).float()
        return cls(solution[:-1].T, solution[-1])

    def __getitem__(self, index: int) -> _Linear:
        return _Linear(self.weight[index], self.bias[index])

    def __add__(self, other: _Linear) -> _Linear:
        return _Linear(self.weight + other.weight, self.bias + other.bias)

    def __sub__(self, other: _Linear) -> _Linear:
        return self + other * -1

    def __mul__(self, factor: float) -> _Linear:
        return _Linear(self.weight * factor, self.bias * factor)


def _patches(noise: torch.Tensor) -> torch.Tensor:
    """Noise [b, tokens, 4 c] of each 2 x 2 patch, by (channel, row, column)."""
    b, c, f, h, w = noise.shape
    return noise.reshape(b, c, f, h // 2, 2, w // 2, 2).permute(0, 2, 3, 5, 1, 4, 6).reshape(b, -1, 4 * c)


def _free_directions(hidden: torch.Tensor, used: int) -> torch.Tensor:
    """Orthonormal directions [width, ...] in which the embedded patches do not vary, nor their mean lies."""
    flat, width = hidden.flatten(0, 1), hidden.shape[-1]
    taken = torch.linalg.svd(flat.T @ flat / len(flat))[0][:, : used + 2]
    drawn = torch.randn(width, width - used - 2, generator=torch.Generator().manual_seed(0))  # an SVD's own rest is anything
    return torch.linalg.qr(torch.cat([taken, drawn], 1))[0][:, used + 2 :]


def _norm(hidden: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(hidden, hidden.shape[-1:])
