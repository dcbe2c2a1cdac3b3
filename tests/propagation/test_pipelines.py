"""Pipelines that the user drives, in cases beyond a fresh run from pure noise to the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch

from tests.attention.models import TINY, Tiny
from tests.contract.families import VARIANTS
from tests.propagation.models import STEPS as STEPS_OF_RUN
from tests.propagation.models import Timesteps, equal, inputs_at, run
from videogen.core.errors import InputError, UnsupportedError
from videogen.propagation import StepCaching, attach, detach
from videogen.propagation.library import attach_library

STEPS = 8
WAN, COSMOS, LTX2 = (
    next(tiny for tiny in TINY if tiny.name == f"{name}Transformer3DModel") for name in ("Wan", "Cosmos", "LTX2Video")
)


class Stop(Exception):
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pipelines") / "animatediff"
    VARIANTS["animatediff"].build(path)
    return path


@pytest.fixture
def pipeline(folder: Path) -> Any:
    found = diffusers.AnimateDiffPipeline.from_pretrained(folder)
    found.set_progress_bar_config(disable=True)
    return found


def call(pipeline: Any, seed: int = 1, steps: int = STEPS, **more: Any) -> torch.Tensor:
    given = {
        "num_frames": 4,
        "width": 16,
        "height": 16,
        "num_inference_steps": steps,
        "guidance_scale": 4.0,
        "output_type": "latent",
    }
    return pipeline(prompt="a red ball", generator=torch.Generator().manual_seed(seed), **(given | more)).frames


def test_a_promise_on_a_pipeline_that_was_never_run(pipeline: Any) -> None:
    with attach(pipeline, "max_error:0.5") as handle:
        call(pipeline, steps=50)
        assert handle.report()["keys"][:5] == [0, 1, 2, 3, 4] and handle.report()["steps"] == 50


@pytest.mark.parametrize("boundary", ["output", "fd", "cut:1,1"])
def test_an_aborted_run_leaves_nothing_to_the_next(pipeline: Any, boundary: str) -> None:
    rule = StepCaching(keys="every:3", boundary=boundary)
    with attach(pipeline, rule):
        fresh = call(pipeline, seed=2)

    def stop(*_: Any) -> dict[str, Any]:
        raise Stop

    with attach(pipeline, rule) as handle:
        with pytest.raises(Stop):
            call(pipeline, callback_on_step_end=stop)
        assert torch.equal(call(pipeline, seed=2), fresh)
        assert handle.report()["keys"] == [0, 3, 6]
        for _ in range(3):
            call(pipeline, steps=1)
        assert handle.report()["keys"] == [0] and {call.branch for call in handle.evaluations} == {"0"}


def test_a_schedule_that_begins_in_its_middle(folder: Path, pipeline: Any) -> None:
    """Video to video: steps count from the first that is run, and decoding ahead takes the timesteps that come next."""
    import numpy as np
    from PIL import Image

    video = diffusers.AnimateDiffVideoToVideoPipeline(**pipeline.components)
    video.set_progress_bar_config(disable=True)
    frames = [Image.fromarray(np.full((16, 16, 3), 40 * i, np.uint8)) for i in range(4)]

    def half() -> torch.Tensor:
        given = {
            "video": frames,
            "prompt": "a red ball",
            "strength": 0.5,
            "num_inference_steps": 20,
            "guidance_scale": 4.0,
        }
        return video(
            **given, width=16, height=16, generator=torch.Generator().manual_seed(1), output_type="latent"
        ).frames

    found = []
    for micro_batch in (1, 4):
        with attach(video, StepCaching(keys=(0, 3, 6), boundary="fd", micro_batch=micro_batch)) as handle:
            found.append(half())
            assert handle.report()["keys"] == [0, 3, 6] and handle.report()["steps"] == 10
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


def test_another_scheduler_and_freeu_while_attached(pipeline: Any) -> None:
    with attach(pipeline, "fd"):
        call(pipeline)
        pipeline.unet.enable_freeu(s1=0.9, s2=0.2, b1=1.4, b2=1.6)
        with_freeu = call(pipeline)
        pipeline.scheduler = diffusers.UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
        call(pipeline, steps=20)
    pipeline.scheduler = diffusers.DDIMScheduler(beta_schedule="linear", clip_sample=False, steps_offset=1)
    with attach(pipeline, "fd"):
        assert torch.equal(call(pipeline), with_freeu)


def test_offloading_between_runs_does_not_detach_it(pipeline: Any) -> None:
    pipeline.enable_model_cpu_offload(device="cpu")
    with attach(pipeline, "every:3") as handle:
        for _ in range(2):
            call(pipeline)
            assert len(handle.report()["keys"]) < handle.report()["steps"] and handle.report()["steps"] >= STEPS - 1
    plain = call(pipeline)
    assert torch.equal(plain, call(pipeline))


@pytest.mark.parametrize("solver", ["KDPM2DiscreteScheduler", "HeunDiscreteScheduler"])
def test_two_calls_per_step_are_refused(pipeline: Any, solver: str) -> None:
    pipeline.scheduler = getattr(diffusers, solver)()
    with pytest.raises(UnsupportedError, match="twice in some steps"), attach(pipeline, "every:2"):
        call(pipeline)


@pytest.mark.parametrize("solver", ["LCMScheduler", "EulerAncestralDiscreteScheduler", "DDPMScheduler"])
def test_no_error_is_promised_where_each_step_adds_noise(pipeline: Any, solver: str) -> None:
    pipeline.scheduler = getattr(diffusers, solver)()
    with attach(pipeline, "max_error:0.1"), pytest.raises(UnsupportedError, match="adds noise at each step"):
        call(pipeline)


def test_a_guidance_scale_per_frame_and_channels_that_carry_a_condition() -> None:
    """Stable Video Diffusion has both: 8 channels go in, 4 come out, and each frame has a separate guidance scale."""
    tiny = next(tiny for tiny in TINY if tiny.name == "UNetSpatioTemporalConditionModel")
    model = tiny.build()

    pipeline = SimpleNamespace(
        scheduler=Timesteps(12), components={"unet": model}, do_classifier_free_guidance=True,
        guidance_scale=torch.linspace(1, 3, 4).view(1, 4, 1, 1, 1),
    )  # fmt: skip
    with attach(pipeline, StepCaching(keys="every:2")) as handle:
        run(model, tiny, 6)
        drift = [value for value in handle.report()["drift"].values() if value is not None]
    assert drift and max(drift) < 100
    assert handle.cuts and inputs_at(tiny, 0)["sample"].shape[2] == 8


@pytest.fixture
def wan(tmp_path: Path) -> Callable[[], Any]:
    def make() -> Any:
        VARIANTS["wan-2.2-experts"].build(tmp_path / "wan")
        found = diffusers.WanPipeline.from_pretrained(tmp_path / "wan")
        found.set_progress_bar_config(disable=True)
        return found

    return make


def test_an_expert_switch_in_a_pipeline_is_a_key_step_whose_error_is_measured(wan: Callable[[], Any]) -> None:
    pipeline = wan()
    with attach(pipeline, StepCaching(keys=(0,))) as handle:
        pipeline(
            prompt="a red ball", num_frames=5, width=32, height=32, num_inference_steps=STEPS, guidance_scale=4.0,
            output_type="latent",
            max_sequence_length=16, generator=torch.Generator().manual_seed(1),
        )  # fmt: skip
        report = handle.report()
    assert len(report["keys"]) == 2 and report["forced"] == {str(report["keys"][1]): "nothing was cached yet"}
    assert set(report["drift"]) == {str(key) for key in report["keys"]}


def driven(tiny: Tiny, scheduler: Timesteps) -> Any:
    return SimpleNamespace(scheduler=scheduler, components={"transformer": tiny.build()}, guidance_scale=1.0)


UNITS: dict[str, Callable[[int], torch.Tensor]] = {
    "the solver's timesteps": lambda step: torch.tensor([900.0 - 150 * step]),
    "noise levels, as in Cosmos 2": lambda step: torch.tensor([0.9 - 0.15 * step]),
    "noise levels per frame": lambda step: torch.full((1, 1, 4, 1, 1), 0.9 - 0.15 * step),
    "one per token, as in LTX-2 with a first frame": lambda step: torch.tensor(
        [[0.0] * 48 + [900.0 - 150 * step] * 144]
    ),
}


@pytest.mark.parametrize("units", UNITS.values(), ids=UNITS)
def test_steps_are_found_in_whatever_units_the_model_is_given_them(units: Callable[[int], torch.Tensor]) -> None:
    """A second run, with the same timesteps as another tensor, starts over."""
    pipeline = driven(COSMOS, Timesteps())
    model = pipeline.components["transformer"]
    model.forward = lambda hidden_states, timestep, **_: (hidden_states * timestep.max(),)
    with attach(pipeline, StepCaching(keys=(0, 3))) as handle, torch.inference_mode():
        for _ in range(2):
            pipeline.scheduler.timesteps = pipeline.scheduler.timesteps.clone()
            for step in range(STEPS_OF_RUN):
                model(**inputs_at(COSMOS, step) | {"timestep": units(step)})
            assert handle.report()["keys"] == [0, 3] and handle.report()["steps"] == STEPS_OF_RUN


def test_no_error_is_promised_at_noise_levels_that_are_not_known() -> None:
    """Cosmos 2 sets flow sigmas up to 80, at which 1 - sigma is no weight of the clean latents."""
    scheduler = Timesteps()
    scheduler.config["prediction_type"] = "flow_prediction"
    scheduler.sigmas = torch.tensor([80.0, 40.0, 8.0, 1.0, 0.1, 0.0])  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="max_error needs each step's noise"):
        attach(driven(COSMOS, scheduler), "max_error:0.1")


def test_latents_of_sound_and_noise_levels_change_at_each_step() -> None:
    """LTX-2: they are no conditions whose change would make every step a key step."""
    pipeline = driven(LTX2, Timesteps())
    model = pipeline.components["transformer"]
    with attach(pipeline, "every:2") as handle, torch.inference_mode():
        for step in range(STEPS_OF_RUN):
            given = inputs_at(LTX2, step)
            model(**given | {
                "audio_hidden_states": given["audio_hidden_states"] * (1 - 0.1 * step), "sigma": given["timestep"],
                "audio_timestep": given["timestep"],
            })  # fmt: skip
        assert handle.report()["keys"] == [0, 2, 4]


def test_conditions_that_change_at_every_step_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = driven(COSMOS, Timesteps())
    with attach(pipeline, "every:2"), torch.inference_mode(), caplog.at_level("WARNING", "videogen.propagation"):
        for step in range(STEPS_OF_RUN):
            given = inputs_at(COSMOS, step)
            pipeline.components["transformer"](
                **given | {"encoder_hidden_states": given["encoder_hidden_states"] + step}
            )
    assert [record.getMessage() for record in caplog.records] == [
        "nothing is propagated: encoder_hidden_states of the model differ from step to step, and every such step is "
        "evaluated; give the same values at each step, or leave propagation out"
    ]


def test_a_cache_that_is_enabled_later_is_an_error() -> None:
    from diffusers import FirstBlockCacheConfig
    from diffusers.hooks import apply_first_block_cache

    model = WAN.build()
    config = FirstBlockCacheConfig(threshold=0.1)
    for enable in (model.enable_cache, lambda config: apply_first_block_cache(model, config)):
        with attach(model, "every:2") as handle, handle.at(0, "cond"):
            enable(config)
            with pytest.raises(InputError, match="enabled after propagation was attached"):
                model(**inputs_at(WAN, 0))
        with pytest.raises(InputError, match="caches enabled"):
            attach(model, "every:2")
        if model.is_cache_enabled:
            model.disable_cache()


@pytest.mark.parametrize(
    "attach_one",
    [lambda pipeline: attach(pipeline, "every:2"), lambda pipeline: attach_library(pipeline, "first-block:0.1")],
    ids=["propagation", "a cache of diffusers"],
)
def test_a_lost_handle_is_detached_by_the_pipeline(attach_one: Callable[[Any], Any]) -> None:
    pipeline = driven(WAN, Timesteps())
    model = pipeline.components["transformer"]
    plain, before = run(model, WAN), [sorted(vars(module)) for module in model.modules()]
    attach_one(pipeline)
    with pytest.raises((InputError, UnsupportedError), match=r"already|enabled"):
        attach_one(pipeline)
    assert detach(pipeline) and not detach(pipeline)
    assert [sorted(vars(module)) for module in model.modules()] == before
    assert all(map(equal, plain, run(model, WAN)))


def test_a_model_of_which_only_feed_forward_parts_are_compiled_is_taken() -> None:
    model = WAN.build()
    for block in model.blocks:
        block.ffn._compiled_call_impl = block.ffn._call_impl
    for attach_one in (lambda: attach(model, "every:2"), lambda: attach_library(model, "first-block:0.1")):
        with attach_one():
            pass
    model.blocks[1]._compiled_call_impl = model.blocks[1]._call_impl
    with attach(model, "every:2"):  # extrapolates the output, around all blocks
        pass
    for refused in (
        lambda: attach(model, StepCaching(keys=(0,), boundary="blocks:1,0")),
        lambda: attach_library(model, "first-block:0.1"),
    ):
        with pytest.raises(InputError, match="attach first, then compile"):
            refused()
    assert all("forward" not in vars(module) for module in model.modules())


def test_a_promise_on_a_flow_pipeline_that_was_never_run() -> None:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    pipeline = SimpleNamespace(scheduler=scheduler, components={"transformer": WAN.build()}, guidance_scale=1.0)
    with attach(pipeline, "max_error:0.1") as handle, torch.inference_mode():
        scheduler.set_timesteps(12)
        for step, timestep in enumerate(scheduler.timesteps):
            pipeline.components["transformer"](**inputs_at(WAN, step % 5) | {"timestep": timestep.view(1)})
        assert handle.report()["steps"] == 12
