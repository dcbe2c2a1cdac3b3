"""Bit-identity on the real ComfyUI: nodes at their exact settings, with samplers, batches, windows and other packs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.comfyui.hosts import Host
from tests.comfyui.real import Real
from videogen.comfyui.hooks.attention_call import AttentionCall

SAMPLERS = ("euler", "heun", "dpmpp_2m", "uni_pc")
NODES = ("AdaptiveSparseAttention", "Propagation", "DualClockMotion", "LongContext", "KernelGuard")
OVERRIDE = "optimized_attention_override"

pytestmark = pytest.mark.usefixtures("short_runs")


@pytest.fixture(scope="module")
def real() -> Host:
    return Real()


@pytest.fixture(scope="module")
def model(real: Host) -> Any:
    return real.model()


def add_node(real: Host, model: Any, name: str) -> Any:
    """A MODEL with a node at the setting at which it changes nothing."""
    module = {
        "AdaptiveSparseAttention": "sparse_attention",
        "Propagation": "propagation",
        "KernelGuard": "kernel_guard",
        "LongContext": "long_context",
    }
    node = getattr(real.load_nodes(module.get(name, "dual_clock")), name)
    if name == "AdaptiveSparseAttention":
        found = node.execute(model, "recall", 1.0, 0.8, min_tokens=32)
    elif name == "Propagation":
        found = node.execute(model, "every:1")
    elif name == "DualClockMotion":
        reference = {"samples": torch.ones_like(real.noise)}
        found = node.execute(model, reference, torch.ones(33, 64, 64), 1.0, 0.5, strength=0.0)
    elif name == "LongContext":
        found = node.execute(model, 33, record=True)
    else:
        found = node.execute(model, "stop")
    return found.result[0]


def add_all(real: Host, model: Any) -> Any:
    for name in NODES:
        model = add_node(real, model, name)
    return model


def with_windows(model: Any) -> Any:
    from comfy_extras.nodes_context_windows import WanContextWindowsManualNode

    found = WanContextWindowsManualNode.execute(model, 17, 8, "standard_static", 1, False, "pyramid", False)
    return found.result[0]


@pytest.mark.parametrize("windows", [False, True], ids=["one window", "context windows"])
@pytest.mark.parametrize("batched", [True, False], ids=["one batch", "two calls"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_all_nodes_at_their_exact_settings(real: Host, model: Any, sampler: str, batched: bool, windows: bool) -> None:
    base = with_windows(model) if windows else model
    plain = real.sample(base, sampler, batched=batched)
    assert torch.equal(real.sample(add_all(real, base), sampler, batched=batched), plain)
    if windows:
        assert torch.equal(real.sample(with_windows(add_all(real, model)), sampler, batched=batched), plain)
    assert torch.equal(real.sample(base, sampler, batched=batched), plain)  # the original, after the run


@pytest.mark.parametrize("below", [True, False], ids=["EasyCache below", "EasyCache above"])
def test_under_and_over_core_s_step_cache(real: Host, model: Any, below: bool) -> None:
    from comfy_extras.nodes_easycache import EasyCacheNode

    def cache(given: Any) -> Any:
        return EasyCacheNode.execute(given, 0.2, 0.15, 0.95, False).result[0]

    both = add_all(real, cache(model)) if below else cache(add_all(real, model))
    expected = real.sample(cache(model), steps=8)
    assert not torch.equal(expected, real.sample(model, steps=8))
    assert torch.equal(real.sample(both, steps=8), expected)


@pytest.mark.parametrize("name", NODES)
def test_a_node_alone_and_removed(real: Host, model: Any, name: str) -> None:
    plain = real.sample(model)
    assert torch.equal(real.sample(add_node(real, model, name)), plain)
    assert torch.equal(real.sample(model), plain)


def test_warped_noise_of_strength_zero(real: Host, model: Any) -> None:
    from comfy_extras.nodes_custom_sampler import Noise_RandomNoise

    from videogen.motion import Camera

    plain, latent = Noise_RandomNoise(7), {"samples": torch.zeros_like(real.noise)}
    (found,) = real.load_nodes("warped_noise").WarpedNoise.execute(plain, Camera(pan=64), model, 0.0).result
    assert torch.equal(found.generate_noise(latent), plain.generate_noise(latent))


def own_kernel(func: Any, q: Any, k: Any, v: Any, heads: int, *args: Any, **kwargs: Any) -> Any:
    """Another pack's: its results differ from ComfyUI's, so that a clip shows whether it ran."""
    call = AttentionCall.read(q, k, v, heads, *args, **kwargs)
    weights = (0.9 * call.query @ call.key.mT * call.query.shape[-1] ** -0.5).softmax(-1)
    return call.result_as_given(weights @ call.value)


def set_before(real: Host, model: Any) -> Any:
    other = model.clone()
    other.model_options["transformer_options"][OVERRIDE] = own_kernel
    return add_all_but_guard(real, other)


def set_after(real: Host, model: Any) -> Any:
    other = add_all_but_guard(real, model)
    other.model_options["transformer_options"][OVERRIDE] = own_kernel
    return other


def set_while_sampling(real: Host, model: Any) -> Any:
    """As a pack that sets its override at each evaluation, whatever is there."""
    from comfy.patcher_extension import CallbacksMP

    def install(patcher: Any, timestep: Any, options: Any) -> None:
        options["transformer_options"][OVERRIDE] = own_kernel

    other = add_all_but_guard(real, model)
    other.add_callback_with_key(CallbacksMP.ON_PREPARE_STATE, "other pack", install)
    return other


def set_over_ours(real: Host, model: Any) -> Any:
    """As a pack that sets its override around the denoiser, over the one that it finds."""

    def wrap(executor: Any, *args: Any, **kwargs: Any) -> Any:
        options = args[5]
        present = options.get(OVERRIDE)
        options[OVERRIDE] = own_kernel
        try:
            return executor(*args, **kwargs)
        finally:
            options[OVERRIDE] = present

    other = add_all_but_guard(real, model)
    other.add_wrapper_with_key("apply_model", "other pack", wrap)
    return other


def add_all_but_guard(real: Host, model: Any) -> Any:
    for name in NODES[:-1]:
        model = add_node(real, model, name)
    return model


@pytest.mark.parametrize("place", [set_before, set_after, set_while_sampling, set_over_ours])
def test_another_pack_s_override_computes_what_it_did(real: Host, model: Any, place: Any) -> None:
    other = model.clone()
    other.model_options["transformer_options"][OVERRIDE] = own_kernel
    expected = real.sample(other)
    assert not torch.equal(expected, real.sample(model))
    assert torch.equal(real.sample(place(real, model)), expected)
    assert torch.equal(real.sample(other), expected)


def test_an_interrupted_run_leaves_nothing_behind(real: Host, model: Any) -> None:
    plain, every = real.sample(model), add_all(real, model)
    with pytest.raises(KeyboardInterrupt):
        real.sample(every, interrupted=True)
    assert torch.equal(real.sample(every), plain) and torch.equal(real.sample(model), plain)
