"""Quantizer of a loaded model: observes its denoisers, chooses formats, encodes layers, and measures clips.

quantizer = Quantizer(Engine.load("embedded"), QuantizeOptions(psnr=35))
report = quantizer.run()      # the engine's model is quantized now
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from videogen.backbones.precision.encoding import encode
from videogen.backbones.precision.quantized_layers import quantized_layer, replace_layer
from videogen.backbones.precision.selection import is_time_layer
from videogen.backbones.precision.weight_format import WeightFormat, parse_format
from videogen.core.denoisers import find_denoisers
from videogen.core.errors import InputError
from videogen.engine.engine import Engine
from videogen.metrics.fidelity import psnr_db

from .choice import Candidate, choose, layer_error, list_candidates, try_layer
from .observing import ModelCall, observe
from .options import QuantizeOptions
from .report import ComponentReport, LayerChoice, Report
from .sampling import choose_steps, weigh_steps
from .target_checks import check_target, find_layers

Tensor = torch.Tensor
Notify = Callable[[str, int, int], None]
#: every layer is tried in this format; its errors in others are scaled from it
_TRIAL = parse_format("int4")
_MEASURED_SEED = 1000  # clips that measure have other seeds than those that are observed
_ROUNDS = 5  # of the search for a PSNR, each with a render of all clips
_HIGHEST_PSNR_DB = 99.0  # of equal clips


@dataclass
class _Component:
    """A denoiser: its layers in full precision, what they receive, and the formats each may take."""

    model: torch.nn.Module
    layers: dict[str, torch.nn.Module]
    fixed: dict[str, WeightFormat]
    importance: Mapping[str, Tensor] | None
    candidates: dict[str, list[Candidate]]

    @property
    def bytes_of_rest(self) -> int:
        """Of what keeps its precision."""
        replaced = {id(layer.weight) for layer in self.layers.values()}
        return sum(p.numel() * p.element_size() for p in self.model.parameters() if id(p) not in replaced)

    def count_bytes(self, at: int) -> int:
        """Of the entire model, with the candidate at this place for each layer: 0 the smallest, -1 the largest."""
        return self.bytes_of_rest + sum(rows[at].size for rows in self.candidates.values())


class Quantizer:
    """Quantizes the denoisers of an engine's model in place. notify: gets (what is done, done, of how many)."""

    def __init__(self, engine: Engine, options: QuantizeOptions, notify: Notify | None = None) -> None:
        self._engine, self._options, self._notify = engine, options, notify or (lambda *_: None)
        self.models = find_denoisers(engine.backbone.pipeline)
        self._formats: dict[str, dict[str, WeightFormat]] = {}

    @property
    def formats(self) -> dict[str, dict[str, WeightFormat]]:
        """component -> layer -> format, after `run`."""
        return self._formats

    def run(self) -> Report:
        """Quantize, and measure. InputError where the target cannot be reached, with what can: the model is then as
        before."""
        options = self._options
        before = {name: _count_bytes(model) for name, model in self.models.items()}
        found = {name: find_layers(name, model, options) for name, model in self.models.items()}
        check_target(self.models, found, options)
        reference = self._render(measured=True, what="rendering in full precision")
        parts = {name: self._observe(name, model, found[name]) for name, model in self.models.items()}
        if options.psnr is not None:
            chosen, psnr = self._reach_psnr(parts, reference, options.psnr)
        else:
            chosen = self._choose(parts, options.target_bytes)
            self._apply(parts, chosen)
            psnr = self._measure(reference)
        self._formats = {name: {layer: one.how for layer, one in rows.items()} for name, rows in chosen.items()}
        components = {
            name: ComponentReport(before[name], _count_bytes(self.models[name]), _describe(rows))
            for name, rows in chosen.items()
        }
        return Report(self._engine.backbone.name, _target_text(options), components, psnr, _plain(options))

    def _observe(self, name: str, model: torch.nn.Module, layers: dict[str, torch.nn.Module]) -> _Component:
        options = self._options
        fixed = {
            layer: parse_format(options.time_format)
            for layer in layers if options.time_format is not None and is_time_layer(layer)
        }  # fmt: skip
        observation = observe(model, layers, lambda: self._render(measured=False, what=f"observing {name}"))
        if not observation.calls:
            raise InputError(f"{name} is not called in clips of so few steps (steps={options.steps}); give more")
        weights = weigh_steps(observation, options)
        importance = observation.importance(weights) if options.weighted else None
        steps = choose_steps(weights, options.samples)
        calls = [_nth([call for call in observation.calls if call.step == step], k) for k, step in enumerate(steps)]
        part = _Component(model, layers, fixed, importance, {})
        for done, (layer, module) in enumerate(layers.items()):
            self._notify(f"trying the layers of {name}", done, len(layers))
            part.candidates[layer] = self._candidates(part, layer, module, calls)
        return part

    def _candidates(
        self, part: _Component, name: str, layer: torch.nn.Module, calls: list[ModelCall]
    ) -> list[Candidate]:
        options = self._options
        weight: Any = layer.weight
        importance = None if part.importance is None else part.importance.get(name)
        formats = [part.fixed[name]] if name in part.fixed else options.candidates
        if len(formats) == 1:
            flat = weight.flatten(1)
            return [Candidate(formats[0], formats[0].count_bytes(flat.shape[0], flat.shape[1]), float("nan"))]
        encoded = encode(weight.flatten(1), _TRIAL, importance, search=options.search)
        own = layer_error(weight, encoded, _TRIAL, importance)
        trial = try_layer(part.model, name, _TRIAL, encoded, calls, own)
        return list_candidates(weight, formats, importance, trial, search=options.search)

    def _choose(self, parts: Mapping[str, _Component], budget: int | None) -> dict[str, dict[str, Candidate]]:
        """budget: bytes of all weights of the denoisers; None: the largest formats."""
        rest = sum(part.bytes_of_rest for part in parts.values())
        rows = {f"{name}:{layer}": found for name, part in parts.items() for layer, found in part.candidates.items()}
        limit = sum(found[-1].size for found in rows.values()) if budget is None else budget - rest
        chosen = choose(rows, limit)
        return {name: {layer: chosen[f"{name}:{layer}"] for layer in part.candidates} for name, part in parts.items()}

    def _reach_psnr(
        self, parts: Mapping[str, _Component], reference: list[np.ndarray], wanted: float
    ) -> tuple[dict[str, dict[str, Candidate]], list[float]]:
        """The smallest choice found whose mean PSNR is at least the wanted one, by bisection over sizes."""
        low, high = (sum(part.count_bytes(at) for part in parts.values()) for at in (0, -1))
        best, budget = None, high
        for _ in range(_ROUNDS):
            chosen = self._choose(parts, budget)
            self._apply(parts, chosen)
            psnr = self._measure(reference)
            reached = sum(psnr) / len(psnr)
            if reached >= wanted:
                best, high = (chosen, psnr), budget
            elif best is None:
                self._restore(parts)
                raise InputError(
                    f"psnr={wanted:g} dB is not reached: the largest formats give {reached:.1f} dB; allow larger ones "
                    "such as int8, or ask for less"
                )
            else:
                low = budget
            budget = (low + high) // 2
        assert best is not None
        self._apply(parts, best[0])
        return best

    def _apply(self, parts: Mapping[str, _Component], chosen: Mapping[str, Mapping[str, Candidate]]) -> None:
        for name, rows in chosen.items():
            part = parts[name]
            for done, (layer, row) in enumerate(rows.items()):
                self._notify(f"encoding {name}", done, len(rows))
                own: Any = part.layers[layer]
                importance = None if part.importance is None else part.importance.get(layer)
                encoded = encode(own.weight.flatten(1), row.how, importance, search=self._options.search)
                replace_layer(part.model, layer, quantized_layer(own, row.how, encoded))

    def _restore(self, parts: Mapping[str, _Component]) -> None:
        for part in parts.values():
            for layer, own in part.layers.items():
                replace_layer(part.model, layer, own)

    def _measure(self, reference: list[np.ndarray]) -> list[float]:
        frames = self._render(measured=True, what="measuring")
        return [min(psnr_db(one, other), _HIGHEST_PSNR_DB) for one, other in zip(frames, reference, strict=True)]

    def _render(self, *, measured: bool, what: str) -> list[np.ndarray]:
        options, clips = self._options, []
        given = {"frames": options.frames, "size": options.size, "steps": options.steps}
        known: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        first = options.seed + (_MEASURED_SEED if measured else 0)
        for number, prompt in enumerate(options.prompts):
            self._notify(what, number, len(options.prompts))
            video: Any = self._engine.generate(prompt, seed=first + number, **known)
            clips.append(video.frames)
        return clips


def _nth(calls: list[ModelCall], number: int) -> ModelCall:
    return calls[number % len(calls)]


def _count_bytes(model: torch.nn.Module) -> int:
    return sum(value.numel() * value.element_size() for value in model.state_dict().values())


def _describe(rows: Mapping[str, Candidate]) -> dict[str, LayerChoice]:
    return {
        name: LayerChoice(row.how.name, row.size, None if row.error != row.error else row.error)
        for name, row in rows.items()
    }


def _target_text(options: QuantizeOptions) -> str:
    if options.psnr is not None:
        return f"PSNR {options.psnr:g} dB"
    return f"{options.target}" if options.target is not None else f"{options.to}"


def _plain(options: QuantizeOptions) -> dict[str, Any]:
    """The options as a report stores them."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(options).items()}
