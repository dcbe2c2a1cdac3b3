"""`bench long` measures what it claims, on tiny videos, and retains what need not be measured again."""

from __future__ import annotations

import json
from pathlib import Path

from tools.bench.files import write_report
from tools.bench.long.policies import measured_before, summarize
from tools.bench.report.long import policy_tables
from tools.bench.report.table import ABSENT


def test_one_policy_joins_those_measured_before_if_all_else_is_the_same(tmp_path: Path) -> None:
    path, same = tmp_path / "long-policies-x.json", {"model_hash": "a", "steps": 12}
    assert measured_before(path, same) == {}
    path.write_text(json.dumps({**same, "policies": {"overlap": {"seam_ratio": 1.5}}}))
    assert measured_before(path, same) == {"overlap": {"seam_ratio": 1.5}}
    assert measured_before(path, same | {"steps": 20}) == measured_before(path, same | {"clips": 4}) == {}


def test_a_video_without_a_join_has_no_seam_figures(tmp_path: Path) -> None:
    """At `--times 2`, co_denoise renders the video as one section."""
    motion = {"accuracy": [1.0, 1.0], "motion": 2.0, "flow_px": 1.0, "dynamic": 1.0}
    clip = {**motion, "ratios": [], "colours_de": [], "drift_de": 0.1, "similarity": 0.5, "frozen": 0.0}
    joined = clip | {"ratios": [1.0, 3.0], "colours_de": [0.5, 0.7]}
    found = {name: {**summarize([row], [motion]), "cost": 1.0} for name, row in (("none", clip), ("two", joined))}
    assert [found[name]["seam_ratio"] for name in found] == [None, 2.0]
    assert [found[name]["seams_over_limit"] for name in found] == [None, 0.5]
    write_report(tmp_path / "a.json", "long policies", {"clips": 1, "frames": 66, "policies": found, "x": float("nan")})
    text = (tmp_path / "a.json").read_text()
    assert "NaN" not in text and json.loads(text)["policies"] == found
    (table,) = policy_tables(json.loads(text) | {"model": "embedded"})
    assert table.rows[0][1:3] == [ABSENT, ABSENT] and table.rows[1][1:3] == ["2.00", "50 %"]
