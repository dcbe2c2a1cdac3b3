"""Propagation across frames: the choice of frames, which layers compute them, and that nothing else changes."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.attention.models import FRAMES, Tiny, noise
from tests.propagation.frames_cases import (
    ALL,
    BY_NAME,
    DITS,
    EVEN,
    ODD,
    REFUSED,
    UNETS,
    model_of,
    moved,
    named,
    run,
    subset,
    untouched,
)
from videogen.core.errors import InputError, UnsupportedError
from videogen.propagation.frame_choice import build_frame_subset, choose_frames
from videogen.propagation.frame_subset import FrameSubset
from videogen.propagation.frame_subset_unet import frame_weights, spatial_layers
from videogen.propagation.unet_cut import UnetCut, is_unet

# The choice of frames.


@pytest.mark.parametrize(
    ("every", "count", "frames", "expected"),
    [
        pytest.param(1, 5, 4, (0, 1, 2, 3), id="every frame"),
        pytest.param(2, 0, 5, (0, 2, 4), id="even"),
        pytest.param(2, 3, 5, (1, 3), id="odd in turn"),
        pytest.param(4, 9, 6, (1, 5), id="every fourth"),
        pytest.param(8, 6, 4, (2,), id="a turn that no frame has still computes one"),
        pytest.param(3, 2, 1, (0,), id="one frame"),
    ],
)
def test_frames_take_turns(every: int, count: int, frames: int, expected: tuple[int, ...]) -> None:
    assert choose_frames(every, count, frames) == expected


def test_every_frame_has_its_turn() -> None:
    assert {f for count in range(3) for f in choose_frames(3, count, 7)} == set(range(7))


@pytest.mark.parametrize(
    ("odd_one", "expected"),
    [
        pytest.param(None, (0, 4), id="all similar"),
        pytest.param(lambda clean: noise(2, 3, 8, 8, seed=4), (0, 3, 4), id="a cut"),
        pytest.param(lambda clean: clean + 0.1 * noise(2, 3, 8, 8, seed=4), (0, 4), id="a small change"),
        pytest.param(lambda clean: clean * float("nan"), (0, 3, 4), id="not finite"),
    ],
)
def test_the_gate_chooses_a_frame_that_differs(odd_one: Any, expected: tuple[int, ...]) -> None:
    clean = noise(2, 3, 1, 8, 8).repeat(1, 1, 6, 1, 1)
    if odd_one:
        clean[:, :, 3] = odd_one(clean[:, :, 3])
    assert choose_frames(4, 0, 6, clean) == expected


def test_one_sample_that_differs_is_enough_for_the_gate() -> None:
    clean = noise(2, 3, 1, 8, 8).repeat(1, 1, 4, 1, 1)
    clean[1, :, 1] *= -1
    assert choose_frames(2, 0, 4, clean) == (0, 1, 2)


@pytest.mark.parametrize(
    "arguments",
    [
        (0, 0, 4),
        (2, -1, 4),
        (2, 0, 0),
        (2, 0, 4, None, 1.5),
        (2, 0, 4, torch.zeros(1, 3, 5, 2, 2)),
        (2, 0, 4, torch.zeros(4, 3)),
    ],
    ids=["every", "count", "frames", "gate", "other frames", "no video"],
)
def test_a_bad_choice_is_refused(arguments: Any) -> None:
    with pytest.raises(InputError):
        choose_frames(*arguments)


@pytest.mark.parametrize(("fresh", "frames"), [((0, 2), 4), ((1,), 5), ((2, 3, 7), 9), ((0, 1, 2), 3)])
def test_weights_interpolate(fresh: tuple[int, ...], frames: int) -> None:
    weights = frame_weights(fresh, frames)
    assert torch.allclose(weights.sum(1), torch.ones(frames))
    assert torch.equal(weights[list(fresh)], torch.eye(len(fresh)))
    places = weights @ torch.tensor(fresh, dtype=torch.float32)
    assert torch.allclose(places, torch.arange(frames).float().clamp(fresh[0], fresh[-1]))


# All models.


@named(UNETS + DITS)
def test_all_frames_are_bit_exact_and_closing_restores(tiny: Tiny) -> None:
    model, inputs = model_of(tiny.name), tiny.inputs()
    plain = run(model, inputs)
    with closing(build_frame_subset(model)) as frames:
        assert torch.equal(run(model, inputs), plain)
        assert torch.equal(subset(frames, model, inputs, ALL), plain)
        assert not torch.equal(subset(frames, model, moved(inputs)), run(model, moved(inputs)))
        assert torch.equal(run(model, inputs), plain)
    assert untouched(model) and frames.cached_bytes() == 0
    assert torch.equal(run(model, inputs), plain)


@named(UNETS + DITS)
def test_branches_do_not_mix(tiny: Tiny) -> None:
    model, inputs = model_of(tiny.name), tiny.inputs()
    other = moved(inputs, 1.0)
    outputs = []
    for between in (False, True):
        with closing(build_frame_subset(model)) as frames:
            subset(frames, model, inputs, ALL, "a")
            if between:
                subset(frames, model, other, ALL, "b")
                subset(frames, model, other, EVEN, "b")
            outputs.append(subset(frames, model, moved(inputs), EVEN, "a"))
    assert torch.equal(*outputs)


@named(REFUSED)
def test_a_model_that_does_not_fit_is_refused(tiny: Tiny) -> None:
    model = tiny.build()
    with pytest.raises(UnsupportedError, match=rf"{tiny.name}.*frames=1"):
        build_frame_subset(model)
    assert untouched(model)


@pytest.mark.parametrize("fresh", [(), (0, 0), (4,), (-1, 2)], ids=["none", "twice", "too far", "negative"])
def test_bad_frames_are_refused(fresh: tuple[int, ...]) -> None:
    with (
        closing(build_frame_subset(model_of("UNet3DConditionModel"))) as frames,
        pytest.raises(InputError, match=r"frames 0\.\.3"),
        frames.select(fresh, FRAMES, "a"),
    ):
        pass


@pytest.mark.parametrize("name", ["UNet3DConditionModel", "WanTransformer3DModel"])
def test_frames_that_do_not_divide_the_input_are_refused(name: str) -> None:
    model = model_of(name)
    with (
        closing(build_frame_subset(model)) as frames,
        pytest.raises(InputError, match="give the video's"),
        frames.select((0, 2), 5, "a"),
    ):
        run(model, BY_NAME[name].inputs())
    assert untouched(model)


# UNets.


def neutral(name: str) -> nn.Module:
    """A UNet whose temporal layers treat equal frames equally: without temporal padding and positions."""
    model = BY_NAME[name].build()
    module: Any
    with torch.no_grad():
        for module in model.modules():
            last: list[Any] = []
            if hasattr(module, "conv4"):
                last = [module.conv4[-1]]
            elif hasattr(module, "temporal_res_block"):
                last = [module.temporal_res_block.conv2]
            elif hasattr(module, "time_pos_embed"):
                last = [module.time_pos_embed.linear_2]
            for layer in last:
                layer.weight.zero_()
                layer.bias.zero_()
            if isinstance(getattr(module, "pe", None), Tensor):
                module.pe.zero_()
    return model


def still(inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs in which all frames equal the first."""
    axis = 1 if "added_time_ids" in inputs else 2
    names = [name for name in ("sample", "image_latents") if name in inputs]
    return inputs | {n: inputs[n].narrow(axis, 0, 1).repeat_interleave(FRAMES, axis) for n in names}


@named(UNETS)
def test_a_still_video_equals_that_of_the_full_model(tiny: Tiny) -> None:
    model, inputs = neutral(tiny.name), still(tiny.inputs())
    full = run(model, inputs)
    assert (full - full.roll(1, 1 if "added_time_ids" in inputs else 2)).abs().max() < 1e-5  # it is still
    with closing(build_frame_subset(model)) as frames:
        for fresh in (EVEN, ODD, (3,)):
            assert (subset(frames, model, inputs, fresh) - full).abs().max() < 1e-5


INSIDE = ("norm1", "conv1", "conv2", "norm", "proj_in", "attn1", "attn2", "ff")
TEMPORAL = (
    "motion_modules",
    "temp_convs",
    "temp_attentions",
    "temporal_res_block",
    "temporal_transformer_blocks",
    "downsamplers",
)


def lengths(
    modules: list[nn.Module], model: nn.Module, frames: FrameSubset, inputs: dict[str, Any], fresh: Any
) -> set[int]:
    """Sizes of axis 0 (times the frames, where they have an axis) of the inputs on which the modules' code runs."""
    found: set[int] = set()

    def note(_: nn.Module, args: Any, kwargs: Any) -> None:
        shape = next(x.shape for x in (*args, *kwargs.values()) if isinstance(x, Tensor))
        found.add(shape[0] * shape[2] if len(shape) == 5 else shape[0])

    hooks = [module.register_forward_pre_hook(note, with_kwargs=True) for module in modules]
    subset(frames, model, inputs, fresh)
    for hook in hooks:
        hook.remove()
    return found


@named(UNETS)
def test_only_the_chosen_frames_go_through_spatial_layers(tiny: Tiny) -> None:
    model: Any = model_of(tiny.name)
    layers = spatial_layers(model)
    with closing(build_frame_subset(model)) as frames:
        inside = [m for layer in layers for name, m in layer.named_modules() if name in INSIDE]
        assert len(inside) >= 2 * len(layers)
        for fresh in (EVEN, (3,)):
            assert lengths(inside, model, frames, tiny.inputs(), fresh) == {len(fresh)}


@named(UNETS)
def test_temporal_layers_middle_and_decoder_run_on_all_frames(tiny: Tiny) -> None:
    model: Any = model_of(tiny.name)
    lists = [module for name, module in model.down_blocks.named_modules() if name.split(".")[-1] in TEMPORAL]
    temporal = [m for one in lists for m in (one if isinstance(one, nn.ModuleList) else [one])]
    assert temporal
    with closing(build_frame_subset(model)) as frames:
        assert lengths([*temporal, model.mid_block, *model.up_blocks], model, frames, tiny.inputs(), EVEN) == {FRAMES}


def test_a_frame_between_is_its_shortcut_plus_its_neighbours_change() -> None:
    model: Any = model_of("UNet3DConditionModel")
    resnet = next(r for block in model.down_blocks for r in block.resnets if r.conv_shortcut is not None)
    hidden, temb = (
        noise(2 * FRAMES, resnet.in_channels, 6, 8),
        noise(2 * FRAMES, resnet.time_emb_proj.in_features, seed=2),
    )
    with torch.no_grad():
        full, short = (
            resnet(hidden, temb).unflatten(0, (2, FRAMES)),
            resnet.conv_shortcut(hidden).unflatten(0, (2, FRAMES)),
        )
        with closing(build_frame_subset(model)) as frames, frames.select((0, 3), FRAMES, "a"):
            got = resnet(hidden, temb).unflatten(0, (2, FRAMES))
    delta = full - short
    between = short[:, 1] + delta[:, 0] * 2 / 3 + delta[:, 3] / 3
    assert torch.allclose(got[:, [0, 3]], full[:, [0, 3]], atol=1e-5)
    assert torch.allclose(got[:, 1], between, atol=1e-5)


def test_samples_of_a_batch_do_not_mix() -> None:
    tiny = BY_NAME["UNet3DConditionModel"]
    model, one = model_of(tiny.name), tiny.inputs()
    two = moved(one, 2.0)
    texts = one["encoder_hidden_states"].repeat(2, 1, 1)
    both = {**one, "sample": torch.cat([one["sample"], two["sample"]]), "encoder_hidden_states": texts}
    with closing(build_frame_subset(model)) as frames:
        separate = torch.cat([subset(frames, model, one), subset(frames, model, two)])
        assert torch.allclose(subset(frames, model, both), separate, atol=1e-5)


@named(UNETS)
def test_a_cut_attached_after_it_caches_all_frames(tiny: Tiny) -> None:
    model, inputs = model_of(tiny.name), tiny.inputs()
    with closing(build_frame_subset(model)) as frames:
        alone = subset(frames, model, inputs)
        cut = UnetCut(model, 1, 1, 0)

        def forward(copies: int, timesteps: Tensor | None) -> Any:
            return run(model, inputs)

        with frames.select(EVEN, FRAMES, "a"):
            key = cut.evaluate("a", 0.0, forward, torch.zeros(()))[0]
        assert torch.equal(key, alone)
        assert torch.equal(cut.replay("a", (0.0,), forward, torch.zeros(())), key)
        cut.close()
        assert torch.equal(subset(frames, model, inputs), alone)
    assert untouched(model)


@pytest.mark.parametrize("name", ["UNetMotionModel", "WanTransformer3DModel"])
def test_a_frame_subset_over_other_attachments_is_refused(name: str) -> None:
    model = model_of(name)
    first: Any = UnetCut(model, 0, 2, 0) if is_unet(model) else build_frame_subset(model)
    with pytest.raises(InputError, match="build the frame subset first"):
        build_frame_subset(model)
    first.close()
    assert untouched(model)
