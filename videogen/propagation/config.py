"""Settings of step caching: a promised error or fixed key steps, the cut and the predictor.

Importing this loads no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, TypeGuard

from videogen.core.errors import InputError, nearest, unknown
from videogen.core.keywords import suggest_keywords

from .cut_kinds import CUTS, parse_cut
from .key_steps import check_key_steps_spec
from .predictor_kinds import PREDICTORS, PredictorKind
from .rules import find_rule, list_rules, suggest_rule


@suggest_keywords
@dataclass(frozen=True)
class StepCaching:
    """The steps at which the model is fully evaluated, and the features that the steps between reuse.

    max_error: promised relative L2 error of the final latents against the plain run; None if `keys` are given.
    keys: the key steps: `fd` or `fd-dpm` (published lists, scaled to the run's steps), `every:N`, or a list of steps.
    boundary: the cut: `auto`; for UNets `fd`, `deepcache:BRANCH` or `cut:E,D` (see `unet_cut`); for transformers
        `blocks:FRONT,TAIL` (see `block_cut`); for both `output` (see `output_cut`).
    predictor: `hold`, `linear` (in the log signal-to-noise ratio), `sigma` (linear in sigma), `probe` (`blocks` only)
        or `auto`.
    first: number of steps at the start that are always key steps, as these decide the content of a clip. None: a tenth
        of the steps under `max_error`, none beyond `keys`.
    last: number of steps at the end that are always key steps under `max_error`.
    micro_batch: number of steps that are decoded in one batch if the cut allows it, each with a copy of the cached
        features; 1: one by one.
    roll_back: go back to a snapshot if a key step shows an error far above its estimate (in the engine's loop).
    frames: at a key step, run the encoder's spatial layers on every `frames`-th frame and propagate to its neighbours.
    frames_gate: least similarity of the predicted clean latents at which a frame may be propagated so.
    prior_noise: alpha of z += alpha * z_T, after each step below the fraction `prior_noise_below` of the noise.
    """

    max_error: float | None = None
    keys: str | tuple[int, ...] | None = None
    boundary: str = "auto"
    predictor: str = "auto"
    first: int | None = None
    last: int = 1
    micro_batch: int = 4
    roll_back: bool = True
    frames: int = 1
    frames_gate: float = 0.8
    prior_noise: float = 0.0
    prior_noise_below: float = 0.5

    def __post_init__(self) -> None:
        if isinstance(self.keys, list):
            object.__setattr__(self, "keys", tuple(self.keys))
        if self.max_error is None and self.keys is None:
            object.__setattr__(self, "max_error", 0.02)
        if self.max_error is not None and self.keys is not None:
            raise InputError(
                f"max_error={self.max_error} and keys={self.keys!r} are both given; one of them decides the key steps"
            )
        if self.max_error is not None and (self.frames > 1 or self.prior_noise):
            given = f"frames={self.frames}" if self.frames > 1 else f"prior_noise={self.prior_noise}"
            raise InputError(
                f"with {given} key steps are not the plain model's, so no max_error is promised; "
                "give keys, such as every:2"
            )
        if self.max_error is not None:
            _check_number("max_error", self.max_error, 0.0, 1.0)
        check_key_steps_spec(self.keys)
        cut, _ = parse_cut(self.boundary)
        if self.predictor not in PREDICTORS:
            raise unknown("predictor", str(self.predictor), PREDICTORS)
        only = self.predictor_kind.only_cut
        if only and cut.builder is not None and cut is not CUTS[only]:
            raise InputError(
                f"predictor {self.predictor!r} needs the front blocks of a transformer, "
                f"not boundary {self.boundary!r}; use {self.predictor_kind.default_cut}"
            )
        for name, least in (("first", 1), ("last", 0), ("frames", 1), ("micro_batch", 1)):
            value = getattr(self, name)
            if value is not None and (not _is_integer(value) or value < least):
                raise InputError(f"{name}={value!r} must be a whole number of at least {least}")
        if not isinstance(self.roll_back, bool):
            raise InputError(f"roll_back={self.roll_back!r} must be true or false")
        for name, high in (("frames_gate", 1.0), ("prior_noise", 1.0), ("prior_noise_below", 1.0)):
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value <= high:
                raise InputError(f"{name}={value!r} must be from 0 to {high:g}")

    @property
    def predictor_kind(self) -> PredictorKind:
        return PREDICTORS[self.predictor]

    @property
    def compares_batches(self) -> bool:
        """Whether key steps or frames depend on the content of all clips of a batch together."""
        return self.max_error is not None or self.frames > 1

    @classmethod
    def parse(cls, spec: str) -> StepCaching | None:
        """The settings of a spec as on the command line; None for `off`. InputError if `rules` has no such rule."""
        rule = find_rule(spec)
        if rule is None or rule.from_library:
            raise InputError(f"unknown propagation {spec!r}; {suggest_rule(spec)}use one of {list_rules()}")
        return None if rule.settings is None else cls.from_dict(rule.settings(spec, spec.strip().partition(":")[2]))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StepCaching:
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                guess = nearest(key, known)
                hint = f"did you mean {guess!r}?" if guess else f"known: {', '.join(known)}"
                raise InputError(f"unknown key {key!r} of propagation; {hint}")
        return cls(**values)


def read_config(config: StepCaching | str | None) -> StepCaching:
    """The settings that a spec or None stands for. Raises InputError."""
    if isinstance(config, str):
        config = StepCaching.parse(config)
        if config is None:
            raise InputError("propagation 'off' needs nothing attached")
    if not isinstance(config, StepCaching | None):
        raise InputError(f"config={config!r} must be a StepCaching or a spec such as 'fd'")
    return config or StepCaching()


#: its name in earlier versions
EncoderPropagation = StepCaching


def _check_number(name: str, value: object, low: float, high: float) -> None:
    if not _is_number(value) or not math.isfinite(value) or not low < value < high:
        raise InputError(f"{name}={value!r} must be above {low:g} and below {high:g}, such as 0.02")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
