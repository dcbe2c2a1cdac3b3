"""Continuity policies: one file and one row each, and nothing else in the project knows them by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.source import compared_strings
from videogen.longvideo.policies.base import ContinuityPolicy
from videogen.longvideo.policies.build import build_policy
from videogen.request.continuity import Continuity
from videogen.request.continuity_noise import NOISES
from videogen.request.continuity_policies import POLICIES, benchmark_names

ROOT = Path(__file__).resolve().parents[3]
TABLE = ROOT / "videogen" / "request" / "continuity_policies.py"
# Propagation has modes of the same names, which are not policies.
SEARCHED = [
    path
    for folder in ("videogen", "tools", "schedulers")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path != TABLE and "propagation" not in path.parts
]


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("single_first", [True, False], ids=["causal VAE", "VAE of single frames"])
def test_a_row_names_a_class_in_a_file_of_the_policys_name(name: str, single_first: bool) -> None:
    continuity = Continuity.parse(name).for_clip(9)
    policy = build_policy(continuity, 9, 10, single_first)
    assert isinstance(policy, ContinuityPolicy) and type(policy).__module__.rpartition(".")[2] == name
    assert 0 <= policy.release <= 10 and policy.retained_frames in (0, continuity.overlap)


def test_no_policy_and_no_kind_of_noise_is_compared_by_name_outside_its_table() -> None:
    found = [(path.relative_to(ROOT), line, text) for path in SEARCHED for line, text in compared_strings(path)]
    assert len(found) > 100, "strings are compared in many places"
    assert not [place for place in found if place[2] in POLICIES or place[2] in NOISES]


def test_the_benchmark_compares_what_a_model_can_do() -> None:
    any_model, unet = set(benchmark_names(frozenset())), set(benchmark_names(frozenset({"temporal_blocks"})))
    assert {"independent", "overlap", "replay", "co_denoise", "cono", "cono_v", "co_denoise_shuffled"} <= any_model
    assert not any_model & {"look_back", "clean_prefix", "i2v_prefix", "window_attention", "freenoise"}
    assert unet - any_model >= {"window_attention", "freenoise"} and any_model <= unet
