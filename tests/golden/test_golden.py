"""Golden renders against the stored table: a few in the normal suite, all others among the slow tests."""

from __future__ import annotations

import pytest

from tests.golden.cases import CASES, Case
from tests.golden.table import differences, result_of


def test_the_table_holds_each_case_once() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) >= 30


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name, marks=() if case.quick else pytest.mark.slow) for case in CASES]
)
def test_a_render_is_what_it_was(case: Case) -> None:
    assert differences(case, result_of(case)) == []
