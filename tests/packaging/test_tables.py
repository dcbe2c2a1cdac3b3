"""Tables of extensions: every row has a description, loads what it names, can be reached, and has a name of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import diffusers
import pytest

from tools.bench.__main__ import BENCHMARKS
from videogen.attention.config import SparseAttention
from videogen.attention.kernels.table import KERNELS
from videogen.attention.policies.base import AttentionPolicy
from videogen.attention.policies.table import ATTENTION_POLICIES, DENSE, parse_spec
from videogen.backbones.base import Backbone
from videogen.backbones.registry import EMBEDDED, FAMILIES, Family, family_of
from videogen.core.lazy import load_object
from videogen.longvideo.policies.base import ContinuityPolicy
from videogen.media.formats import FORMATS
from videogen.propagation.caches import CACHES
from videogen.propagation.cut_kinds import CUTS
from videogen.propagation.predictor_kinds import PREDICTORS
from videogen.propagation.rules import RULES, find_rule
from videogen.request.continuity_noise import NOISES
from videogen.request.continuity_policies import POLICIES, PRESETS, ROWS
from videogen.schedulers import LevelSolver
from videogen.schedulers.parametrization import KINDS
from videogen.schedulers.solvers import SOLVERS, SolverRow

#: tables by name, each row under the name that a user gives
NAMED: dict[str, Mapping[str, Any]] = {
    "families": FAMILIES,
    "continuity policies": POLICIES,
    "continuity presets": PRESETS,
    "noises": NOISES,
}
#: tables whose rows are described to the user
DESCRIBED: dict[str, Mapping[str, Any]] = NAMED | {
    "solvers": SOLVERS,
    "caches": CACHES,
    "rules": RULES,
    "cuts": CUTS,
    "attention policies": {row.name: row for row in ATTENTION_POLICIES},
}


@pytest.mark.parametrize("table", DESCRIBED)
def test_rows_are_described_each_in_its_own_words(table: str) -> None:
    words = [row.description for row in DESCRIBED[table].values()]
    assert all(words) and len(set(words)) == len(words)


@pytest.mark.parametrize("table", NAMED)
def test_rows_stand_under_their_names(table: str) -> None:
    assert all(row.name == name for name, row in NAMED[table].items())


#: every object that a row names -> what it must be
HOMES = [
    *((f"family {name}", row.home, "videogen.backbones", Backbone) for name, row in FAMILIES.items()),
    *((f"policy {name}", row.home, "videogen.longvideo.policies", ContinuityPolicy) for name, row in POLICIES.items()),
    *(
        (f"attention {row.name}", row.home, "videogen.attention.policies", AttentionPolicy)
        for row in ATTENTION_POLICIES
    ),
    *((f"solver {name}", row.home, "videogen.schedulers", LevelSolver) for name, row in SOLVERS.items() if row.home),
    *((f"kernel {row.name}", row.home, "videogen.attention.kernels", None) for row in KERNELS),
    *((f"cut {name}", row.builder, "videogen.propagation", None) for name, row in CUTS.items() if row.builder),
    *((f"cache {name}", row.builder, "videogen.propagation", None) for name, row in CACHES.items()),
]


@pytest.mark.parametrize(("home", "package", "base"), [pytest.param(*row[1:], id=row[0]) for row in HOMES])
def test_every_home_loads(home: str, package: str, base: type | None) -> None:
    found = load_object(home, package)
    assert callable(found) and (base is None or issubclass(found, base))


def test_every_kernel_says_what_it_refuses() -> None:
    for row in KERNELS:
        module = row.home.partition(":")[0]
        assert callable(load_object(f"{module}:refuses", "videogen.attention.kernels")), row.name


def test_every_benchmark_has_its_functions() -> None:
    for name, row in BENCHMARKS.items():
        module = import_module(row.module)
        assert row.help and callable(module.run) and callable(module.add_arguments), name


def empty_solvers(rows: Mapping[str, SolverRow]) -> list[str]:
    """Solvers that no model can be sampled with, or that name both a class of diffusers and one of ours."""
    return [
        name
        for name, row in rows.items()
        if not any(row.fits(kind) for kind in KINDS) or bool(row.home) == bool(row.vp or row.flow)
    ]


def unreached_families(rows: Mapping[str, Family]) -> list[str]:
    """Families that do not load each of their own pipelines, because an earlier row does or they have none."""
    first: dict[str, str] = {}
    for name, row in rows.items():
        for pipeline in row.pipelines:
            first.setdefault(pipeline, name)
    return [name for name, row in rows.items() if not row.pipelines or any(first[p] != name for p in row.pipelines)]


def test_no_solver_is_empty() -> None:
    assert not empty_solvers(SOLVERS)
    assert empty_solvers({"nothing": SolverRow("a name alone")}) == ["nothing"]
    assert empty_solvers({"both": SolverRow("two", vp="DDIMScheduler", home="ours:Solver")}) == ["both"]


def test_every_solver_of_diffusers_exists() -> None:
    for row in SOLVERS.values():
        for name in filter(None, (row.vp, row.flow)):
            assert ":" in name or hasattr(diffusers, name), name


def test_every_family_is_reached() -> None:
    assert not unreached_families(FAMILIES)
    second = Family("second", ("WanPipeline",), "wan:WanBackbone", "a second Wan", "nothing")
    assert unreached_families({**FAMILIES, "second": second}) == ["second"]
    for row in FAMILIES.values():
        for pipeline in row.pipelines:
            assert family_of({"_class_name": pipeline}, "a folder") is row and hasattr(diffusers, pipeline)


NAMES: dict[str, Callable[[], list[str]]] = {
    "attention specs": lambda: [DENSE, *(row.keyword for row in ATTENTION_POLICIES)],
    "attention policies": lambda: [row.name for row in ATTENTION_POLICIES],
    "kernels": lambda: [row.name for row in KERNELS],
    "homes of policies": lambda: [row.home for row in POLICIES.values()],
    "policies and presets": lambda: [*POLICIES, *PRESETS],
    "own rules and caches": lambda: [row.form.partition(":")[0] for row in RULES.values()],
    "file suffixes": lambda: [suffix for row in FORMATS for suffix in row.suffixes],
    "models": lambda: [*EMBEDDED, *FAMILIES],
    "benchmarks": lambda: [row.module for row in BENCHMARKS.values()],
}


@pytest.mark.parametrize("names", NAMES)
def test_names_are_unique(names: str) -> None:
    found = NAMES[names]()
    assert sorted(set(found)) == sorted(found)


def test_rows_are_reached_by_what_a_user_writes() -> None:
    assert all(find_rule(row.form) is row for row in RULES.values()) and set(CACHES) <= set(RULES)
    assert all(parse_spec(row.keyword) == (row, None) for row in ATTENTION_POLICIES)
    assert all(SparseAttention.from_policy(row.name).policy == row.name for row in ATTENTION_POLICIES)
    assert all(row.only_cut in (None, *CUTS) for row in PREDICTORS.values())
    assert all(row.default_cut.partition(":")[0] in CUTS for row in PREDICTORS.values())
    assert all(ROWS[name] is row for table in (POLICIES, PRESETS) for name, row in table.items())
    assert all(row.policy in POLICIES for row in PRESETS.values())
    assert all(noise in NOISES for row in POLICIES.values() for noise in row.noises)
