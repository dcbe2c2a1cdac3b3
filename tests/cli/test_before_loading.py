"""What a model cannot serve is refused from its configuration files: no weights are loaded, most often no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from videogen.backbones import loading

MOTION = ("--camera", "pan=4")
#: Runs each command line of a JSON list, where torch and what builds on it cannot be imported.
WITHOUT_TORCH = """
import json, sys
sys.modules.update(dict.fromkeys(("torch", "diffusers", "transformers")))
from videogen.cli.main import main
print(json.dumps([main(["render", "a red ball", *arguments]) for arguments in json.loads(sys.argv[1])]))
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("--size", "65x64"), "width=65 is not a multiple of 16", id="a size between two"),
        pytest.param(("--steps", "99999"), "steps=99999", id="more steps than noise levels"),
        pytest.param(("--solver", "ddim"), "use one of euler", id="a solver of other models"),
        pytest.param(("--guidance", "1", "--negative", "dull"), "no effect with", id="a negative prompt unused"),
        pytest.param(("--frames", "200", "--continuity", "window_attention"), "temporal layers", id="a UNet's policy"),
        pytest.param(("--frames", "200", "--window", "30"), "use 29 or 33", id="a window that does not fit"),
        pytest.param(("--frames", "200", *MOTION), "needs warped noise", id="a long motion without training"),
        pytest.param(("--frames", "10000000000000"), "PB of disk", id="more than any disk holds"),
        pytest.param(("--seconds", "1e12"), "PB of disk", id="the same in seconds"),
        pytest.param(("--seconds", "1e308"), "longer than any video", id="more than a number holds"),
        pytest.param(
            ("--frames", "1000000000", "--continuity", "off"),
            "beyond the positions of",
            id="more than one pass takes",
        ),
        pytest.param(("--frames", "9", "--propagate", "fd"), "no encoder and decoder to cut", id="a UNet's list"),
        pytest.param(("--frames", "9", "--propagate", "magcache"), "magnitude ratios", id="a cache that needs more"),
        pytest.param(
            ("--frames", "9", "--propagate", "every:2", "--solver", "heun"), "twice in some steps", id="two calls"
        ),
        pytest.param(("--frames", "21", "--keep-job"), "--keep-job is for a video of several", id="a job of one clip"),
        pytest.param(("--frames", "200", "--preview", "a.png"), "--preview is for a single clip", id="a long preview"),
    ],
)
def test_refusals_load_no_weights(
    arguments: tuple[str, ...], message: str, run: Run, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[object] = []
    monkeypatch.setattr(loading, "build_pipeline", lambda *values: loads.append(values))
    outcome = run("render", "a red ball", "--model", tiny, *arguments)
    assert (outcome.code, loads) == (2, []) and message in outcome.err, outcome.err


def test_refusals_from_configurations_import_no_torch(tiny: Path, tmp_path: Path) -> None:
    both = [
        ("--size", "65x64"), ("--steps", "99999"), ("--solver", "pndm"), ("--guidance", "1", "--negative", "dull"),
        ("--frames", "5000", "--window", "3000"), ("--frames", "10000000000000"), ("--keep-job",), ("--retries", "2"),
        ("--frames", "2000", "--continuity", "off"), ("--frames", "200", "--preview", "a.png"), ("--dtype", "int8"),
        ("--device", "abacus"), ("--offload", "all"), ("--frames", "200", "--continuity", "i2v_prefix"),
    ]  # fmt: skip
    lines = [[*arguments, "--model", model] for model in (str(tiny), "embedded-unet") for arguments in both]
    lines += [["--model", "embedded-unet", "--solver", "heun"], ["--model", str(tiny), "--frames", "200", *MOTION]]
    lines += [["--model", str(tiny), "--frames", "200", "--window", "30"]]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, json.dumps(lines)],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == [2] * len(lines), done.stderr
