"""Options for where a model and its components come from."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from videogen.backbones.load_options import COMPONENTS, LoadOptions
from videogen.core.errors import InputError

_COMPONENTS = {
    "transformer": "the denoiser of this file, folder or hub id",
    "transformer_2": "the low-noise expert, with --transformer the high-noise one",
    "unet": "the denoiser of models with a UNet",
    "vae": "the VAE",
    "text_encoder": "the text encoder",
    "motion_adapter": "AnimateDiff's motion modules, for a Stable Diffusion model",
}


def add_source_options(group: argparse._ActionsContainer) -> None:
    """`--base`, `--revision`, and one option for each component that may come from another source."""
    group.add_argument(
        "--base", metavar="NAME", help="with a file as --model: the rest of its pipeline, a folder or hub id"
    )
    group.add_argument("--revision", metavar="NAME", help="branch, tag or commit of a hub id")
    for name, text in _COMPONENTS.items():
        group.add_argument(f"--{name.replace('_', '-')}", metavar="SOURCE", help=text)


def load_options_of(options: argparse.Namespace) -> LoadOptions:
    """The sources that the options name."""
    return replace(LoadOptions(), **_given(options))


def check_without_sources(options: argparse.Namespace) -> None:
    """InputError for sources that are given without a model."""
    for name, value in _given(options).items():
        raise InputError(f"--{name.replace('_', '-')} {value} has no effect without a model; name one")


def _given(options: argparse.Namespace) -> dict[str, Any]:
    names = ("base", "revision", *COMPONENTS)
    return {name: value for name in names if (value := getattr(options, name)) is not None}
