"""`videogen models MODEL`: what a model takes and its defaults, from its configuration files; no weights are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videogen.backbones.checkpoints.header import read_header
from videogen.backbones.checkpoints.layout import TITLES, find_roles
from videogen.backbones.hosting.modular_pipelines import MODULAR_PIPELINES
from videogen.backbones.hosting.pipelines import PIPELINES
from videogen.backbones.load_options import LoadOptions
from videogen.backbones.registry import load_outline, locate, read_tokenizer_limits
from videogen.core.errors import CheckpointError

if TYPE_CHECKING:
    from videogen.backbones.base import Backbone


def print_model(name: str, options: LoadOptions, *, as_json: bool) -> int:
    """Print the facts of a folder, a file, a hub id or an embedded model. CheckpointError where its files do not
    suffice; of a file without its base, what is in it and why there is no more."""
    file = locate(name)
    facts = collect_file_facts(file) if isinstance(file, Path) and file.is_file() else {}
    try:
        facts = _model_facts(name, options) | facts
    except CheckpointError as error:
        if not facts:
            raise
        facts["note"] = str(error)
    if as_json:
        print(json.dumps(facts, indent=2))
        return 0
    width = max(map(len, facts))
    for key, value in facts.items():
        if isinstance(value, dict):
            value = [f"{part} {limit or 'any'}" for part, limit in value.items()]
        text = ", ".join(value) if isinstance(value, list) else value
        print(f"{key:<{width}}  {text if text not in ('', None) else '-'}")
    return 0


def _model_facts(name: str, options: LoadOptions) -> dict[str, Any]:
    model = load_outline(name, options, online=True)
    if model is None:
        raise CheckpointError(
            f"the configuration files of {name!r} do not describe a model; render with it to see what is wrong"
        )
    return collect_facts(model, read_tokenizer_limits(name, options)) | dict(model.sources)


def collect_file_facts(file: Path) -> dict[str, Any]:
    """What is in a weights file, from its header. CheckpointError where it is damaged."""
    header = read_header(file)
    roles = find_roles(header)
    return {
        "file": str(file.absolute()),
        "format": header.format,
        "file_bytes": header.size,
        "tensors": len(header.tensors),
        "dtypes": {dtype: count for dtype, count in header.dtypes.items()},
        "contains": [f"{TITLES[role]} ({prefix}*)" if prefix else TITLES[role] for role, prefix in roles.items()],
    }


def collect_facts(model: Backbone, tokens: Mapping[str, int | None]) -> dict[str, Any]:
    """What is known of a model without its weights, by the names of the request's fields. tokens: that each of its
    tokenizers reads."""
    from videogen.backbones.hosting.backbone import HostedBackbone
    from videogen.backbones.hosting.lengths import describe_length

    default, geometry, limits = model.defaults, model.geometry, model.limits
    row = (PIPELINES | MODULAR_PIPELINES).get(type(model.pipeline).__name__)
    hosted = isinstance(model, HostedBackbone)
    return {
        "model": model.name,
        "family": model.family,
        "pipeline": type(model.pipeline).__name__,
        "inputs": list(model.accepts),
        "needs": [need.replace("|", " or ") for need in model.needs],
        "size": f"{default.width}x{default.height}",
        "size_multiple": geometry.multiple,
        "frames": default.frames,
        "frame_rule": geometry.rule,
        "other_lengths": describe_length(row) if row else "",
        "most_frames": limits.frames,
        "fps": default.fps,
        "steps": default.steps,
        "guidance_scale": default.guidance_scale,
        "solver": type(model.scheduler).__name__,
        "prompt_tokens": model.text_limit if hosted and model.text_limit < 1 << 30 else None,
        "tokenizers": dict(tokens),
        "options": list(model.option_names),
        "requires": row.requires if row else "",
    }
