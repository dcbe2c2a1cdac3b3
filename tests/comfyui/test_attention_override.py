"""Order of overrides of attention: what stands above what, and that none is left when a call has ended."""

from __future__ import annotations

from typing import Any

import pytest

from videogen.comfyui.hooks.attention_override import OVERRIDE, AttentionOverride
from videogen.comfyui.hooks.model_runs import find_options
from videogen.core.errors import UnsupportedError


def kernel(q: list[str]) -> list[str]:
    return [*q, "kernel"]


def named(name: str, *, approximate: bool) -> AttentionOverride:
    return AttentionOverride(lambda func, q: func([*q, name]), approximate=approximate)


def other(func: Any, q: list[str]) -> list[str]:
    return list(func([*q, "other"]))


def call(options: dict[str, Any]) -> list[str]:
    return list(options[OVERRIDE](kernel, []))


def test_it_stands_above_another_pack_s_and_goes_again() -> None:
    options: dict[str, Any] = {OVERRIDE: other}
    sparse = named("sparse", approximate=True)
    with sparse.installed(options):
        assert call(options) == ["sparse", "other", "kernel"] and sparse.name_of(kernel) == "other"
    assert options == {OVERRIDE: other} and sparse.found == "other"
    with named("sparse", approximate=True).installed(options := {}):
        assert call(options) == ["sparse", "kernel"]
    assert not options


@pytest.mark.parametrize("first", ["sparse", "guard"])
def test_one_that_reads_results_stands_below_one_that_changes_them(first: str) -> None:
    pair = [named("sparse", approximate=True), named("guard", approximate=False)]
    outer, inner = pair if first == "sparse" else pair[::-1]
    options: dict[str, Any] = {OVERRIDE: other}
    for _ in range(2):
        with outer.installed(options), inner.installed(options), outer.installed(options), inner.installed(options):
            assert call(options) == ["sparse", "guard", "other", "kernel"]
            assert {one.name_of(kernel) for one in pair} == {"other"}
        assert options == {OVERRIDE: other}
    assert pair[0].found == "other"


@pytest.mark.parametrize("keeps", [False, True], ids=["it replaces ours", "it calls ours"])
def test_one_that_is_set_over_ours_gets_below_it(keeps: bool) -> None:
    options: dict[str, Any] = {}
    sparse = named("sparse", approximate=True)
    with sparse.installed(options):
        present = options[OVERRIDE]

        def wrapping(func: Any, q: list[str]) -> Any:
            return present(func, [*q, "wrapping"])

        options[OVERRIDE] = wrapping if keeps else other
        with sparse.installed(options):
            assert call(options) == ["sparse", "wrapping" if keeps else "other", "kernel"]
        options[OVERRIDE] = present
        assert call(options) == ["sparse", "kernel"]  # as before, where the other one has gone again
    assert not options


def test_an_error_leaves_nothing() -> None:
    options: dict[str, Any] = {}
    with pytest.raises(KeyboardInterrupt), named("sparse", approximate=True).installed(options):
        raise KeyboardInterrupt
    assert not options


def test_a_call_without_options_is_refused() -> None:
    options: dict[str, Any] = {"wrappers": {}}
    assert find_options((1, options), {}) is options and find_options((), {"transformer_options": options}) is options
    with pytest.raises(UnsupportedError, match=r"without transformer_options.*update ComfyUI"):
        find_options((1, None), {"transformer_options": None})
