"""Visible frames are among the keys of every query block, for every token order, policy and step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.attention.models import COLUMNS, FRAMES, ROWS, TEXT, TINY, VIDEO
from tests.attention.test_attach import call, small, wan
from videogen import InputError
from videogen.attention import SparseAttention, TokenGrid, attach, inverse, permutation
from videogen.attention.attention_layer import AttentionLayer, LayerCall, StepContext
from videogen.attention.config import ORDERS
from videogen.attention.policies.base import AttentionOutcome, AttentionPolicy

STEPS = 10
POLICIES: dict[str, dict[str, Any]] = {
    "recall": {"recall": 0.6},
    "recall, unaudited": {"recall": 0.6, "audit": "off"},
    "adaspa": {"recall": None, "sparsity": 0.8, "search_at": (0.2, 0.6)},
    "window": {"recall": None, "sparsity": 0.8, "policy": "window"},
}
GRIDS = {
    "video alone": TokenGrid(6, 5, 8),
    "text before": TokenGrid(6, 5, 8, before=13),
    "text after": TokenGrid(6, 5, 8, after=13),
    "both": TokenGrid(6, 5, 8, before=3, after=10),
}
FRAME_SETS: dict[str, tuple[int, ...]] = {
    "one": (3,),
    "the first and the last": (0, 5),
    "neighbours": (1, 2),
    "most": (0, 1, 2, 4, 5),
}


class RecordingPolicy:
    """A policy that stores its outcomes."""

    def __init__(self, policy: AttentionPolicy[Any]) -> None:
        self._policy, self.initial_state = policy, policy.initial_state
        self.outcomes: list[AttentionOutcome] = []

    def outcome_without_tensors(self, *_: Any) -> None:
        """`attend` decides, so that all outcomes are stored."""

    def attend(self, *args: Any) -> tuple[AttentionOutcome, Any]:
        outcome, state = self._policy.attend(*args)
        self.outcomes.append(outcome)
        return outcome, state


def frame_wise(grid: TokenGrid, step: int) -> torch.Tensor:
    """Queries and keys of which each frame attends to itself alone, so that no map has another frame unless forced."""
    frame = torch.arange(grid.length).sub(grid.before).div(grid.height * grid.width, rounding_mode="floor") + 1
    x = 9.0 * nn.functional.one_hot(frame.clamp(0, 7), 16).float()
    return (x + 0.1 * torch.randn(1, 2, grid.length, 16, generator=torch.Generator().manual_seed(step))).contiguous()


def frame_token_indices(grid: TokenGrid, frames: tuple[int, ...]) -> torch.Tensor:
    size = grid.height * grid.width
    return torch.cat([torch.arange(grid.before + f * size, grid.before + (f + 1) * size) for f in frames])


def frame_spans(grid: TokenGrid, frames: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    size = grid.height * grid.width
    return tuple((grid.before + f * size, grid.before + (f + 1) * size) for f in frames)


def run_layer(config: SparseAttention, grid: TokenGrid, frames: dict[int, tuple[int, ...]]) -> list[AttentionOutcome]:
    """The outcome of each step of an attention layer, where these frames are visible from a step on."""
    layer = AttentionLayer("layer", config)
    layer._policy = recording = RecordingPolicy(layer._policy)  # type: ignore[assignment]
    visible: tuple[int, ...] = ()
    for step in range(STEPS):
        visible = frames.get(step, visible)
        x = frame_wise(grid, step)
        call = LayerCall(x, x, x, grid=grid, visible=frame_spans(grid, visible))
        layer.attend(StepContext(step, STEPS, "cond"), call)
    return recording.outcomes


def visible_to_all(outcome: AttentionOutcome, grid: TokenGrid, order: str) -> torch.Tensor:
    """Which tokens, in the model's order, every query of every head sees."""
    if outcome.block_map is None:
        return torch.ones(grid.length, dtype=torch.bool)
    visible = outcome.block_map.expand().all(2).all(1).all(0)
    return visible if order == "raster" else visible[inverse(permutation(grid))]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("layout", GRIDS)
@pytest.mark.parametrize("which", FRAME_SETS)
def test_every_map_has_the_frames(order: str, policy: str, layout: str, which: str) -> None:
    grid, frames = GRIDS[layout], FRAME_SETS[which]
    config = small(order=order, **POLICIES[policy])
    outcomes = run_layer(config, grid, {0: frames})
    assert all(visible_to_all(outcome, grid, order)[frame_token_indices(grid, frames)].all() for outcome in outcomes)
    assert any(outcome.block_map is not None for outcome in outcomes) or which == "most"
    without = run_layer(config, grid, {})
    assert not all(visible_to_all(outcome, grid, order)[frame_token_indices(grid, frames)].all() for outcome in without)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("policy", POLICIES)
def test_frames_that_change_within_a_run_are_visible_from_then_on(order: str, policy: str) -> None:
    grid = GRIDS["text before"]
    outcomes = run_layer(small(order=order, **POLICIES[policy]), grid, {0: (), 4: (1,), 6: (4,), 8: (1,)})
    for step, frames in enumerate([()] * 4 + [(1,)] * 2 + [(4,)] * 2 + [(1,)] * 2):
        if frames:
            assert visible_to_all(outcomes[step], grid, order)[frame_token_indices(grid, frames)].all()


@pytest.mark.parametrize("policy", ["adaspa", "window"])
def test_frames_displace_no_other_block(policy: str) -> None:
    """The blocks that a sparsity retains stay, however many frames are visible: each frame still attends to itself."""
    grid, config = GRIDS["video alone"], small(**POLICIES[policy])
    plain, forced = run_layer(config, grid, {})[-1].block_map, run_layer(config, grid, {0: (0, 1, 2)})[-1].block_map
    assert plain is not None and forced is not None
    few, many = plain.to_dense(), forced.to_dense()
    assert (many | few).equal(many) and not many.equal(few)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("policy", POLICIES)
def test_no_visible_frames_is_the_default(order: str, policy: str) -> None:
    model = wan(8.0)
    found = []
    for options in ({}, {"visible_frames": ()}):
        with attach(model, small(order=order, **POLICIES[policy]), steps=4) as handle:
            outputs = []
            for step in range(4):
                with handle.at(step, "cond", **options):
                    outputs.append(call(model, 900.0 - 100 * step, seed=step))
            found.append((outputs, handle.report()))
    assert all(map(torch.equal, found[0][0], found[1][0])) and found[0][1] == found[1][1]


def test_frames_differ_between_windows_and_cost_their_density() -> None:
    model = wan(8.0)
    with attach(model, small(recall=None, sparsity=0.8, policy="window"), steps=4) as handle:
        for branch, visible in (("cond@0", ()), ("cond@2", (0,)), ("cond@4", ((0, 2), 3)), ("cond@6", (range(4),))):
            with handle.at(0, branch, visible_frames=visible):
                call(model)
        densities = [record.density for record in handle.records if record.layer == "blocks.0.attn1"]
    assert densities == sorted(set(densities)) and densities[-1] == 1.0 and densities[0] < 0.3


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "name", ["WanTransformer3DModel", "CogVideoXTransformer3DModel", "HunyuanVideoTransformer3DModel"]
)
def test_joint_text_of_a_model_is_counted(order: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = next(tiny for tiny in TINY if tiny.name == name)
    model, spans = tiny.build(), set()
    original = AttentionLayer.attend

    def attend(self: AttentionLayer, context: StepContext, call: LayerCall) -> Any:
        spans.add(call.visible)
        return original(self, context, call)

    monkeypatch.setattr(AttentionLayer, "attend", attend)
    with torch.inference_mode(), attach(model, small(order=order, min_length=VIDEO), steps=2) as handle:
        with handle.at(0, "cond", visible_frames=(1, 2)):
            model(**tiny.inputs())
        assert not any("visible_frames" in why for why in handle.report()["dense"])
    start = TEXT if name.startswith("CogVideoX") else 0
    assert spans == {((start + ROWS * COLUMNS, start + 3 * ROWS * COLUMNS),)}


def test_frames_with_common_tokens_are_visible_together() -> None:
    """CogVideoX 1.5 has two latent frames per frame of tokens."""
    from videogen.attention.visible_frames import frame_tokens

    grid = TokenGrid(3, 2, 2, before=5)
    assert frame_tokens((1, 4), 2, TokenGrid(3, 2, 2), grid) == ((5, 9), (13, 17))
    assert frame_tokens((1, 2), 2, TokenGrid(3, 2, 2), grid) == ((5, 13),)


def test_where_frames_cannot_be_located_the_call_stays_dense_and_is_reported() -> None:
    model = wan(8.0)
    plain = call(model)
    clip = TokenGrid(40, 8, 8)  # of the full clip, of which the model is called with a window
    with attach(model, small(), grid=clip) as handle, handle.at(0, "cond@0", visible_frames=(1,)):
        assert torch.equal(call(model), plain)
        assert any("visible_frames" in why for why in handle.report()["dense"])


@pytest.mark.parametrize("name", [tiny.name for tiny in TINY if "UNet" in tiny.name])
def test_attention_within_one_frame_is_not_affected(name: str) -> None:
    tiny = next(tiny for tiny in TINY if tiny.name == name)
    model, found = tiny.build(), []
    for visible in ((), (1,)):
        with torch.inference_mode(), attach(model, small(min_length=24), steps=2) as handle:
            with handle.at(0, "cond", visible_frames=visible):
                output = model(**tiny.inputs())[0]
            found.append((output, handle.report()))
    assert torch.equal(found[0][0], found[1][0]) and found[0][1] == found[1][1]


@pytest.mark.parametrize(
    ("visible", "match"),
    [
        ("12", "must be a tuple of frames"), (3, "must be a tuple of frames"),
        (torch.tensor([1]), "must be a tuple of frames"),
        ((-1,), "frames count from 0"), (((-2, 1),), "frames count from 0"), ((True,), "has True"), ((1.0,), "has 1.0"),
        (((3, 3),), r"has \(3, 3\)"), (((1, 2, 3),), r"has \(1, 2, 3\)"), ((None,), "has None"),
        ((4,), "frames 0 to 3"), (((2, 5),), "frames 0 to 3"), ((range(9),), "frames 0 to 3"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_frames_are_refused(visible: Any, match: str) -> None:
    model = wan()
    assert FRAMES == 4
    with attach(model, small()) as handle:
        with pytest.raises(InputError, match=match), handle.at(0, "cond", visible_frames=visible):
            call(model)
        with handle.at(0, "cond", visible_frames=(3,)):
            call(model)  # the refusal leaves nothing behind
