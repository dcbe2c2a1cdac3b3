"""Motion reader: a first block that detects motion in the noise, so that a trained video DiT learns to follow warped
noise quickly.

The motion of warped noise shows in products of two frames' noise, which gradient descent is slow to find: 9,000 clips
taught the small DiT nothing. The block is therefore initialised as a correlator (Reichardt 1961). Two heads fetch the
noise at the same position one latent frame earlier and two later; pairs of GELUs multiply it with the position's own
noise, shifted by one latent pixel in either direction; the result is written into directions of the residual stream
that the patch embedding does not use. Since a position has few noise values, later blocks have to sum over objects and
time. A distance of two frames measures slow motion better: the error is the same for twice the displacement. The change
is recorded per position and not per patch of 16 px, since it shows where an object is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import WanTransformer3DModel
from torch import nn

LEVEL = 1000.0  # timestep at which the block's modulation starts neutral: pure noise, where motion is decided
COPY = 0.3  # size of the fetched noise relative to the position's own
FEATURE = 0.16  # size of a feature relative to the residual stream
SHARP = 2.0  # gain of queries and keys: one position gets nearly all attention
GAIN = 0.7  # of sums before GELU, whose even part is nearly a square at this scale
OPEN = 30.0  # bias at which GELU is the identity
FETCHED = (-1, 2)  # offsets of the latent frames from which the first heads fetch
CHANGING = 3 / 8  # fraction of channels that measure change: as many as the feed-forward layer has room for
#: Factor on a trained model's features: a model that is unsure of the motion it reads follows it only in part.
SHARPENED = 1.4
AXES = ((0, 1), (1, 0))  # (down, right) in latent pixels; each is read against its opposite


def with_motion_reader(model: WanTransformer3DModel, noise: torch.Tensor) -> WanTransformer3DModel:
    """The model with one more block in front; on plain noise its predictions hardly change.

    noise: white or warped [b, c, f, h, w], enough to fit linear maps on (b about 100). ValueError if patches are not 2
    x 2, if the feed-forward layer, a head or the residual stream is too small, or if the model already has a reader.
    """
    config = {name: value for name, value in model.config.items() if not name.startswith("_")}
    channels, patch = config["in_channels"], config["patch_size"]
    needed = {"ffn_dim": 38 * channels + 16, "attention_head_dim": 4 * channels, "width": 12 * channels + 18}
    room = {**config, "width": config["num_attention_heads"] * config["attention_head_dim"]}
    if tuple(patch) != (1, 2, 2) or any(room[name] < least for name, least in needed.items()):
        got = {name: room[name] for name in needed}
        raise ValueError(f"a motion reader needs patches of 1 x 2 x 2 and at least {needed}; got {patch}, {got}")
    if is_motion_reader(model):
        raise ValueError("the model already has a motion reader: keep it")
    grown = WanTransformer3DModel(**{**config, "num_layers": config["num_layers"] + 1})
    missing, unexpected = grown.load_state_dict(_renumber_blocks(model.state_dict()), strict=False)
    assert not unexpected and all(name.startswith("blocks.0.") for name in missing)
    with torch.no_grad():
        _initialise(grown, noise)
    return grown


def is_motion_reader(model: WanTransformer3DModel) -> bool:
    """Whether a model begins with one: its first block ignores the text."""
    return not model.blocks[0].attn2.to_out[0].weight.any()


def freeze_motion_reader(model: WanTransformer3DModel) -> None:
    """Exclude the first block, and the layers that its initialisation relies on, from training. ValueError if the model
    has no reader."""
    if not is_motion_reader(model):
        raise ValueError("the model has no motion reader to keep: add one")
    embedder = model.condition_embedder
    for module in (model.patch_embedding, model.blocks[0], embedder.time_embedder, embedder.time_proj):
        module.requires_grad_(False)


def sharpen(model: WanTransformer3DModel, gain: float = SHARPENED) -> None:
    """Scale the reader's features by `gain`.

    A model trained on squared error moves objects by their expected motion, which uncertainty makes shorter than the
    true one. Larger features act as higher certainty, like guidance for text, at no cost. ValueError if the model has
    no reader.
    """
    if not is_motion_reader(model):
        raise ValueError("the model has no motion reader to sharpen")
    with torch.no_grad():
        for parameter in model.blocks[0].ffn.net[2].parameters():
            parameter.mul_(gain)


def _renumber_blocks(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state of a model with its block numbers increased by one."""
    found = {}
    for name, value in state.items():
        head, _, rest = name.partition(".")
        number, _, rest = rest.partition(".") if head == "blocks" else ("", "", rest)
        found[f"blocks.{int(number) + 1}.{rest}" if head == "blocks" else name] = value
    return found


def _initialise(model: WanTransformer3DModel, noise: torch.Tensor) -> None:
    block, own = model.blocks[0], _patches(noise)
    _open_gates(model)
    hidden = model.patch_embedding(noise).flatten(2).transpose(1, 2)
    free = _free_directions(hidden, own.shape[-1])
    length = hidden.square().sum(-1).mean().sqrt()
    size = float(COPY * length / own.shape[-1] ** 0.5)
    normed = _norm(hidden)
    count = own.shape[-1]
    _write_fetching_heads(block.attn1, _Linear.fit(normed, own), free, size)
    nn.init.zeros_(block.attn2.to_out[0].weight)
    nn.init.zeros_(block.attn2.to_out[0].bias)
    fetched = block.attn1(normed, None, None, model.rope(noise))
    after = _norm(hidden + fetched)
    noise_of = _Linear.fit(after, own)
    pairs = [
        (noise_of, _Linear.fit(after, fetched @ free[:, head * count : (head + 1) * count] / size))
        for head in range(len(FETCHED))
    ]
    _write_correlator(block.ffn, after, pairs, free[:, len(FETCHED) * count :], float(FEATURE * length))


def _open_gates(model: WanTransformer3DModel) -> None:
    """Set the modulation to no scale, no shift and open gates at LEVEL."""
    block, width = model.blocks[0], model.config["num_attention_heads"] * model.config["attention_head_dim"]
    text = torch.zeros(1, 1, model.config["text_dim"])
    modulation = model.condition_embedder(torch.tensor([LEVEL]), text, None)[1].view(6, width)
    target = torch.zeros(6, width)
    target[2] = target[5] = 1
    block.scale_shift_table.copy_((target - modulation)[None])


def _write_fetching_heads(attention: Any, noise_of: _Linear, free: torch.Tensor, size: float) -> None:
    """Let the first heads attend to their own position some frames away and write its noise, scaled by `size`; the
    others write nothing."""
    heads = attention.heads
    width = attention.to_q.weight.shape[0] // heads
    query, key = torch.zeros(heads, width), torch.zeros(heads, width)
    space = 2 * (width // 6)
    time = width - 2 * space
    for head, frames in enumerate(FETCHED):
        for start, size_of_axis, pairs, offset in (
            (0, time, 3, frames),
            (time, space, 2, 0),
            (time + space, space, 2, 0),
        ):
            for pair in range(pairs):
                at, turn = start + 2 * pair, 10000.0 ** (-2 * pair / size_of_axis) * offset
                query[head, at] = 1 - 0.2 * pair
                key[head, at], key[head, at + 1] = query[head, at] * math.cos(turn), -query[head, at] * math.sin(turn)
    for layer, vector in ((attention.to_q, query), (attention.to_k, key)):
        nn.init.zeros_(layer.weight)
        layer.bias.copy_(vector.flatten() / vector.square().mean().sqrt())
    attention.norm_q.weight.fill_(SHARP)
    attention.norm_k.weight.fill_(SHARP)
    values, offsets, out = torch.zeros(heads, width, width * heads), torch.zeros(heads, width), attention.to_out[0]
    nn.init.zeros_(out.weight)
    nn.init.zeros_(out.bias)
    count = len(noise_of.weight)
    for head in range(len(FETCHED)):
        values[head, :count], offsets[head, :count] = noise_of.weight, noise_of.bias
        out.weight[:, head * width : head * width + count] = size * free[:, head * count : (head + 1) * count]
    attention.to_v.weight.copy_(values.flatten(0, 1))
    attention.to_v.bias.copy_(offsets.flatten())


def _write_correlator(
    ffn: Any, normed: torch.Tensor, pairs: list[tuple[_Linear, _Linear]], free: torch.Tensor, size: float
) -> None:
    """Write the features: for each fetched frame the motion along each axis, in both lines of a patch, and how much
    each position has changed.

    GELU(x) is x / 2 plus an even part that is nearly a square, so that GELU(a + b) - GELU(a - b) has the product of a
    and b. One more row per feature subtracts the halves.
    """
    rows, weights = _correlation_rows(pairs)
    inner, outer = ffn.net[0].proj, ffn.net[2]
    count, features = len(rows), weights.shape[1]
    nn.init.zeros_(inner.weight)
    nn.init.zeros_(inner.bias)
    inner.weight[:count] = torch.stack([row.weight for row in rows])
    inner.bias[:count] = torch.stack([row.bias for row in rows])
    inner.weight[count : count + features] = -weights.T @ inner.weight[:count] / 2
    inner.bias[count : count + features] = -weights.T @ inner.bias[:count] / 2 + OPEN
    read = torch.zeros(len(inner.weight), features)
    read[:count], read[count : count + features] = weights, torch.eye(features)
    found = F.gelu(inner(normed), approximate="tanh") @ read
    scale, mean = size / found.std((0, 1)), found.mean((0, 1))
    outer.weight.copy_(free[:, :features] @ (read * scale).T)
    outer.bias.copy_(-free[:, :features] @ (mean * scale))


def _correlation_rows(pairs: list[tuple[_Linear, _Linear]]) -> tuple[list[_Linear], torch.Tensor]:
    """Rows before GELU, and the weight of each in each feature [rows, features]: motion per line, then the change of
    each position."""
    rows: list[_Linear] = []
    signs: list[tuple[int, float]] = []
    motions = 2 * len(AXES) * len(pairs)
    for head, (own, other) in enumerate(pairs):
        for number, axis in enumerate(AXES):
            for sense in (1, -1):
                toward = sense if FETCHED[head] < 0 else -sense  # a later frame's noise is at the end of the path
                for here, there, line in _shifted_pairs((toward * axis[0], toward * axis[1]), len(own.weight) // 4):
                    feature = 2 * (head * len(AXES) + number) + line
                    rows += [(own[here] + other[there]) * GAIN, (own[here] - other[there]) * GAIN]
                    signs += [(feature, sense), (feature, -sense)]
        for index in range(4 * int(CHANGING * len(own.weight) / 4)):
            row = (own[index] - other[index]) * GAIN
            rows += [row, row * -1]
            signs += [(motions + 4 * head + index % 4, 1)] * 2
    weights = torch.zeros(len(rows), motions + 4 * len(pairs))
    for index, (feature, sign) in enumerate(signs):
        weights[index, feature] = sign
    return rows, weights


def _shifted_pairs(step: tuple[int, int], channels: int) -> list[tuple[int, int, int]]:
    """(position, position one step (down, right) before it, their line) within patches, for each channel."""
    found = []
    for channel in range(channels):
        for row, column in product(range(2), range(2)):
            from_row, from_column = row - step[0], column - step[1]
            if from_row in (0, 1) and from_column in (0, 1):
                found.append(
                    (
                        (channel * 2 + row) * 2 + column,
                        (channel * 2 + from_row) * 2 + from_column,
                        row if step[1] else column,
                    )
                )
    return found


@dataclass(frozen=True)
class _Linear:
    """A fitted linear map: x @ weight.T + bias."""

    weight: torch.Tensor
    bias: torch.Tensor

    @classmethod
    def fit(cls, inputs: torch.Tensor, targets: torch.Tensor) -> _Linear:
        """Least squares over tokens with a small ridge."""
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
    """Orthonormal directions [width, ...] that neither the embedded patches nor their mean use."""
    flat, width = hidden.flatten(0, 1), hidden.shape[-1]
    taken = torch.linalg.svd(flat.T @ flat / len(flat))[0][:, : used + 2]
    generator = torch.Generator().manual_seed(0)  # the other vectors of an SVD are arbitrary
    others = torch.randn(width, width - used - 2, generator=generator)
    return torch.linalg.qr(torch.cat([taken, others], 1))[0][:, used + 2 :]


def _norm(hidden: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(hidden, hidden.shape[-1:])
