"""Loading of a modular pipeline from a folder: default blocks of its class, components of the folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videogen.core.errors import CheckpointError

from ..checkpoints.names import revision_option


def check_blocks(source: Path | str, index: Mapping[str, Any]) -> None:
    """CheckpointError where a checkpoint brings its own blocks, which would be code that it runs."""
    import diffusers

    blocks = index.get("_blocks_class_name")
    if "auto_map" in index or (blocks is not None and not hasattr(diffusers, blocks)):
        raise CheckpointError(
            f"{source} has blocks of its own ({blocks}), which are code; build the pipeline yourself and give it to "
            "Engine.from_pipeline"
        )


def outline_modular(
    pipeline_class: Any, source: Path | str, index: Mapping[str, Any], components: Mapping[str, Any]
) -> Any:
    """The pipeline with its default blocks and these components alone. CheckpointError as `build_modular`."""
    check_blocks(source, index)
    pipeline = pipeline_class()
    pipeline.update_components(**components)
    return pipeline


def build_modular(
    pipeline_class: Any, source: Path | str, index: Mapping[str, Any], components: Mapping[str, Any]
) -> Any:
    """The pipeline of an index with these components; those without weights, such as tokenizers, are loaded here.

    CheckpointError where the folder brings its own blocks, which would be code that it runs.
    """
    check_blocks(source, index)
    pipeline = pipeline_class(
        pretrained_model_name_or_path=str(source), local_files_only=isinstance(source, Path), **revision_option(source)
    )
    others = [name for name in pipeline.pretrained_component_names if name in index and name not in components]
    for name in others:
        if isinstance(source, Path) and (source / name).is_dir():
            pipeline.load_components(
                names=[name], pretrained_model_name_or_path=str(source), subfolder=name, local_files_only=True
            )
    missing = [name for name in others if getattr(pipeline, name, None) is None and index[name][0]]
    if missing:
        raise CheckpointError(f"{source} has no {', '.join(missing)} that can be loaded; copy the folder again")
    pipeline.update_components(**components)
    if getattr(pipeline, "requires_safety_checker", False):
        pipeline.enable_safety_checker()
    return pipeline
