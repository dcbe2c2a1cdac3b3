"""Fitting of a weights file to a model: its tensors' names converted to the model's, and what is missing or unknown.

Only names and shapes are used (tensors on the meta device), so that a file of another model is refused before its
weights are read. The conversions are the library's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import torch

from videogen.core.errors import CheckpointError

Tensors: TypeAlias = dict[str, torch.Tensor]
Conversion: TypeAlias = Callable[[Tensors], Tensors]

#: prefixes that the library's conversions expect, of different classes
_EXPECTED_PREFIXES = ("", "model.diffusion_model.", "vae.", "first_stage_model.", "audio_vae.", "net.")
_MOST_UNKNOWN = 0.05  # of the tensors: beyond it, and beyond a few, the file is of another model
_COMMON = 0.9  # of the names: a prefix that so many have is that of all
_LISTED = 3


@dataclass(frozen=True)
class Fit:
    """A file's tensors under a model's names. convert: from the file's names; used: the model's names that it has."""

    convert: Conversion
    used: frozenset[str]


def fit_names(
    tensors: Tensors, model: torch.nn.Module, to_library: Callable[..., Tensors] | None, config: Mapping[str, Any]
) -> tuple[Fit, Tensors]:
    """The conversion after which most names are the model's, and the tensors that it gives.

    tensors: of the file, on the meta device; to_library: the library's conversion of the model's class; config: the
    model's.
    """
    expected = model.state_dict().keys()
    best: tuple[int, Conversion, Tensors] = (-1, dict, {})
    for convert in _conversions(list(tensors), to_library, config):
        try:
            found = convert(dict(tensors))
        except Exception:  # the library's conversions fail in many ways on files of other models
            continue
        count = sum(name in found for name in expected)
        if count > best[0]:
            best = count, convert, found
        if count == len(expected):
            break
    count, convert, found = best
    return Fit(convert, frozenset(name for name in expected if name in found)), found


def check_fit(path: Path, found: Tensors, model: torch.nn.Module, kind: str, tied: Sequence[str] = ()) -> list[str]:
    """The names in a file that the model does not use. CheckpointError, with counts and names, where tensors are
    missing or have other shapes, or so many are unknown that the file is of another model.

    found: the file's tensors under the model's names; tied: names of the model that are copies of others.
    """
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)} - set(tied)
    missing = sorted(name for name in parameters if name not in found)
    unknown = sorted(name for name in found if name not in expected)
    used = len(found) - len(unknown)
    if missing:
        raise CheckpointError(
            f"{path} is not a complete {kind} of this base: {len(missing)} of its {len(parameters)} tensors are "
            f"missing ({name_some(missing)}), and {len(unknown)} of {len(found)} are unknown ({name_some(unknown)}); "
            "give the base that it was made for (base=), or another file"
        )
    other = sorted(name for name in found if name in expected and found[name].shape != expected[name])
    if other:
        name = other[0]
        raise CheckpointError(
            f"{path} does not fit {kind} of this base: {len(other)} of {used} tensors have another shape, such as "
            f"{name} with {list(found[name].shape)} where {list(expected[name])} is needed; give the base that it was "
            "made for (base=), or another file"
        )
    if len(unknown) > max(_LISTED, _MOST_UNKNOWN * len(found)):
        raise CheckpointError(
            f"{path} is of another model than {kind}: {len(unknown)} of its {len(found)} tensors are unknown "
            f"({name_some(unknown)}); give the base that it was made for (base=), or another file"
        )
    return unknown


def name_some(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are; `none` for an empty one."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{', '.join(names[:_LISTED])}{more}" if names else "none"


def _conversions(
    names: Sequence[str], to_library: Callable[..., Tensors] | None, config: Mapping[str, Any]
) -> Iterator[Conversion]:
    """Conversions to try: the names as they are, without the prefix that they share, and the library's."""
    prefixes = common_prefixes(names)
    for prefix in prefixes:
        yield partial(strip, prefix=prefix)
    if to_library is not None:
        for prefix, added in product(prefixes, _EXPECTED_PREFIXES):
            yield partial(_convert, to_library=to_library, config=config, prefix=prefix, added=added)


def _convert(
    tensors: Tensors, to_library: Callable[..., Tensors], config: Mapping[str, Any], prefix: str, added: str
) -> Tensors:
    """By the library's conversion, whose names begin with `added` instead of `prefix`."""
    named = {f"{added}{name}": tensor for name, tensor in strip(tensors, prefix).items()}
    return to_library(checkpoint=named, config=config)


def common_prefixes(names: Sequence[str]) -> list[str]:
    """The prefixes that most names share, at dots, the empty one first."""
    found, rest = [""], list(names)
    while True:
        heads = [name[len(found[-1]) :].partition(".") for name in rest]
        first = max({head for head, dot, _ in heads if dot}, key=[head for head, _, _ in heads].count, default=None)
        prefix = f"{found[-1]}{first}."
        rest = [name for name in rest if name.startswith(prefix)]
        if first is None or len(rest) < _COMMON * len(names):
            return found
        found.append(prefix)


def strip(tensors: Tensors, prefix: str) -> Tensors:
    """The tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
