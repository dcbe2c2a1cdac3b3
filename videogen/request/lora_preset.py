"""Preset of a request's LoRAs: solver, steps, guidance and shift of few-step LoRAs, and the motion of others.

A LoRA that is on at every step, in every denoiser, fills in what the request leaves unset; what the request states is
kept. Both are said in a note. No torch here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from videogen.backbones.lora.lora_file import read_tensor_file
from videogen.backbones.lora.recipe import SAMPLING, Recipe, read_recipe
from videogen.backbones.lora.spec import EXPERTS, Lora
from videogen.core.errors import InputError
from videogen.motion.control import MotionControl

if TYPE_CHECKING:
    from .request import RenderRequest


@dataclass(frozen=True)
class LoraPreset:
    """Values of unset fields, None for those that no LoRA states. motion: the backend of a motion whose noise a LoRA
    was trained to follow; notes: what was decided, for the user."""

    steps: int | None = None
    guidance_scale: float | None = None
    shift: float | None = None
    solver: str | None = None
    motion: MotionControl | None = None
    notes: tuple[str, ...] = ()


def build_preset(request: RenderRequest, loras: Sequence[Lora]) -> LoraPreset:
    """The preset of a request's LoRAs. InputError where two of them state different values for an unset field."""
    found = [(lora, recipe) for lora in loras if lora.weight and (recipe := _recipe_of(lora)) is not None]
    values: dict[str, Any] = {}
    notes: list[str] = []
    for lora, recipe in found:
        if not recipe.sampling:
            continue
        if not _covers_run(lora, recipe, found):
            notes.append(
                f"{lora.name} is a LoRA for {_describe(recipe.sampling)} ({recipe.name}), and it is on for a part of "
                "the model or of the run only: these settings are left as they are"
            )
            continue
        notes += _fill_in(values, request, lora, recipe)
    control, motion_notes = _choose_motion(request, found)
    return LoraPreset(**values, motion=control, notes=tuple(dict.fromkeys([*notes, *motion_notes])))


def _recipe_of(lora: Lora) -> Recipe | None:
    return read_recipe(read_tensor_file(lora.file, "LoRA", lora.sha256))


def _covers_run(lora: Lora, recipe: Recipe, found: Sequence[tuple[Lora, Recipe]]) -> bool:
    """Whether LoRAs of this recipe are on at every step and in both experts."""
    if not lora.is_constant:
        return False
    experts = {other.expert for other, its in found if its.sampling == recipe.sampling and other.is_constant}
    return None in experts or set(EXPERTS) <= experts


def _fill_in(values: dict[str, Any], request: RenderRequest, lora: Lora, recipe: Recipe) -> list[str]:
    """Put a recipe's settings into the values of unset fields, and say which."""
    filled = {name: value for name, value in recipe.sampling.items() if getattr(request, name) is None}
    for name, value in filled.items():
        if values.setdefault(name, value) != value:
            raise InputError(
                f"the LoRAs state {name}={values[name]} and {name}={value} ({lora.name}); set {name}, or leave one out"
            )
    if not filled:
        return []
    return [
        f"{lora.name} is a LoRA for {_describe(filled)} ({recipe.name}), which this render has; set others to override"
    ]


def _choose_motion(
    request: RenderRequest, found: Sequence[tuple[Lora, Recipe]]
) -> tuple[MotionControl | None, list[str]]:
    """The backend of the request's motion, where a LoRA was trained with one, and what was decided."""
    trained = next(((lora, recipe.motion) for lora, recipe in found if recipe.motion is not None), None)
    if trained is None:
        return None, []
    lora, spec = trained
    control = MotionControl.parse(spec)
    if not request.moves:
        return control, [f"{lora.name} was trained to follow a motion by {spec}, and the request has none: give one"]
    given = request.motion_control
    if given is None and request.first_frame is None:
        return control, [f"{lora.name} was trained to follow a motion by {spec}, which this render uses"]
    if given is not None and given.backend == control.backend:
        return control, []
    used = "dual_clock" if given is None else given.backend
    return control, [f"{lora.name} was trained to follow a motion by {spec}; this render uses {used}, as requested"]


def _describe(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name}={settings[name]}" for name in SAMPLING if name in settings)
