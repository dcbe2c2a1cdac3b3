"""Caches of diffusers: exact where nothing is reused, separate per guidance branch, detached without a trace, refused
where they fail."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import FirstBlockCacheConfig
from diffusers.hooks import HookRegistry
from torch import nn

from tests.attention.models import TINY, Tiny
from videogen.core.errors import InputError, UnsupportedError
from videogen.propagation import library_checks
from videogen.propagation.caches import LibraryCache
from videogen.propagation.library import LibraryHandle, attach_library, calibrate_magcache

STEPS = 8
ROWS = {row.name: row for row in TINY}
WAN, COGVIDEOX = ROWS["WanTransformer3DModel"], ROWS["CogVideoXTransformer3DModel"]
NAMES = ("first-block", "magcache", "taylorseer", "fastercache", "pab", "seacache")
SKIPPING_BLOCKS = ("first-block", "magcache", "seacache")
UNETS = tuple(name for name in ROWS if "UNet" in name)
NO_CACHE = ("ConsisIDTransformer3DModel", "EasyAnimateTransformer3DModel", "CosmosTransformer3DModel")
UNREGISTERED = (
    "SkyReelsV2Transformer3DModel", "ChronoEditTransformer3DModel", "HeliosTransformer3DModel",
    "HunyuanVideo15Transformer3DModel",
    "LTX2VideoTransformer3DModel", "AllegroTransformer3DModel",
)  # fmt: skip
both = pytest.mark.parametrize("row", [WAN, COGVIDEOX], ids=lambda row: row.name)
each = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def attach(target: Any, cache: str, **more: Any) -> LibraryHandle:
    """Attach with the options that each cache needs; calls are of one guidance branch."""
    ratios = {"mag_ratios": [1.0] * STEPS} if cache.startswith("magcache") else {}
    return attach_library(target, cache, **{"steps": STEPS, "is_guidance_distilled": True, **ratios, **more})


def call(row: Tiny, model: nn.Module, step: int = 0, branch: str = "cond", batch: int = 1, **more: Any) -> torch.Tensor:
    """Latents and timestep move with the step; the branch decides the text."""
    inputs = row.inputs()
    sign = -1.0 if branch == "uncond" else 1.0
    inputs["hidden_states"] = (inputs["hidden_states"] * (1 - 0.05 * step)).repeat(batch, 1, 1, 1, 1)
    inputs["encoder_hidden_states"] = (inputs["encoder_hidden_states"] * sign).repeat(batch, 1, 1)
    inputs["timestep"] = torch.full((batch,), timestep(step))
    found: torch.Tensor = model(**inputs, **more)[0]
    return found


def timestep(step: int) -> float:
    return 600.0 - 20 * step


def at(handle: LibraryHandle, step: int, branch: str = "cond") -> Any:
    return handle.at(step, branch, timestep=torch.tensor([timestep(step)]), sigma=timestep(step) / 1000)


BRANCHES = ("cond", "uncond")


def trajectory(
    row: Tiny, model: nn.Module, handle: LibraryHandle, branches: tuple[str, ...] = BRANCHES
) -> dict[str, list[torch.Tensor]]:
    found: dict[str, list[torch.Tensor]] = {branch: [] for branch in branches}
    for step in range(STEPS):
        for branch in branches:
            with at(handle, step, branch):
                found[branch].append(call(row, model, step, branch))
    return found


def footprint(model: nn.Module) -> list[object]:
    """Attributes and hooks that attaching could leave behind."""
    names = ("forward", "_diffusers_hook", "_cache_config")
    return [
        (len(m._forward_hooks), len(m._forward_pre_hooks), [key for key in names if key in vars(m)])
        for m in model.modules()
    ]


def equal(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


# Specs


@pytest.mark.parametrize(
    ("spec", "name", "value"),
    [
        ("first-block:0.08", "first-block", 0.08), ("magcache:0.06", "magcache", 0.06),
        ("taylorseer:3", "taylorseer", 3),
        ("fastercache", "fastercache", 2), ("pab:2", "pab", 2), ("seacache:0.3", "seacache", 0.3),
        ("seacache", "seacache", 0.25), ("pab:2.0", "pab", 2),
    ],
)  # fmt: skip
def test_a_spec_names_a_cache(spec: str, name: str, value: float) -> None:
    cache = LibraryCache.parse(spec)
    assert cache == LibraryCache(name, value)
    assert LibraryCache.parse(str(cache)) == cache


@pytest.mark.parametrize("spec", ["off", "teacache:0.1", "every:3", "", ":2", "pab2"])
def test_another_spec_is_none(spec: str) -> None:
    assert LibraryCache.parse(spec) is None


@pytest.mark.parametrize(
    "spec",
    [
        "first-block:0", "first-block:-1", "first-block:nan", "first-block:inf", "first-block:x", "first-block:",
        "pab:1.5", "taylorseer:0",
        "fastercache:0.5",
    ],
)  # fmt: skip
def test_a_bad_number_is_refused(spec: str) -> None:
    with pytest.raises(InputError, match=spec.partition(":")[0]):
        LibraryCache.parse(spec)


@pytest.mark.parametrize("value", [True, "2", [2]])
def test_a_value_is_a_number(value: Any) -> None:
    with pytest.raises(InputError, match="pab"):
        LibraryCache("pab", value)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'magcache'"):
        LibraryCache("magcash")
    with pytest.raises(InputError, match="unknown cache"):
        attach_library(WAN.build(), "off")


# Reuse


@both
@each
def test_a_run_reuses_and_closing_leaves_no_trace(row: Tiny, name: str) -> None:
    model = row.build()
    before, marks = call(row, model), footprint(model)
    plain = [call(row, model, step) for step in range(STEPS)]
    cache = f"{name}:9" if name in SKIPPING_BLOCKS else name
    with attach(model, cache) as handle:
        found = trajectory(row, model, handle)
    report = handle.report()
    assert report["name"] == name and report["value"] == LibraryCache.parse(cache).value  # type: ignore[union-attr]
    assert report["computed"] + report["reused"] == 2 * STEPS and report["computed"] >= 2 and report["reused"] >= 4
    assert report["calls"]["model"]["cond"] == report["calls"]["model"]["uncond"]
    assert torch.equal(found["cond"][0], plain[0]) and not equal(found["cond"], plain)
    assert torch.equal(call(row, model), before) and footprint(model) == marks
    handle.close()  # once more does nothing


@both
@pytest.mark.parametrize(
    "cache", ["first-block:1e-9", "magcache:1e-9", "taylorseer:1", "fastercache:1", "pab:1", "seacache:1e-9"]
)
def test_nothing_to_reuse_is_the_plain_model(row: Tiny, cache: str) -> None:
    model = row.build()
    plain = {branch: [call(row, model, step, branch) for step in range(STEPS)] for branch in ("cond", "uncond")}
    ratios = {"mag_ratios": [1.1] * STEPS} if cache.startswith("magcache") else {}
    with attach(model, cache, **ratios) as handle:
        found = trajectory(row, model, handle)
    assert all(equal(found[branch], plain[branch]) for branch in plain)
    assert handle.report()["reused"] == 0


@both
@each
def test_branches_do_not_mix(row: Tiny, name: str) -> None:
    """The outputs of a branch do not depend on the other."""
    cache = f"{name}:9" if name in SKIPPING_BLOCKS else name
    model = row.build()
    with attach(model, cache) as handle:
        together = trajectory(row, model, handle)
    for branch in ("cond", "uncond"):
        with attach(model, cache) as handle:
            alone = trajectory(row, model, handle, (branch,))
        assert equal(alone[branch], together[branch])


@pytest.mark.parametrize("row", [row for row in TINY if row.name not in (*UNETS, *NO_CACHE)], ids=lambda row: row.name)
@each
def test_the_same_input_gives_the_same_output(row: Tiny, name: str) -> None:
    """A cache that is not refused is correct: cached features of equal calls give an equal output, to rounding."""
    model = row.build()
    output = model(**row.inputs())
    plain = output[0] if isinstance(output, tuple) else output
    try:
        handle = attach(model, f"{name}:9" if name in SKIPPING_BLOCKS else name)
    except UnsupportedError:
        assert model.is_cache_enabled is False and not any("_diffusers_hook" in vars(m) for m in model.modules())
        return
    with handle:
        for step in range(STEPS):
            with handle.at(step, "cond", timestep=500.0, sigma=0.5):
                output = model(**row.inputs())
            torch.testing.assert_close(output[0] if isinstance(output, tuple) else output, plain, rtol=1e-5, atol=1e-5)
    assert handle.report()["reused"] >= 2


@each
def test_a_new_run_starts_afresh(name: str) -> None:
    model = WAN.build()
    with attach(model, f"{name}:9" if name in SKIPPING_BLOCKS else name) as handle:
        first = trajectory(WAN, model, handle)
        counts = handle.report()
        second = trajectory(WAN, model, handle)  # its step 0 says so
        assert handle.report() == counts
        handle.reset()
        assert handle.report()["computed"] == handle.report()["reused"] == 0
        third = trajectory(WAN, model, handle)
    assert equal(first["cond"], second["cond"]) and equal(first["uncond"], third["uncond"])


@pytest.mark.parametrize("row", [WAN, COGVIDEOX], ids=lambda row: row.name)
@pytest.mark.filterwarnings("ignore:.*meshgrid.*:UserWarning")
def test_fastercache_makes_the_unconditional_half(row: Tiny) -> None:
    model = row.build()
    with attach(model, "fastercache", is_guidance_distilled=False) as handle:
        for step in range(STEPS):
            with at(handle, step, "both"):
                assert call(row, model, step, batch=2).shape[0] == 2
    assert handle.report()["calls"]["model"]["both"]["reused"] >= 4


def test_a_pipeline_s_two_experts_share_the_run() -> None:
    """Magcache counts the steps of the run, even where each expert is called at only a part of them."""
    first, second = WAN.build(), WAN.build()
    pipeline = SimpleNamespace(
        components={"transformer": first, "transformer_2": second, "vae": nn.Linear(1, 1), "unet": None}
    )
    with attach(pipeline, "magcache:9") as handle:
        for step in range(STEPS):
            with at(handle, step):
                call(WAN, first if step < 2 else second, step)
        calls = handle.report()["calls"]
    assert calls["transformer"]["cond"] == {"computed": 2, "reused": 0}  # the first fifth of a run is computed
    assert calls["transformer_2"]["cond"]["computed"] == 2  # its first call, and after three in a row
    assert not any("_diffusers_hook" in vars(m) for model in (first, second) for m in model.modules())


def test_calibration_measures_one_ratio_per_step(capsys: pytest.CaptureFixture[str]) -> None:
    model = WAN.build()
    ratios = calibrate_magcache(model, lambda handle: trajectory(WAN, model, handle), steps=STEPS)
    assert (
        len(ratios) == STEPS and ratios[0] == 1.0 and all(0.5 < ratio < 2 for ratio in ratios) and len(set(ratios)) > 2
    )
    assert capsys.readouterr().out == ""
    with attach(model, "magcache:9", mag_ratios=ratios) as handle:
        trajectory(WAN, model, handle)
    assert handle.report()["reused"] > 0


def test_calibration_through_contexts_that_a_pipeline_opens() -> None:
    model = WAN.build()

    def pipeline(_: LibraryHandle) -> None:
        for step in range(STEPS):
            with model.cache_context("cond"):
                call(WAN, model, step)
        model._reset_stateful_cache()  # as its end does

    assert len(calibrate_magcache(model, pipeline, steps=STEPS)) == STEPS
    with pytest.raises(InputError, match=f"evaluated steps .*7.*, but steps={STEPS + 1}"):
        calibrate_magcache(model, pipeline, steps=STEPS + 1)
    assert not model.is_cache_enabled


# Refusals


@pytest.mark.parametrize("row_name", [*UNETS, *NO_CACHE])
@each
def test_models_without_caches_are_refused(row_name: str, name: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"{row_name}.*use propagation"):
        attach(ROWS[row_name].build(), name)


@pytest.mark.parametrize(
    ("row_name", "names", "why"),
    [
        *((row_name, SKIPPING_BLOCKS, "not in diffusers' registry") for row_name in UNREGISTERED),
        ("WanVACETransformer3DModel", SKIPPING_BLOCKS, "would add twice"),
        ("LatteTransformer3DModel", SKIPPING_BLOCKS, "different shapes"),
        ("Kandinsky5Transformer3DModel", ("first-block",), "takes no 'hidden_states'"),
        ("Kandinsky5Transformer3DModel", ("fastercache",), "no attention"),
        ("Kandinsky5Transformer3DModel", ("seacache",), "no latents"),
        ("LTXVideoTransformer3DModel", ("seacache",), "no latents"),
    ],
)
def test_models_on_which_a_cache_fails_are_refused(row_name: str, names: tuple[str, ...], why: str) -> None:
    model = ROWS[row_name].build()
    marks = footprint(model)
    for name in names:
        with pytest.raises(UnsupportedError, match=rf"{row_name}.*{why}.*use "):
            attach(model, name)
    assert footprint(model) == marks


def test_hints_between_blocks_would_be_added_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why that model is refused: diffusers raises no error and the output is wrong."""
    row = ROWS["WanVACETransformer3DModel"]
    model = row.build()
    plain = model(**row.inputs())[0]
    monkeypatch.setattr(library_checks, "_BETWEEN_BLOCKS", {})
    with attach(model, "first-block:9") as handle:
        for step in range(2):
            with at(handle, step):
                found = model(**row.inputs())[0]
    assert (found - plain).norm() > 0.01 * plain.norm()


def test_taylorseer_needs_a_module_that_matches() -> None:
    from diffusers.models.cache_utils import CacheMixin

    class Bare(nn.Module, CacheMixin):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(2, 2)])

    model = Bare()
    for name in ("taylorseer", "pab", "fastercache"):
        with pytest.raises(UnsupportedError, match="Bare has no attention"):
            attach(model, name)
    assert not any("_diffusers_hook" in vars(m) for m in model.modules()) and not model.is_cache_enabled


def test_inputs_that_a_cache_needs() -> None:
    model = WAN.build()
    for name in ("magcache", "seacache"):
        with pytest.raises(UnsupportedError, match="how many steps"):
            attach(model, name, steps=None)
    with pytest.raises(UnsupportedError, match="calibrate_magcache"):
        attach_library(model, "magcache", steps=STEPS)
    for bad in ([], [1.0, float("nan")], [0.0], ["1"]):
        with pytest.raises(InputError, match="mag_ratios="):
            attach(model, "magcache", mag_ratios=bad)
    with pytest.raises(InputError, match="pab:2 takes none"):
        attach(model, "pab", mag_ratios=[1.0])
    with pytest.raises(InputError, match="steps=0"):
        attach(model, "pab", steps=0)
    with pytest.raises(InputError, match="has no UNet or transformer"):
        attach(object(), "pab")


def test_a_second_cache_is_refused() -> None:
    model = WAN.build()
    with attach(model, "pab"), pytest.raises(UnsupportedError, match="WanTransformer3DModel has a cache"):
        attach(model, "first-block")
    model.enable_cache(FirstBlockCacheConfig())
    with pytest.raises(UnsupportedError, match="enabled already"):
        attach(model, "first-block")
    assert model.is_cache_enabled
    model.disable_cache()
    attach(model, "first-block").close()


@each
def test_enabling_that_fails_half_way_is_undone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = WAN.build(), WAN.build()
    marks, register, count = footprint(first), HookRegistry.register_hook, 0

    def failing(self: Any, hook: Any, hook_name: str) -> None:
        nonlocal count
        count += 1
        if any(self._module_ref is m for m in second.blocks[1].modules()):
            raise RuntimeError("half way")
        register(self, hook, hook_name)

    monkeypatch.setattr(HookRegistry, "register_hook", failing)
    pipeline = SimpleNamespace(components={"transformer": first, "transformer_2": second})
    with pytest.raises(UnsupportedError, match=r"cannot be enabled on WanTransformer3DModel \(half way"):
        attach(pipeline, name)
    assert count > 2 and footprint(first) == footprint(second) == marks
    assert torch.equal(call(WAN, first), call(WAN, second))


def test_other_hooks_of_the_library_stay() -> None:
    model = WAN.build()
    plain = call(WAN, model)
    model.enable_layerwise_casting(storage_dtype=torch.float64, compute_dtype=torch.float32)
    marks = footprint(model)
    with attach(model, "first-block") as handle:
        trajectory(WAN, model, handle)
    assert footprint(model) == marks and torch.equal(call(WAN, model), plain)


@pytest.mark.parametrize(
    ("cache", "arguments", "why"),
    [
        ("pab", {"step": 0}, "give at"), ("fastercache", {"step": 0}, "timestep"),
        ("seacache", {"step": 0, "sigma": 1.5}, "sigma=1.5"),
        ("seacache", {"step": 0}, "sigma=None"), ("first-block", {"step": -1}, "step=-1"),
        ("first-block", {"step": STEPS}, "from 0 to 7"),
        ("first-block", {"step": 1.0}, "step=1.0"),
    ],
)  # fmt: skip
def test_at_checks_its_arguments(cache: str, arguments: dict[str, Any], why: str) -> None:
    with (
        attach(WAN.build(), cache) as handle,
        pytest.raises(InputError, match=why),
        handle.at(**arguments, branch="cond"),
    ):
        pass


def test_steps_go_up() -> None:
    model = WAN.build()
    with attach(model, "first-block") as handle:
        with at(handle, 3):
            call(WAN, model, 3)
            with pytest.raises(InputError, match="within at"):
                handle.reset()
        with pytest.raises(InputError, match="step 3 of branch 'cond' comes after its step 3"), at(handle, 3):
            pass
        with at(handle, 3, "window 2"):
            call(WAN, model, 3)
    with pytest.raises(InputError, match="closed"), at(handle, 4):
        pass


def test_pab_without_at_is_refused_with_a_remedy() -> None:
    model = WAN.build()
    with attach(model, "pab"), pytest.raises(InputError, match=r"put handle\.at"):
        call(WAN, model)


@pytest.mark.parametrize(
    ("batch", "more", "why"),
    [
        pytest.param(1, {}, "a batch of 1 is not a pair", id="one branch per call"),
        pytest.param(
            2, {"encoder_hidden_states_image": torch.zeros(2, 1, 1)}, "does not halve", id="another batched input"
        ),
    ],
)
def test_fastercache_checks_the_halves(batch: int, more: dict[str, Any], why: str) -> None:
    model = WAN.build()
    with attach(model, "fastercache", is_guidance_distilled=False) as handle:
        with pytest.raises((InputError, UnsupportedError), match=f"{why}.*is_guidance_distilled=True"), at(handle, 0):
            call(WAN, model, batch=batch, **more)
        with pytest.raises(InputError, match="a second branch 'uncond'"), at(handle, 0, "uncond"):
            pass


def test_a_model_is_not_copied_or_saved_meanwhile() -> None:
    model = WAN.build()
    with attach(model, "first-block"):
        for act in (copy.deepcopy, pickle.dumps):
            with pytest.raises(InputError, match="copied or saved"):
                act(model)
    assert torch.equal(call(WAN, copy.deepcopy(model)), call(WAN, model))
