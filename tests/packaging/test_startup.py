"""`import videogen` takes under 0.3 s and `videogen --help` answers in under 0.5 s: best of a few tries."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("arguments", "limit_s"),
    [
        pytest.param(["-c", "import videogen"], 0.3, id="the package"),
        pytest.param(["-c", "from videogen.cli.main import main; main(['--help'])"], 0.5, id="help"),
        pytest.param(["-c", "from videogen.cli.main import main; main(['render', '--help'])"], 0.5, id="render's help"),
    ],
)
def test_startup_is_quick(arguments: list[str], limit_s: float) -> None:
    durations = []
    for _ in range(6):
        started = time.perf_counter()
        done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        durations.append(time.perf_counter() - started)
        assert done.returncode == 0, done.stderr
        if durations[-1] < limit_s:
            return
    raise AssertionError(f"{min(durations):.2f} s at best, wanted under {limit_s} s")
