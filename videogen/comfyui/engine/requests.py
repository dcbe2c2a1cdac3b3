"""Render requests from the widgets of the engine's nodes. Where a widget is left open, the preset or the model decides.

The checks are the request's own, so that messages are those of the command line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from videogen.backbones.lora.spec import Lora
from videogen.configs import load_preset
from videogen.core.errors import InputError
from videogen.core.file_names import files_within, resolve_file
from videogen.request.request import RenderRequest

from .models import DEFAULT

#: widget -> field of a request; 0 and an empty text leave the field open
_NUMBERS_AND_TEXTS = {
    "width": "width", "height": "height", "length": "frames", "steps": "steps", "guidance": "guidance_scale",
    "fps": "fps", "shift": "shift", "window": "window", "seconds": "seconds", "propagation": "propagate",
    "negative_prompt": "negative_prompt",
}  # fmt: skip
#: the same for choices, which `DEFAULT` leaves open
_CHOICES = {"solver": "solver", "motion_backend": "motion_backend"}
#: of `motion_strength`: that of the backend
UNSET_STRENGTH = -1.0
_ADAPTIVE = "adaptive"


def build_request(values: Mapping[str, Any], **given: Any) -> RenderRequest:
    """The request of a node's widgets. given: further fields; None leaves one open. InputError for a value that is
    wrong for every model."""
    _check_renamed(values)
    preset = str(values.get("preset") or DEFAULT)
    fields: dict[str, Any] = {} if preset == DEFAULT else load_preset(preset)
    fields |= {
        field: values[name] for name, field in _NUMBERS_AND_TEXTS.items() if values.get(name) not in (None, "", 0)
    }
    fields |= {field: values[name] for name, field in _CHOICES.items() if values.get(name) not in (None, "", DEFAULT)}
    fields |= _read_recall(values.get("recall") or 0)
    if values.get("motion_strength", UNSET_STRENGTH) != UNSET_STRENGTH and given.get("motion") is not None:
        fields["motion_strength"] = values["motion_strength"]
    if loras := [line.strip() for line in str(values.get("loras") or "").splitlines() if line.strip()]:
        fields["loras"] = [_find_lora(Lora.from_value(line)) for line in loras]
    if options := str(values.get("options") or "").strip():
        fields["options"] = _read_options(options)
    if values.get("continuity"):
        fields["continuity"] = join_policy(values)
    for name in ("vae_tiling", "retries"):
        if values.get(name):
            fields[name] = values[name]
    fields |= {name: value for name, value in given.items() if value is not None}
    return RenderRequest(prompt=str(values.get("prompt") or ""), seed=values.get("seed", 0), **fields)


def join_policy(values: Mapping[str, Any]) -> str:
    """A continuity policy with its settings, as the command line takes it."""
    settings = str(values.get("policy_settings") or "").strip()
    return f"{values['continuity']}:{settings}" if settings else str(values["continuity"])


def read_story(values: Mapping[str, Any], folder: Path) -> Any:
    """The timeline of a story's text, or of a file that is named instead. folder: to which file names are relative,
    and outside of which no file is read. InputError, which names the line, for what is not valid."""
    from videogen.timeline import as_timeline

    text, file = str(values.get("story") or ""), str(values.get("file") or "").strip()
    if not file and not text.strip():
        raise InputError("the story is empty; give lines such as '[00:00-00:04] a red ball moves right'")
    with files_within(folder):
        return as_timeline(resolve_file(file, folder) if file else f"{text}\n", folder)


def _check_renamed(values: Mapping[str, Any]) -> None:
    """InputError for a number whose field has another name than its widget."""
    for name in ("length", "guidance"):
        value = values.get(name)
        if isinstance(value, int | float) and not (math.isfinite(value) and value >= 0):
            raise InputError(f"{name}={value} must be a finite number of at least 0; 0 leaves it to the model")


def _read_recall(recall: float) -> dict[str, Any]:
    """Adaptive attention for a recall; 0 leaves it to the preset, and is dense without one."""
    return {"attention": _ADAPTIVE, "recall": recall} if recall else {}


def _find_lora(lora: Lora) -> Lora:
    """The LoRA; a relative name that is not a file is looked for in ComfyUI's folders of LoRAs."""
    import folder_paths

    path, folder = Path(lora.file), Path.cwd()
    if path.exists() or not path.is_relative_to(folder):
        return lora
    found = folder_paths.get_full_path("loras", str(path.relative_to(folder)))
    return lora if found is None else replace(lora, file=found)


def _read_options(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"options={text!r} is not JSON ({error}); give an object such as {_EXAMPLE}") from error
    if not isinstance(found, dict):
        raise InputError(f"options={text!r} is not a JSON object; give one such as {_EXAMPLE}")
    return found


_EXAMPLE = '{"motion_bucket_id": 127}'
