"""Kinds of cuts, as `StepCaching.boundary` spells them: one row per kind.

A new kind is a file with a builder and a row. A builder takes the model, the numbers of the spec and the predictor:
`build(model, numbers, predictor) -> Cut`; it raises UnsupportedError if the model has no such cut, InputError if the
numbers do not fit. One for other hosts takes the number of blocks that they tap, or None, in place of the model.
Importing this loads no torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from videogen.core.errors import InputError


@dataclass(frozen=True)
class CutKind:
    """One kind of cut.

    builder: `module:function` in this package; None: the default cut of the predictor. numbers: names of the numbers
    after the colon. optional: whether the numbers may be omitted. host_builder: for hosts without modules of diffusers;
    None: there is none.
    """

    description: str
    builder: str | None
    numbers: tuple[str, ...] = ()
    optional: bool = False
    host_builder: str | None = None


CUTS: dict[str, CutKind] = {
    "auto": CutKind("the predictor's default", None),
    "output": CutKind(
        "the full model's prediction is extrapolated",
        "output_cut:build_output_cut",
        host_builder="output_cut:build_output_cut",
    ),
    "fd": CutKind("a UNet's encoder is cached (Faster Diffusion)", "unet_cut:build_encoder_cut"),
    "deepcache": CutKind(
        "a UNet's inner layers are cached from a branch on (DeepCache)", "unet_cut:build_branch_cut", ("BRANCH",), True
    ),
    "cut": CutKind("a UNet's first E and last D layers run at every step", "unet_cut:build_unet_cut", ("E", "D")),
    "blocks": CutKind(
        "a transformer's FRONT first and TAIL last blocks run at every step",
        "attached_block_cut:build_block_cut",
        ("FRONT", "TAIL"),
        host_builder="block_cut:build_tapped_blocks",
    ),
}


def parse_cut(spec: object) -> tuple[CutKind, tuple[int, ...]]:
    """(kind, its numbers) of a spec such as `cut:1,1`. Raises InputError."""
    if isinstance(spec, str):
        name, colon, argument = spec.partition(":")
        kind = CUTS.get(name)
        if kind and not colon and (kind.optional or not kind.numbers):
            return kind, ()
        if kind and kind.numbers and re.fullmatch(r"\d+" + r",\d+" * (len(kind.numbers) - 1), argument):
            return kind, tuple(int(number) for number in argument.split(","))
    forms = [name + (f":{','.join(kind.numbers)}" if kind.numbers else "") for name, kind in CUTS.items()]
    raise InputError(f"boundary={spec!r} is unknown; use {', '.join(forms[:-1])} or {forms[-1]}")
