"""`videogen models`: the model families, and the models on this machine; the table of pipelines; one model."""

from __future__ import annotations

import argparse
import json

from videogen.backbones.hosting.modular_pipelines import MODULAR_PIPELINES
from videogen.backbones.hosting.pipelines import PIPELINES
from videogen.backbones.local_models import find_cached_models, find_embedded_models
from videogen.backbones.registry import FAMILIES
from videogen.core.errors import InputError

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
    here = [*find_embedded_models(), *find_cached_models()]
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
