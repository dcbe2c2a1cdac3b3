"""Golden renders against the stored table: a few in the normal suite, the others among the slow tests."""

from __future__ import annotations

import pytest

from tests.golden.cases import CASES, Case
from tests.golden.table import differences, render_case


def test_case_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) >= 30


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name, marks=() if case.quick else pytest.mark.slow) for case in CASES]
)
def test_a_render_equals_the_stored_one(case: Case) -> None:
    assert differences(case, render_case(case)) == []
