"""Tables of propagation: the settings of each rule, the cuts that a spec names, and one row as all that a rule
needs."""

from __future__ import annotations

from typing import Any

import pytest

from videogen.cli.parser import build_parser
from videogen.core.errors import InputError
from videogen.core.lazy import load_object
from videogen.propagation import StepCaching
from videogen.propagation.caches import CACHES, LibraryCache
from videogen.propagation.cut_kinds import CUTS, parse_cut
from videogen.propagation.predictor_kinds import PREDICTORS
from videogen.propagation.rules import RULES, Rule, describe_rules, list_rules

FD = {"boundary": "fd", "predictor": "hold"}


@pytest.mark.parametrize(
    ("spec", "settings"),
    [
        pytest.param("off", None, id="nothing is propagated"),
        pytest.param("max_error:0.05", {"max_error": 0.05}, id="a promise"),
        pytest.param("fd", {"keys": "fd", **FD}, id="Faster Diffusion, 50 steps"),
        pytest.param("fd-dpm", {"keys": "fd-dpm", **FD}, id="Faster Diffusion, 20 steps"),
        pytest.param("every:4", {"keys": "every:4"}, id="an interval"),
        pytest.param(
            "deepcache:5", {"keys": "every:5", "boundary": "deepcache:0", "predictor": "hold"}, id="DeepCache"
        ),
        pytest.param(
            "deepcache", {"keys": "every:3", "boundary": "deepcache:0", "predictor": "hold"}, id="its interval left out"
        ),
        pytest.param(" every:4 ", {"keys": "every:4"}, id="blanks around it"),
    ],
)
def test_a_spec_stands_for_settings(spec: str, settings: dict[str, Any] | None) -> None:
    assert StepCaching.parse(spec) == (None if settings is None else StepCaching.from_dict(settings))
    assert LibraryCache.parse(spec) is None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param("quick", "unknown propagation 'quick'; use one of off, max_error:E", id="no such rule"),
        pytest.param("fast", "unknown propagation 'fast'; did you mean 'fastercache:N'", id="close to a name"),
        pytest.param("", "unknown propagation ''", id="nothing"),
        pytest.param("fd:2", "unknown propagation 'fd:2'", id="an argument to a rule that takes none"),
        pytest.param("off:1", "unknown propagation 'off:1'", id="an argument to off"),
        pytest.param("pab:2", "unknown propagation 'pab:2'", id="a cache of diffusers is no rule of this class"),
        pytest.param("every", "needs a whole number of at least 1", id="no interval"),
        pytest.param("every:0", "'every:0' needs a whole number of at least 1", id="an interval of 0"),
        pytest.param("every:2.5", "needs a whole number of at least 1", id="half a step"),
        pytest.param("deepcache:x", "'deepcache:x' needs a whole number", id="an interval of no number"),
        pytest.param("max_error:low", "'max_error:low' needs a number after the colon", id="an error of no number"),
        pytest.param("max_error:1", "max_error=1.0 must be above 0 and below 1", id="an error of all"),
    ],
)
def test_a_bad_spec_is_refused(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        StepCaching.parse(spec)


def test_messages_and_help_list_every_rule_that_a_spec_can_name() -> None:
    for name, rule in RULES.items():
        assert rule.form.partition(":")[0] == name and rule.description
        for text in (list_rules(), describe_rules()):
            assert (rule.needs != ()) != (name in text.replace(",", " ").replace("'", " ").split() or rule.form in text)
    assert {name for name, rule in RULES.items() if rule.from_library} == set(CACHES)
    assert [name for name, rule in RULES.items() if rule.needs] == ["magcache"]


def test_one_row_adds_a_rule(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(RULES, "half", Rule("half", "every second step", lambda spec, argument: {"keys": "every:2"}))
    assert StepCaching.parse("half") == StepCaching(keys="every:2")
    assert "half" in list_rules() and "half (every second step)" in describe_rules()
    with pytest.raises(SystemExit):
        build_parser("1.0", "").parse_args(["render", "--help"])
    assert "half (every second step)" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", CUTS)
def test_each_kind_of_cut_has_a_builder(name: str) -> None:
    kind = CUTS[name]
    numbers = tuple(range(1, 1 + len(kind.numbers)))
    spec = name + (f":{','.join(map(str, numbers))}" if numbers else "")
    assert parse_cut(spec) == (kind, numbers) and StepCaching(boundary=spec).boundary == spec
    assert kind.builder is None or callable(load_object(kind.builder, "videogen.propagation"))
    assert kind.optional == (bool(numbers) and _parses(name))


def _parses(spec: str) -> bool:
    try:
        parse_cut(spec)
    except InputError:
        return False
    return True


@pytest.mark.parametrize("spec", ["half", "cut", "cut:1", "cut:1,2,3", "blocks:1,-1", "fd:1", "output:", "", 3, None])
def test_a_bad_cut_is_refused_with_what_there_is(spec: object) -> None:
    with pytest.raises(InputError, match="is unknown; use auto, output, fd, deepcache:BRANCH, cut:E,D or blocks"):
        parse_cut(spec)


def test_predictors_name_cuts_that_exist() -> None:
    for kind in PREDICTORS.values():
        assert parse_cut(kind.default_cut)[0].builder is not None and kind.only_cut in (None, *CUTS)


@pytest.mark.parametrize("name", CACHES)
def test_each_cache_of_diffusers_has_a_builder(name: str) -> None:
    assert callable(load_object(CACHES[name].builder, "videogen.propagation"))
