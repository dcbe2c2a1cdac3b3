"""`bench long` measures what it claims, on tiny videos, and retains what need not be measured again."""

from __future__ import annotations

import json
from pathlib import Path

from tools.bench.long.policies import measured_before


def test_one_policy_joins_those_measured_before_if_all_else_is_the_same(tmp_path: Path) -> None:
    path, same = tmp_path / "long-policies-x.json", {"model_hash": "a", "steps": 12}
    assert measured_before(path, same) == {}
    path.write_text(json.dumps({**same, "policies": {"overlap": {"seam_ratio": 1.5}}}))
    assert measured_before(path, same) == {"overlap": {"seam_ratio": 1.5}}
    assert measured_before(path, same | {"steps": 20}) == measured_before(path, same | {"clips": 4}) == {}
