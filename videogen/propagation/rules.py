"""Propagation rules: the specs that `propagate` and `--propagate` accept, one row per rule.

A new rule of this engine is a row of `_OWN`, with the fields of `StepCaching` that it stands for; a new feature
cache of diffusers is a row of `caches.CACHES`. Importing this loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from videogen.core.errors import InputError, nearest

from .caches import CACHES
from .key_steps import parse_interval

#: Fields of `StepCaching`.
Settings = Mapping[str, object]


@dataclass(frozen=True)
class Rule:
    """One rule.

    form: the spec with its argument, such as `every:N`. settings: (full spec, its argument) -> settings; None for `off`
    and for the caches of diffusers, which `LibraryCache` parses. needs: inputs that the command line cannot give.
    """

    form: str
    description: str
    settings: Callable[[str, str], Settings] | None = None
    needs: tuple[str, ...] = ()
    from_library: bool = False


def _list_rule(name: str) -> Callable[[str, str], Settings]:
    return lambda spec, argument: {"keys": name, "boundary": "fd", "predictor": "hold"}


def _deepcache(spec: str, argument: str) -> Settings:
    interval = parse_interval(spec, argument or "3")
    return {"keys": f"every:{interval}", "boundary": "deepcache:0", "predictor": "hold"}


def _number(spec: str, argument: str) -> float:
    try:
        return float(argument)
    except ValueError:
        name = spec.partition(":")[0]
        raise InputError(f"{spec!r} needs a number after the colon, such as {name}:0.02") from None


_OWN: dict[str, Rule] = {
    "off": Rule("off", "every step is evaluated"),
    "max_error": Rule(
        "max_error:E", "stays within this error of the result, such as 0.02", lambda s, a: {"max_error": _number(s, a)}
    ),
    "fd": Rule("fd", "Faster Diffusion's list for 50 steps", _list_rule("fd")),
    "fd-dpm": Rule("fd-dpm", "Faster Diffusion's list for 20 steps", _list_rule("fd-dpm")),
    "every": Rule(
        "every:N",
        "evaluates every N-th step: N=2 is 1.5 to 2 times as fast, and nearer to the plain result at 50 steps (43 dB "
        "or more) than at 20 (31 dB or more)",
        lambda s, a: {"keys": f"every:{parse_interval(s, a)}"},
    ),
    "deepcache": Rule("deepcache:N", "DeepCache in a UNet, full at every N-th step", _deepcache),
}

#: Name (the part of a spec before the colon) -> rule.
RULES: dict[str, Rule] = {
    **_OWN,
    **{
        name: Rule(f"{name}:{kind.letter}", kind.description, needs=kind.needs_from_user, from_library=True)
        for name, kind in CACHES.items()
    },
}


def find_rule(spec: str) -> Rule | None:
    """The rule of a spec; None if no rule has this name, or if it takes no argument and the spec has one."""
    name, _, argument = spec.strip().partition(":")
    rule = RULES.get(name)
    return None if rule is None or (argument and ":" not in rule.form) else rule


def describe_rules() -> str:
    """The rules in one sentence, with descriptions, for the command line's help."""
    own = ", ".join(f"{rule.form} ({rule.description})" for rule in _own_rules())
    return f"{own}, or a cache of diffusers: {', '.join(_library_names())}"


def list_rules() -> str:
    """The forms of the rules, for messages."""
    own = ", ".join(rule.form for rule in _own_rules())
    return f"{own}, or diffusers' {', '.join(_library_names())}"


def suggest_rule(spec: str) -> str:
    """`did you mean 'max_error:E'? ` for a message; empty where no rule has a similar name."""
    name = spec.strip().partition(":")[0]
    guess = nearest(name, RULES)
    return "" if guess is None or guess == name else f"did you mean {RULES[guess].form!r}? "


def _own_rules() -> list[Rule]:
    return [rule for rule in RULES.values() if not rule.from_library]


def _library_names() -> list[str]:
    return [name for name, rule in RULES.items() if rule.from_library and not rule.needs]
