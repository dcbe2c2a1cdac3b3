"""Configurations and models that attaching refuses, and model features that still work while propagation is
attached."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.attention.models import TINY, Tiny, text
from tests.propagation.models import STEPS, TRANSFORMERS, UNETS, Timesteps, equal, inputs_at, run, tensors
from videogen.attention import SparseAttention
from videogen.attention import attach as attach_sparse
from videogen.core.errors import InputError, UnsupportedError
from videogen.propagation import StepCaching, attach
from videogen.propagation.propagated_model import has_fixed_batch

MOTION = next(tiny for tiny in UNETS if tiny.name == "UNetMotionModel")
UNET_3D = next(tiny for tiny in UNETS if tiny.name == "UNet3DConditionModel")
WAN = TRANSFORMERS[0]


class Twice(Timesteps):
    def __init__(self) -> None:
        super().__init__()
        self.timesteps = self.timesteps.repeat_interleave(2)


REFUSED: list[tuple[str, Tiny, Callable[[], Any], type[Exception], str]] = [
    ("no error", MOTION, lambda: StepCaching(max_error=0), InputError, "max_error=0 must be above 0"),
    ("infinite", MOTION, lambda: StepCaching(max_error=float("inf")), InputError, "max_error=inf"),
    ("both", MOTION, lambda: StepCaching(max_error=0.1, keys="fd"), InputError, "are both given"),
    ("a list without 0", MOTION, lambda: StepCaching(keys=(1, 2)), InputError, "begin with 0"),
    ("an unsorted list", MOTION, lambda: StepCaching(keys=(0, 3, 2)), InputError, "must rise"),
    (
        "a list with a fraction",
        MOTION,
        lambda: StepCaching(keys=(0, 1.5)),  # type: ignore[arg-type]
        InputError,
        "whole numbers",
    ),
    ("an unknown list", MOTION, lambda: StepCaching(keys="ddim"), InputError, "keys='ddim' is unknown"),
    (
        "an unknown boundary",
        MOTION,
        lambda: StepCaching(boundary="half"),
        InputError,
        "boundary='half' is unknown",
    ),
    (
        "an unknown predictor",
        MOTION,
        lambda: StepCaching(predictor="lineer"),
        InputError,
        "did you mean 'linear'",
    ),
    (
        "a probe without blocks",
        MOTION,
        lambda: StepCaching(boundary="fd", predictor="probe"),
        InputError,
        "blocks:1,1",
    ),
    (
        "a cut too deep",
        MOTION,
        lambda: StepCaching(keys=(0,), boundary="cut:9,1"),
        InputError,
        "use cut:0..4,1..4",
    ),
    (
        "a branch too deep",
        MOTION,
        lambda: StepCaching(keys=(0,), boundary="deepcache:4"),
        InputError,
        "branches are 0 to 3",
    ),
    (
        "blocks of a UNet",
        MOTION,
        lambda: StepCaching(keys=(0,), boundary="blocks:1,1"),
        UnsupportedError,
        "no list of blocks",
    ),
    (
        "fd of a transformer",
        WAN,
        lambda: StepCaching(keys=(0,), boundary="fd"),
        UnsupportedError,
        "no encoder and decoder to cut",
    ),
    (
        "no blocks left",
        WAN,
        lambda: StepCaching(keys=(0,), boundary="blocks:1,1"),
        InputError,
        "leaves nothing of 2 blocks",
    ),
    (
        "a promise without a schedule",
        WAN,
        lambda: StepCaching(max_error=0.1),
        InputError,
        "give attach(..., scheduler=)",
    ),
    (
        "a list that must be scaled",
        MOTION,
        lambda: StepCaching.parse("fd"),
        InputError,
        "give attach(..., scheduler=)",
    ),
    (
        "frames of a joint model",
        TRANSFORMERS[5],
        lambda: StepCaching(keys=(0,), frames=2),
        UnsupportedError,
        "frames=1",
    ),
    (
        "no frames at all",
        MOTION,
        lambda: StepCaching(keys="fd", frames=0),
        InputError,
        "frames=0 must be a whole number",
    ),
    (
        "a gate beyond",
        MOTION,
        lambda: StepCaching(frames_gate=2),
        InputError,
        "frames_gate=2 must be from 0 to 1",
    ),
    (
        "frames under a promise",
        MOTION,
        lambda: StepCaching(max_error=0.1, frames=2),
        InputError,
        "such as every:2",
    ),
    (
        "noise under a promise",
        MOTION,
        lambda: StepCaching(prior_noise=0.1),
        InputError,
        "give keys, such as every:2",
    ),
    ("a string for a flag", MOTION, lambda: StepCaching.from_dict({"roll_back": "no"}), InputError, "true or"),
    ("no batch", MOTION, lambda: StepCaching(micro_batch=0), InputError, "micro_batch=0 must be"),
]


@pytest.mark.parametrize(("tiny", "config", "error", "message"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED])
def test_refused(tiny: Tiny, config: Callable[[], Any], error: type[Exception], message: str) -> None:
    model = tiny.build()
    with pytest.raises(error, match=message.replace("(", r"\(").replace(")", r"\)")):
        attach(model, config())
    assert all("forward" not in vars(module) for module in model.modules())


def test_a_solver_that_calls_twice_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="twice in some steps"):
        attach(WAN.build(), "every:2", scheduler=Twice())


def test_one_handle_per_model_and_no_copies_while_it_is_attached() -> None:
    model = WAN.build()
    with attach(model, "every:2") as handle:
        with pytest.raises(InputError, match="attached already"):
            attach(model, "every:3")
        with pytest.raises(InputError, match="cannot be copied"):
            copy.deepcopy(model)
    handle.close()  # a second time does no harm
    copy.deepcopy(model)
    with pytest.raises(InputError, match="needs nothing attached"):
        attach(model, "off")
    with pytest.raises(InputError, match="must be a StepCaching"):
        attach(model, 3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="has no UNet or transformer"):
        attach(object(), "every:2")


NESTED = [(WAN, "output"), (WAN, "blocks:1,0"), (MOTION, "fd"), (MOTION, "cut:1,2")]


@pytest.mark.parametrize("sparse_last_off", [True, False], ids=["sparse attention closed last", "closed first"])
@pytest.mark.parametrize("sparse_first", [True, False], ids=["sparse attention attached first", "attached last"])
@pytest.mark.parametrize(("tiny", "boundary"), [pytest.param(*case, id=f"{case[0].name}-{case[1]}") for case in NESTED])
def test_it_nests_with_sparse_attention(tiny: Tiny, boundary: str, sparse_first: bool, sparse_last_off: bool) -> None:
    model = tiny.build()
    plain, before = run(model, tiny), traces(model)
    attachers: list[Callable[[], Any]] = [
        lambda: attach_sparse(model, SparseAttention(min_length=8), steps=STEPS),
        lambda: attach(model, StepCaching(keys=(0, 2, 4), boundary=boundary)),
    ]
    handles = {index: attachers[index]() for index in ((0, 1) if sparse_first else (1, 0))}
    run(model, tiny)
    assert handles[0].records and handles[1].report()["keys"] == [0, 2, 4]
    for index in (1, 0) if sparse_last_off else (0, 1):
        with pytest.raises(InputError, match="cannot be copied or saved"):
            copy.deepcopy(model)
        handles[index].close()
    assert traces(model) == before and all(map(equal, plain, run(model, tiny)))
    copy.deepcopy(model)


def traces(model: torch.nn.Module) -> list[object]:
    """Attributes and hooks of all modules."""
    return [
        (sorted(vars(module)), len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()
    ]


def test_sparse_attention_on_the_model_is_recognized() -> None:
    """Its block maps are for one batch size, so that with it nothing is made ahead in a larger batch, and not
    audited."""
    model = WAN.build()
    assert not has_fixed_batch(model)
    with attach(model, "every:2"):
        assert not has_fixed_batch(model)
        with attach_sparse(model, SparseAttention(min_length=64), steps=STEPS):
            assert has_fixed_batch(model)
    assert not has_fixed_batch(model)


@pytest.mark.parametrize("boundary", ["fd", "cut:1,1", "cut:1,2"])
def test_freeu_does_not_write_into_cached_features(boundary: str) -> None:
    model = UNET_3D.build()
    model.enable_freeu(s1=0.9, s2=0.2, b1=1.4, b2=1.6)
    plain = run(model, UNET_3D)
    with attach(model, StepCaching(keys=tuple(range(STEPS)), boundary=boundary)):
        assert all(map(equal, plain, run(model, UNET_3D)))
    with (
        attach(model, StepCaching(keys=(0,), boundary=boundary, micro_batch=1)) as handle,
        torch.inference_mode(),
    ):
        with handle.at(0, "cond"):
            key = tensors(model(**inputs_at(UNET_3D, 0)))
        for step in (1, 2):
            with handle.at(step, "cond"):
                assert equal(key, tensors(model(**inputs_at(UNET_3D, 0))))


def test_residuals_of_a_controlnet_stay_fresh_and_are_never_made_ahead() -> None:
    model = UNET_3D.build()
    sizes: list[torch.Size] = []
    makers = [
        model.conv_in,
        *(layer for block in model.down_blocks for layer in (*block.resnets, *(block.downsamplers or ()))),
    ]
    hooks = [layer.register_forward_hook(lambda _, args, out: sizes.append(out.shape)) for layer in makers]
    with torch.inference_mode():
        model(**inputs_at(UNET_3D, 0))
    for hook in hooks:
        hook.remove()

    def residuals(scale: float) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(5)
        return {
            "down_block_additional_residuals": tuple(scale * torch.randn(size, generator=generator) for size in sizes)
        }

    first, second = residuals(0.1), residuals(0.3)
    with (
        attach(model, StepCaching(keys=(0,), boundary="fd"), scheduler=Timesteps()) as handle,
        torch.inference_mode(),
    ):
        outputs = []
        for step, more in ((0, first), (1, first), (2, second)):
            outputs.append(tensors(model(**inputs_at(UNET_3D, step), **more)))
        assert [call.key for call in handle.evaluations] == [True, False, False] and handle.run.ahead_s == 0.0
        assert handle.run.forced == {}
    assert not equal(outputs[1], outputs[2])


def test_image_prompts_and_pooled_text_are_expanded_with_the_batch() -> None:
    """A dictionary of conditions goes through decoding ahead as it goes through single steps."""
    from diffusers import UNetMotionModel

    torch.manual_seed(0)
    model = UNetMotionModel(**(dict(MOTION.build().config) | {
        "addition_embed_type": "text_time", "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 8 + 6 * 4,
    })).eval()  # fmt: skip
    added = {"text_embeds": text(1, 8, seed=9)[:, 0], "time_ids": torch.arange(6.0).unsqueeze(0)}
    found = []
    for micro_batch in (1, 4):
        config = StepCaching(keys=(0, 2), boundary="fd", micro_batch=micro_batch)
        with attach(model, config, scheduler=Timesteps()):
            found.append(run(model, MOTION, added_cond_kwargs=added))
    for one, ahead in zip(*found, strict=True):
        torch.testing.assert_close(one[0], ahead[0], rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(
    "tiny", [tiny for tiny in TINY if tiny.name in ("UNetMotionModel", "WanTransformer3DModel")], ids=lambda t: t.name
)
def test_the_report_of_a_promise_has_time_and_memory(tiny: Tiny) -> None:
    model = tiny.build()
    with attach(model, StepCaching(max_error=0.5, first=2), scheduler=Timesteps()) as handle:
        run(model, tiny)
        report = handle.report()
    assert report["keys"][:2] == [0, 1] and report["keys"][-1] == STEPS - 1 and report["steps"] == STEPS
    assert report["kept_bytes"] > 0 and report["estimated_error"] >= 0 and report["factor"] > 0
    assert report["drift"]["0"] is None and all(value >= 0 for step, value in report["drift"].items() if step != "0")
