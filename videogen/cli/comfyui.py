"""`videogen comfyui`: install the node pack into ComfyUI, and write models for it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_DESCRIPTION = """\
Nodes for ComfyUI: sparse attention on ComfyUI's own video models, and the embedded model for its samplers.
"""
_EXAMPLES = """\
examples:
  videogen comfyui install ComfyUI                       adds or updates custom_nodes/videogen
  videogen comfyui export-model -o ComfyUI/models/diffusion_models/videogen.safetensors
  videogen comfyui export-model FOLDER -o wan.safetensors    a Wan text-to-video model in diffusers' layout
"""


def add_parser(commands: Any, parents: list[argparse.ArgumentParser], formatter: Any) -> None:
    parser = commands.add_parser(
        "comfyui", parents=parents, help="install the ComfyUI nodes, or write a model for ComfyUI",
        description=_DESCRIPTION, epilog=_EXAMPLES, formatter_class=formatter,
    )  # fmt: skip
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    install = actions.add_parser(
        "install", formatter_class=formatter, help="add the node pack to a ComfyUI folder",
        description="Write custom_nodes/videogen, which loads the nodes from this installation of videogen. ComfyUI "
        "must run on the same Python, and be restarted. Run it again after an update of videogen.",
    )  # fmt: skip
    install.add_argument("folder", type=Path, help="ComfyUI's folder, or its base directory: with custom_nodes in it")
    export = actions.add_parser(
        "export-model", formatter_class=formatter, help="write a Wan model that Load Diffusion Model takes",
        description="Write the denoiser of a Wan text-to-video model as one file with ComfyUI's names. The embedded "
        "model's VAE and text encoder have loader nodes of their own.",
    )  # fmt: skip
    export.add_argument("model", nargs="?", default="embedded", metavar="MODEL", help="embedded, or a folder")
    export.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="a .safetensors file")
    export.add_argument("--overwrite", action="store_true", help="replace the output if it exists")


def run(options: argparse.Namespace) -> int:
    if options.action == "install":
        from videogen.comfyui.installing import install

        print(install(options.folder))
        return 0
    from videogen.comfyui.embedded.native_wan import export_transformer, find_folder

    print(export_transformer(find_folder(options.model), options.output, overwrite=options.overwrite))
    return 0
