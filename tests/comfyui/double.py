"""A double of the parts of ComfyUI that the pack uses: models, guiders, wrappers and the schema of nodes.

It follows ComfyUI's documented interfaces: wrappers of the sampling run, of the evaluation and of the denoiser, which
are called in the order in which they were added, and an override of attention that each call looks up. With
`COMFYUI_PATH` set, the tests of the pack run on the real one as well.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from itertools import pairwise
from threading import Barrier
from types import ModuleType, SimpleNamespace
from typing import Any
from uuid import uuid4

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from tests.comfyui import engine_double

HEADS, WIDTH, BLOCKS, PATCH = 2, 32, 2, (1, 2, 2)


class Executor:
    """Calls wrappers around a function, the first one outermost."""

    def __init__(self, original: Callable[..., Any], class_obj: Any, wrappers: list[Callable[..., Any]]) -> None:
        self.original, self.class_obj, self._wrappers = original, class_obj, wrappers

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._wrappers:
            return self.original(*args, **kwargs)
        first, *rest = self._wrappers
        return first(Executor(self.original, self.class_obj, rest), *args, **kwargs)


def wrapped(kind: str, original: Callable[..., Any], owner: Any, options: dict[str, Any]) -> Executor:
    by_key = options.get("wrappers", {}).get(kind, {})
    return Executor(original, owner, [one for wrappers in by_key.values() for one in wrappers])


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, mask: Any = None, **kwargs: Any) -> Any:
    """ComfyUI's attention over [b, l, heads * size], with its override."""
    override = kwargs.get("transformer_options", {}).get("optimized_attention_override")
    if override is not None and "_inside_attn_wrapper" not in kwargs:
        return override(attention, q, k, v, heads, mask, _inside_attn_wrapper=True, **kwargs)
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)


class Denoiser(nn.Module):
    """A few blocks of attention over the patches of a clip, and over a text."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patch_size = PATCH
        self.embed = nn.Conv3d(4, WIDTH, PATCH, PATCH)
        self.blocks = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(BLOCKS))
        self.head = nn.ConvTranspose3d(WIDTH, 4, PATCH, PATCH)

    def forward(self, x: Any, timestep: Any, context: Any, transformer_options: Any = None, **kwargs: Any) -> Any:
        options = transformer_options or {}
        run = wrapped("diffusion_model", self._forward, self, options)
        return run(x, timestep, context, transformer_options=options, **kwargs)

    def _forward(self, x: Any, timestep: Any, context: Any, transformer_options: Any, **_: Any) -> Any:
        embedded = self.embed(x)
        tokens = embedded.flatten(2).transpose(1, 2)
        for number, block in enumerate(self.blocks):
            replace = transformer_options.get("patches_replace", {}).get("dit", {}).get(("double_block", number))

            def run(args: dict[str, Any], block: Any = block) -> dict[str, Any]:
                h = block(args["img"])
                h = attention(3 * h, 3 * h, h, HEADS, transformer_options=args["transformer_options"])
                h = h + attention(h, context, context, HEADS, transformer_options=args["transformer_options"])
                return {"img": args["img"] + 0.3 * h}

            args = {"img": tokens, "transformer_options": transformer_options}
            tokens = (run(args) if replace is None else replace(args, {"original_block": run}))["img"]
        return self.head(tokens.transpose(1, 2).unflatten(2, embedded.shape[2:])) * (1 + timestep.view(-1, 1, 1, 1, 1))


class FlowSampling:
    """ComfyUI's sampling of flow models, with sigmas from 0 to 1."""

    sigma_min, sigma_max = torch.tensor(0.001), torch.tensor(1.0)

    def __init__(self) -> None:
        self.shift = 1.0

    def set_parameters(self, shift: float) -> None:
        self.shift = shift

    def timestep(self, sigma: Any) -> Any:
        return 1000 * sigma

    def percent_to_sigma(self, percent: float) -> float:
        return self.shift * (1 - percent) / (1 + (self.shift - 1) * (1 - percent))

    def noise_scaling(self, sigma: Any, noise: Any, latent_image: Any, max_denoise: bool = False) -> Any:
        return sigma * noise + (1 - sigma) * latent_image

    def inverse_noise_scaling(self, sigma: Any, latent: Any) -> Any:
        return latent / (1 - sigma)


class Model:
    """A MODEL: clones share the denoiser, and copy options."""

    def __init__(self, base: Any = None, of: Model | None = None) -> None:
        self.model = base or SimpleNamespace(
            diffusion_model=Denoiser(),
            latent_format=SimpleNamespace(
                latent_channels=4, latent_dimensions=3, spacial_downscale_ratio=8, temporal_downscale_ratio=4
            ),
            model_type=SimpleNamespace(name="FLOW"),
            model_sampling=FlowSampling(),
            process_latent_in=lambda latents: 2 * latents,
            process_latent_out=lambda latents: latents / 2,
        )
        self.model_options: dict[str, Any] = {"transformer_options": {}}
        self.object_patches: dict[str, Any] = {}
        self.additional_models: dict[str, list[Any]] = {}
        self._backups: dict[str, Any] = {} if of is None else of._backups

    def clone(self) -> Model:
        made = Model(self.model, self)
        made.object_patches, made.additional_models = dict(self.object_patches), dict(self.additional_models)
        made.model_options = _copy(self.model_options)
        return made

    def add_wrapper_with_key(self, kind: str, key: str, wrapper: Any) -> None:
        wrappers = self.model_options["transformer_options"].setdefault("wrappers", {})
        wrappers.setdefault(kind, {}).setdefault(key, []).append(wrapper)

    def remove_wrappers_with_key(self, kind: str, key: str) -> None:
        self.model_options["transformer_options"].get("wrappers", {}).get(kind, {}).pop(key, None)

    def get_wrappers(self, kind: str, key: str) -> list[Any]:
        wrappers = self.model_options["transformer_options"].get("wrappers", {})
        return list(wrappers.get(kind, {}).get(key, []))

    def add_object_patch(self, name: str, value: Any) -> None:
        self.object_patches[name] = value

    def get_model_object(self, name: str) -> Any:
        return self.object_patches.get(name, self._backups.get(name, getattr(self.model, name)))

    @property
    def wrappers(self) -> dict[str, dict[str, list[Any]]]:
        found: dict[str, dict[str, list[Any]]] = self.model_options["transformer_options"].setdefault("wrappers", {})
        return found

    def set_additional_models(self, key: str, models: list[Any]) -> None:
        self.additional_models[key] = models

    def get_additional_models_with_key(self, key: str) -> list[Any]:
        return self.additional_models.get(key, [])

    def load(self) -> None:
        """Put this clone's objects into the model, where they stay until another clone is loaded."""
        vars(self.model).update(self._backups)
        self._backups.update({name: getattr(self.model, name) for name in self.object_patches})
        vars(self.model).update(self.object_patches)


def _copy(options: dict[str, Any]) -> dict[str, Any]:
    """Dicts and lists are copied, objects are shared."""
    return {
        name: _copy(value) if isinstance(value, dict) else copy.copy(value) if isinstance(value, list) else value
        for name, value in options.items()
    }


class Guider:
    """Two branches with guidance, evaluated in one batch or in two calls."""

    def __init__(self, model: Model, *, batched: bool = True) -> None:
        self.model_patcher, self.model_options, self.batched = model, model.model_options, batched
        self.cfg = 2.0
        self.conditions = [(kind, uuid4(), torch.full((1, 5, WIDTH), 0.3 - kind)) for kind in (1, 0)]

    @torch.no_grad()
    def sample(self, sampler: Any, sigmas: Any, noise: Any, latent: Any = None, noise_mask: Any = None) -> Any:
        latent = torch.zeros_like(noise) if latent is None else latent
        before, self.model_options = self.model_options, _copy(self.model_options)
        self.conds: Any = {"all": [dict(zip(("kind", "uuid", "context"), one, strict=True)) for one in self.conditions]}
        try:
            run = wrapped("outer_sample", self._outer_sample, self, self.model_options["transformer_options"])
            return run(noise, latent, sampler, sigmas, noise_mask, None, False, 0, latent_shapes=[latent.shape])
        finally:
            self.model_options = before
            del self.conds

    def _outer_sample(
        self, noise: Any, latent: Any, sampler: Any, sigmas: Any, mask: Any = None, callback: Any = None, *_: Any,
        latent_shapes: Any = None,
    ) -> Any:  # fmt: skip
        self.model_patcher.load()
        self.inner_model = self.model_patcher.model
        latent = self.inner_model.process_latent_in(latent) if latent.any() else latent
        options = _copy(self.model_options)
        options["transformer_options"]["sample_sigmas"] = sigmas
        run = wrapped("sampler_sample", sampler.sample, sampler, options["transformer_options"])
        found = run(self, sigmas, {"model_options": options, "seed": 0}, callback, noise, latent, mask, True)
        return self.inner_model.process_latent_out(found)

    def __call__(self, x: Any, sigma: Any, model_options: Any, seed: Any = None) -> Any:
        run = wrapped("predict_noise", self._predict, self, self.model_options["transformer_options"])
        return run(x, sigma, model_options, seed)

    def _predict(self, x: Any, sigma: Any, model_options: Any, seed: Any) -> Any:
        run = wrapped("calc_cond_batch", self._evaluate, None, model_options["transformer_options"])
        negative, positive = run(self.model_patcher.model, self.conditions, x, sigma, model_options)
        return negative + self.cfg * (positive - negative)

    def _evaluate(self, model: Any, conditions: Any, x: Any, sigma: Any, model_options: Any) -> list[Any]:
        several = self.model_patcher.get_additional_models_with_key("multigpu")
        groups = [conditions] if self.batched and not several else [[one] for one in conditions]
        barrier = Barrier(len(groups) if several else 1)

        @torch.no_grad()
        def call(group: list[Any]) -> list[Any]:
            barrier.wait()
            options = _copy(model_options["transformer_options"])
            options |= {
                "cond_or_uncond": [one[0] for one in group],
                "uuids": [one[1] for one in group],
                "sigmas": sigma,
            }
            context = torch.cat([one[2].expand(len(x), -1, -1) for one in group])
            size = len(group)
            run = wrapped("apply_model", self._apply, model, options)
            out = run(x.repeat(size, 1, 1, 1, 1), sigma.repeat(size), None, context, None, options)
            return list(out.chunk(size))

        if not several:
            return [one for group in groups for one in call(group)]
        with ThreadPoolExecutor(len(groups)) as pool:  # as ComfyUI calls the models on several GPUs
            return [one for found in pool.map(call, groups) for one in found]

    def _apply(self, x: Any, t: Any, c_concat: Any, context: Any, control: Any, options: Any) -> Any:
        """Clean latents."""
        found = self.model_patcher.model.diffusion_model(x, t, context, transformer_options=options)
        return x - t.view(-1, 1, 1, 1, 1) * found


class Masked:
    """What samplers call: the guider, with the latents held where a noise mask is 0."""

    def __init__(self, guider: Any, latent: Any, noise: Any, mask: Any) -> None:
        self._guider, self._latent, self._noise, self._mask = guider, latent, noise, mask

    def __call__(self, x: Any, sigma: Any, **extra: Any) -> Any:
        if self._mask is None:
            return self._guider(x, sigma, **extra)
        level = sigma.reshape(-1, *[1] * (x.ndim - 1))
        given = self._guider.inner_model.model_sampling.noise_scaling(level, self._noise, self._latent)
        x = x * self._mask + given * (1 - self._mask)
        return self._guider(x, sigma, **extra) * self._mask + self._latent * (1 - self._mask)


class Sampler:
    """Euler, Heun with two evaluations per step, or a multistep rule of second order."""

    def __init__(self, name: str = "euler") -> None:
        def function() -> None: ...

        function.__name__ = f"sample_{name}"
        self.sampler_function, self._name = function, name

    def sample(
        self, guider: Any, sigmas: Any, extra: Any, callback: Any, noise: Any, latent: Any = None, mask: Any = None,
        *_: Any,
    ) -> Any:  # fmt: skip
        latent = torch.zeros_like(noise) if latent is None else latent
        sampling, model = guider.model_patcher.model.model_sampling, Masked(guider, latent, noise, mask)
        x = sampling.noise_scaling(sigmas[0], noise, latent)
        previous, count = None, len(sigmas) - 1
        for step, (now, then) in enumerate(pairwise(sigmas)):
            clean = model(x, now.expand(len(x)), **extra)
            if callback is not None:
                callback(step, clean, x, count)
            used, previous = self._combine(clean, previous), clean
            there = x + (then - now) * (x - used) / now
            if self._name == "heun" and then > 0:
                second = (there - model(there, then.expand(len(x)), **extra)) / then
                there = x + (then - now) * ((x - used) / now + second) / 2
            x = there
        return sampling.inverse_noise_scaling(sigmas[-1], x)

    def _combine(self, clean: Any, previous: Any) -> Any:
        return clean if self._name != "dpmpp_2m" or previous is None else 1.5 * clean - 0.5 * previous


class Interrupted(Sampler):
    """Is interrupted after its first step."""

    def sample(self, guider: Any, sigmas: Any, *args: Any) -> Any:
        super().sample(guider, sigmas[:2], *args)
        raise KeyboardInterrupt


class _Anything:
    """Stands for inputs, outputs and schemas of nodes: it stores what it is made with."""

    def __init__(self, *args: Any, **values: Any) -> None:
        self.args, self.__dict__ = args, {**values, "args": args}

    @property
    def result(self) -> tuple[Any, ...]:
        return self.args


class _Input(_Anything):
    """An input of a node, whose name comes first."""

    @property
    def id(self) -> Any:
        return self.args[0]


class _Type:
    Input = _Input
    Output = type("Output", (_Anything,), {})


def install(monkeypatch: Any) -> None:
    """Put the double in the place of `comfy` and `comfy_api`."""
    io: Any = ModuleType("io")
    io.ComfyNode, io.Schema, io.NodeOutput = object, _Anything, type("NodeOutput", (_Anything,), {})
    io.Hidden = SimpleNamespace(unique_id="UNIQUE_ID")
    for name in (
        "Model", "Clip", "Vae", "Combo", "Float", "Int", "Boolean", "String", "Latent", "Image", "Mask", "Noise",
        "Video", "Audio", "Conditioning", "Sigmas", "Custom", "Tracks", "BoundingBox", "MultiType", "Autogrow",
    ):  # fmt: skip
        setattr(io, name, _Type)
    io.Autogrow = type("Autogrow", (_Type,), {"TemplatePrefix": _Anything})
    io.FolderType = SimpleNamespace(temp="temp", output="output")
    io.Custom = lambda name: type(name, (_Type,), {})
    latest: Any = ModuleType("comfy_api.latest")
    latest.io, latest.ui, latest.ComfyExtension = io, _build_ui(), object
    formats, sd = ModuleType("comfy.latent_formats"), ModuleType("comfy.sd")
    vars(formats).update(Wan21=engine_double.Wan21)
    comfy: Any = ModuleType("comfy")
    engine_modules = engine_double.build_modules(latest)
    comfy.utils, comfy.model_management = (engine_modules[f"comfy.{name}"] for name in ("utils", "model_management"))
    modules = {
        "comfy": comfy, "comfy.latent_formats": formats, "comfy.sd": sd,
        "comfy_api": ModuleType("comfy_api"), "comfy_api.latest": latest, **engine_modules,
    }  # fmt: skip
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


def _build_ui() -> Any:
    """What nodes show: it stores what it is made with."""
    ui: Any = ModuleType("ui")
    ui.PreviewVideo, ui.SavedResult = type("PreviewVideo", (_Anything,), {}), type("SavedResult", (_Anything,), {})
    ui.PreviewImage = type("PreviewImage", (_Anything,), {})
    ui.SavedImages = lambda results, is_animated: SimpleNamespace(results=results, is_animated=is_animated)
    ui.ImageSaveHelper = SimpleNamespace(save_animated_webp=lambda images, **rest: (len(images), rest))
    return ui


def load_nodes(monkeypatch: Any, module: str) -> Any:
    """A file of nodes, over the double."""
    install(monkeypatch)
    for name in [name for name in sys.modules if name.startswith("videogen.comfyui.nodes")]:
        monkeypatch.delitem(sys.modules, name)
    return import_module(f"videogen.comfyui.nodes.{module}")
