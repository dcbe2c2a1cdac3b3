"""`import videogen` and the help import little: no heavy package, and few modules; a render names its phase before it
imports more. Counted, since seconds depend on the machine: on an idle one the package takes under 0.3 s and the help
under 0.5 s."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "numpy", "diffusers", "transformers", "accelerate", "safetensors", "av", "cv2", "PIL", "tqdm"}
REPORT = "import json, sys; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
COMMAND = "from videogen.cli.main import main; assert main({}) == 0"


@pytest.mark.parametrize(
    ("program", "limit"),
    [
        pytest.param("import videogen", 10, id="the package"),
        pytest.param(COMMAND.format(["--help"]), 265, id="help"),
        pytest.param(COMMAND.format(["render", "--help"]), 265, id="render's help"),
        pytest.param(COMMAND.format(["story", "policies"]), 300, id="policies"),
        pytest.param(COMMAND.format(["models"]), 300, id="models"),
    ],
)
def test_startup_imports_little(program: str, limit: int) -> None:
    """limit: modules beyond those of Python itself; today's number and a tenth of it."""
    imported = []
    for code in (REPORT, f"{program}\n{REPORT}"):
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        imported.append(set(json.loads(done.stderr)))
    before, after = imported
    assert not after & HEAVY - before
    assert len(after - before) <= limit, sorted(after - before)


@pytest.mark.parametrize(
    ("point", "text"),
    [
        pytest.param("check_before_loading", "checking the inputs", id="before any input is read"),
        pytest.param("_check_before_weights", "loading the model", id="before torch is imported"),
    ],
)
@pytest.mark.parametrize("more", [pytest.param([], id="one clip"), pytest.param(["--count", "2"], id="several")])
def test_the_progress_bar_names_the_phase_before_heavy_imports(
    point: str, text: str, more: list[str], tmp_path: Path
) -> None:
    program = f"""
import json, sys
from videogen.cli import main, render
def stop(*_, **__):
    print(json.dumps(sorted(sys.modules)))
    sys.exit()
sys.stderr.isatty = lambda: True
render.{point} = stop
main.main(["render", "a red ball", "-o", {str(tmp_path / "a.mp4")!r}, *{more}])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and text in done.stderr
    assert done.stderr.strip().startswith("checking the inputs"), "from the first character on"
    assert not set(json.loads(done.stdout)) & (HEAVY - {"tqdm", "numpy"})


def test_loading_prints_nothing() -> None:
    """No line of a library about what it does without, such as torchvision."""
    program = """
from videogen import Engine
from videogen.backbones.registry import load_outline
for name in ("embedded-unet", "embedded"):
    load_outline(name), Engine.load(name, device="cpu")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
