"""Modules that diffusers keeps in fp32 whatever the requested dtype is, by the list of a model's class.

The rule is that of its `load_model_dict_into_meta`: a parameter stays where a part of its dotted name is in the list.
"""

from __future__ import annotations

from typing import Any


def fp32_modules(model: Any) -> tuple[str, ...]:
    """The list of a model or its class; empty where there is none."""
    return tuple(getattr(model, "_keep_in_fp32_modules", None) or ())


def stays_in_fp32(name: str, modules: tuple[str, ...]) -> bool:
    """Whether a parameter or buffer of this dotted name stays in fp32. modules: the list of its model."""
    return any(part in modules for part in name.split("."))
