"""Capabilities, request defaults and training facts of a model.

Three separate things, none derived from another: what the architecture can do (`Capabilities`), what a request gets for
the fields that it leaves unset (`Defaults`), and what the weights were trained for (`Training`). A family states all
three; a checkpoint's `defaults.json` overrides the last two. Importing this loads no torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from videogen.core.errors import CheckpointError
from videogen.core.stored_keys import DEFAULTS_KEYS, with_current_keys
from videogen.motion.control import BACKENDS

from .prompt_grammar import GRAMMARS


@dataclass(frozen=True)
class Capabilities:
    """What a loaded model can do beyond text to video, whatever it was trained for.

    first_frame: it takes an image as the first frame; per_frame_timesteps: each latent frame may have its own timestep;
    experts: how many denoisers share the noise levels; own_guidance: its pipeline combines the guidance branches.
    """

    first_frame: bool = False
    per_frame_timesteps: bool = False
    experts: int = 1
    own_guidance: bool = False


@dataclass(frozen=True)
class Defaults:
    """Values of request fields that are left unset. width and height in px; fps: frames per second of the file."""

    frames: int
    width: int
    height: int
    fps: int
    steps: int
    guidance_scale: float
    negative_prompt: str = ""


@dataclass(frozen=True)
class Training:
    """What a model's weights were trained for, and the motion settings measured to suit them.

    warped_noise: trained with noise that moves as its clips do; clean_prefix: trained to continue from finished latent
    frames, marked by a timestep of 0; dual_clock: the noise levels (weak, strong) between which dual-clock sampling
    enforces a motion, as fractions of the training timesteps; dual_clock_global: the same for global motion, such as a
    camera's (None: no different); motion_backend_global: the preferred backend for global motion ("": the same as for
    any other motion); single_pass_frames: the most frames that it was measured to generate in one pass without worse
    colours or shapes than in a clip of native length (0: not measured); prompt_grammar: the form of its captions, into
    which prompts are rewritten, a name of `prompt_grammar.GRAMMARS` ("": prompts are read as they are given).
    """

    warped_noise: bool = False
    clean_prefix: bool = False
    dual_clock: tuple[float, float] = (0.95, 0.85)
    dual_clock_global: tuple[float, float] | None = None
    motion_backend_global: str = ""
    single_pass_frames: int = 0
    prompt_grammar: str = ""

    def motion_backend(self, *, is_global: bool) -> str:
        """The backend for a single clip's motion: warped_noise if the model was trained for it, else dual_clock."""
        return (is_global and self.motion_backend_global) or ("warped_noise" if self.warped_noise else "dual_clock")

    def dual_clock_levels(self, *, is_global: bool) -> tuple[float, float]:
        """(weak, strong) for a motion that is global, or not."""
        return (is_global and self.dual_clock_global) or self.dual_clock


def read_defaults(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of `Defaults` and of `Training` that a checkpoint's `defaults.json` overrides.

    The file has a table `defaults` and a table `training`. Older files hold the fields of both in one flat table.
    Raises CheckpointError where the file is damaged.
    """
    path = folder / "defaults.json"
    if not path.is_file():
        return {}, {}
    try:
        values = with_current_keys(json.loads(path.read_text(encoding="utf-8")), DEFAULTS_KEYS)
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; fix or delete it") from error
    tables = _tables(values)
    if tables is None:
        known = f"{', '.join(_names(Defaults))} (table defaults), {', '.join(_names(Training))} (table training)"
        rule = f"its keys may be {known}: numbers above 0, a text, true or false, and two noise levels"
        raise CheckpointError(f"{path} contains {str(values)[:120]!r}; {rule}; fix or delete it")
    return tables


def _tables(values: object) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The two tables of a file's content; None if it is not valid."""
    if not isinstance(values, dict):
        return None
    if values.keys() <= {"defaults", "training"}:
        defaults, training = values.get("defaults", {}), values.get("training", {})
    else:
        training = {key: value for key, value in values.items() if key in _names(Training)}
        defaults = {key: value for key, value in values.items() if key not in training}
    valid = _is_valid(defaults, _names(Defaults)) and _is_valid(training, _names(Training))
    return (defaults, training) if valid else None


def _names(kind: type[Defaults] | type[Training]) -> list[str]:
    return [field.name for field in fields(kind)]


def _is_valid(table: object, known: Iterable[str]) -> bool:
    if not isinstance(table, dict) or not table.keys() <= set(known):
        return False
    return all(_CHECKS.get(key, _is_count)(value) for key, value in table.items())


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_levels(value: Any) -> bool:
    if not (isinstance(value, list) and len(value) == 2 and all(type(number) is float for number in value)):
        return False
    return bool(0 < value[1] <= value[0] < 1)


_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "guidance_scale": lambda value: type(value) in (int, float) and value > 0,
    "negative_prompt": lambda value: isinstance(value, str),
    "warped_noise": lambda value: isinstance(value, bool),
    "clean_prefix": lambda value: isinstance(value, bool),
    "dual_clock": _is_levels,
    "dual_clock_global": _is_levels,
    "motion_backend_global": lambda value: value in BACKENDS,
    "prompt_grammar": lambda value: isinstance(value, str) and value in GRAMMARS,
}
