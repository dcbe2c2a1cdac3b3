"""The bench of long videos keeps what it need not measure again."""

from __future__ import annotations

import json
from pathlib import Path

from tools import bench_long


def test_one_policy_is_measured_beside_what_was_measured_before_if_all_else_is_the_same(tmp_path: Path) -> None:
    path, same = tmp_path / "long-policies-x.json", {"model_hash": "a", "steps": 12}
    assert bench_long.measured_before(path, same) == {}
    path.write_text(json.dumps({**same, "policies": {"overlap": {"seam_ratio": 1.5}}}))
    assert bench_long.measured_before(path, same) == {"overlap": {"seam_ratio": 1.5}}
    assert (
        bench_long.measured_before(path, same | {"steps": 20})
        == bench_long.measured_before(path, same | {"clips": 4})
        == {}
    )
