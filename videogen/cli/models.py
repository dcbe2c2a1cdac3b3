"""`videogen models`: the model families, and the models on this machine; the table of pipelines; one model."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from videogen.backbones.hosting.modular_pipelines import MODULAR_PIPELINES
from videogen.backbones.hosting.pipelines import PIPELINES
from videogen.backbones.registry import EMBEDDED, FAMILIES, family_of, read_index
from videogen.core.errors import CheckpointError, InputError

from .source_options import check_without_sources, load_options_of


def run(options: argparse.Namespace) -> int:
    if options.model is not None and options.table:
        raise InputError(
            f"--table lists every pipeline class, and {options.model!r} is one model; leave out one of the two"
        )
    if options.model is not None:
        from .model_facts import print_model

        return print_model(options.model, load_options_of(options), as_json=options.json)
    check_without_sources(options)
    if options.table:
        return _print_table(as_json=options.json)
    here = [*_embedded(), *_hub_cache()]
    if options.json:
        families = [
            {"name": f.name, "description": f.description, "supports": f.supports, "pipelines": f.pipelines}
            for f in FAMILIES.values()
        ]
        print(json.dumps({"families": families, "models": here}, indent=2))
        return 0
    width = max(len(name) for name in FAMILIES) + 3
    print("families")
    for family in FAMILIES.values():
        print(f"  {family.name:<{width}}{family.description}")
        indent = " " * (width + 2)
        print(f"{indent}supports: {family.supports}\n{indent}loads: {', '.join(family.pipelines)}")
    others = [name for name in PIPELINES if all(name not in family.pipelines for family in FAMILIES.values())]
    print(
        f"\nby their own code: {len(others) + len(MODULAR_PIPELINES)} more pipeline classes of diffusers "
        "(videogen models --table)"
    )
    print("\nmodels here")
    for model in here:
        print(f"  {model['name']:<40} {model['family']:<12} {model['where']}")
    print("\nany other: --model FOLDER (diffusers' layout), FILE (.safetensors, .gguf) or OWNER/NAME (from the hub)")
    return 0


def _print_table(*, as_json: bool) -> int:
    from videogen.backbones.pipeline_listing import build_table, list_pipelines

    print(json.dumps({"pipelines": list_pipelines()}, indent=2) if as_json else build_table())
    return 0


def _embedded() -> list[dict[str, str]]:
    found = []
    for name, folder in EMBEDDED.items():
        if (folder / "model_index.json").is_file():
            found.append({"name": name, "family": family_of(read_index(folder), name).name, "where": "in the package"})
    return found


def _hub_cache() -> list[dict[str, str]]:
    """Snapshots in the hub client's cache that a family here loads."""
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    found: dict[str, dict[str, str]] = {}
    for index in sorted(cache.glob("models--*/snapshots/*/model_index.json")):
        name = index.parents[2].name.removeprefix("models--").replace("--", "/")
        try:
            family = family_of(read_index(index.parent), name).name
        except CheckpointError:
            continue
        found[name] = {"name": name, "family": family, "where": "in the hub's cache"}
    return list(found.values())
