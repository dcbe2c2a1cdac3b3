"""Commands: results, and nothing else on stdout."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import Run
from videogen import RenderRequest, Video
from videogen.backbones.hosting.modular_pipelines import MODULAR_PIPELINES
from videogen.backbones.hosting.pipelines import PIPELINES
from videogen.backbones.registry import FAMILIES
from videogen.cli.settings import default_output

SMALL = ("--frames", "5", "--size", "32x32", "--steps", "2")
ROOT = Path(__file__).resolve().parents[2]


def test_render_prints_the_path_alone_and_nothing_of_third_parties(run: Run, tiny: Path, tmp_path: Path) -> None:
    outcome = run("render", "a red ball", "--model", tiny, *SMALL, "-o", tmp_path / "a.mp4", "--quiet")
    assert (outcome.code, outcome.out, outcome.err) == (0, f"{tmp_path / 'a.mp4'}\n", "")
    video = Video.open(tmp_path / "a.mp4")
    assert video.frames.shape == (5, 32, 32, 3) and video.fps == 16


def test_json_is_one_object_with_the_manifest(run: Run, tiny: Path, tmp_path: Path) -> None:
    outcome = run("render", "a red ball", "--model", tiny, *SMALL, "-o", "b.gif", "--json", "--seed", "4")
    result = json.loads(outcome.out)
    assert outcome.code == 0 and result["frames"] == 5 and result["manifest"]["request"]["seed"] == 4
    assert Path(result["path"]) == tmp_path / "b.gif"


def test_like_repeats_a_render_bit_for_bit(run: Run, tiny: Path, tmp_path: Path) -> None:
    for suffix in ("mp4", "webm", "gif"):
        first, again = tmp_path / f"first.{suffix}", tmp_path / f"again.{suffix}"
        assert run("render", "a blue square moves left", "--model", tiny, *SMALL, "-o", first, "--seed", "11").code == 0
        assert run("render", "--like", first, "-o", again).code == 0
        assert np.array_equal(Video.open(first).frames, Video.open(again).frames)
    assert run("render", "--like", first, "-o", tmp_path / "png").code == 0
    assert run("-v", "render", "--like", first, "-o", tmp_path / "loud").code == 0
    assert run("render", "--like", first, "--seed", "12", "-o", tmp_path / "other").code == 0
    assert not np.array_equal(Video.open(tmp_path / "png").frames, Video.open(tmp_path / "other").frames)


def test_inspect_prints_the_request(run: Run, tiny: Path, tmp_path: Path) -> None:
    run("render", "a red ball", "--model", tiny, *SMALL, "-o", "a.mp4", "--solver", "euler")
    output = run("inspect", "a.mp4")
    assert output.code == 0 and "a red ball" in output.out and "euler" in output.out
    manifest = json.loads(run("inspect", "a.mp4", "--json").out)
    assert len(manifest["plan"]) == 2 and manifest["model"]["family"] == "wan" and manifest["versions"]["torch"]


def test_flags_override_the_config_which_overrides_the_preset(run: Run, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        f'prompt = "from the file"\nmodel = "{tiny}"\nframes = 5\nwidth = 32\nheight = 32\nsteps = 3\n'
        'output = "c.mp4"\n'
    )
    first = json.loads(run("render", "--config", "c.toml", "--preset", "fast", "--json").out)
    request = first["manifest"]["request"]
    assert (request["prompt"], request["steps"], request["propagate"]["keys"]) == ("from the file", 3, "every:3")
    second = json.loads(
        run("render", "from the flag", "--config", "c.toml", "--steps", "1", "-o", "d.mp4", "--json").out
    )
    assert (second["manifest"]["request"]["prompt"], second["manifest"]["request"]["steps"]) == ("from the flag", 1)


def test_without_output_the_name_comes_from_the_prompt_and_the_model(run: Run, tiny: Path, tmp_path: Path) -> None:
    made = run("render", "A red BALL, fast!", "--model", tiny, *SMALL, "--seed", "3")
    assert made.out == f"{tmp_path}/out/a-red-ball-fast-tiny-wan-3.mp4\n"
    for model, name in (
        (None, "a-ball-0"),
        ("embedded", "a-ball-0"),
        ("a/B.1", "a-ball-b-1-0"),
        ("..", "a-ball-model-0"),
    ):
        assert default_output(RenderRequest("a ball", model=model, seed=0)) == Path(f"out/{name}.mp4")


def test_preview_is_written(run: Run, tiny: Path, tmp_path: Path) -> None:
    assert run("render", "a red ball", "--model", tiny, *SMALL, "-o", "a.mp4", "--preview", "p.png").code == 0
    assert Video.open(tmp_path / "p.png").frames.std() > 0


def test_attention_is_recorded_reported_and_repeated(run: Run, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[attention]\nrecall = 0.6\nmin_length = 8\nquery_block = 16\nkey_block = 16\n")
    sparse = run(
        "render",
        "a red ball",
        "--model",
        tiny,
        *SMALL,
        "--config",
        "c.toml",
        "-o",
        "a.mp4",
        "--report",
        "r.html",
        "--json",
    )
    recorded = json.loads(sparse.out)["manifest"]["measured"]["attention"]
    assert recorded["promised"] == {"recall": 0.6} and recorded["steps"] == 2 and len(recorded["layers"]) == 2
    page = (tmp_path / "r.html").read_text()
    assert page.count("<svg") == 3 and "least recall measured" in page and "http" not in page
    assert run("render", "--like", "a.mp4", "-o", "b.mp4").code == 0
    assert np.array_equal(Video.open(tmp_path / "a.mp4").frames, Video.open(tmp_path / "b.mp4").frames)
    assert "attention promised" in run("inspect", "a.mp4").out


def test_propagation_is_recorded_reported_and_repeated(run: Run, tiny: Path, tmp_path: Path) -> None:
    long = ("--frames", "5", "--size", "32x32", "--steps", "50")
    flags = ("--propagate", "max_error:0.5", "-o", "a.mp4", "--report", "r.html", "--json")
    made = run("render", "a red ball", "--model", tiny, *long, *flags)
    recorded = json.loads(made.out)["manifest"]["measured"]["propagation"]
    assert recorded["promised"]["max_error"] == 0.5 and recorded["calibrated"] is False
    assert len(recorded["keys"]) < recorded["steps"] == 50
    page = (tmp_path / "r.html").read_text()
    assert (
        "Key steps and their measured drift" in page
        and "predicted" in page
        and "a more cautious factor" in page
        and "http" not in page
    )
    assert run("render", "--like", "a.mp4", "-o", "b.mp4").code == 0
    assert np.array_equal(Video.open(tmp_path / "a.mp4").frames, Video.open(tmp_path / "b.mp4").frames)
    assert "propagation evaluated" in run("inspect", "a.mp4").out
    listed = run(
        "render", "a red ball", "--model", tiny, *SMALL, "--propagate", "every:2", "-o", "c.mp4", "--report", "s.html"
    )
    assert listed.code == 0 and "the key steps were given" in (tmp_path / "s.html").read_text()
    cache = run(
        "render",
        "a red ball",
        "--model",
        tiny,
        *SMALL,
        "--propagate",
        "taylorseer:2",
        "-o",
        "d.mp4",
        "--report",
        "t.html",
    )
    assert cache.code == 0 and "a cache of diffusers" in (tmp_path / "t.html").read_text()


def test_models_says_how_many_more_pipelines_there_are(run: Run) -> None:
    hosted = len(PIPELINES) + len(MODULAR_PIPELINES) - len(FAMILIES)
    assert f"{hosted} more pipeline classes of diffusers (videogen models --table)" in run("models").out


def test_a_model_and_the_table_of_all_are_two_requests(run: Run) -> None:
    outcome = run("models", "embedded", "--table")
    assert outcome.code == 2 and "'embedded' is one model; leave out one of the two" in outcome.err


def test_models_and_doctor_list_what_is_there(run: Run) -> None:
    listed = run("models")
    assert listed.code == 0 and "wan" in listed.out and "animatediff" in listed.out and "embedded" in listed.out
    assert {f["name"] for f in json.loads(run("models", "--json").out)["families"]} == {"wan", "animatediff"}
    doctor = json.loads(run("doctor", "--json").out)
    verdicts = {b["name"]: b for b in doctor["attention"]}
    assert verdicts["sdpa-math"]["available"] and all(b["reason"] for b in doctor["attention"])
    assert verdicts["lse-math"]["available"] and verdicts["sparse-torch"]["available"]


@pytest.mark.parametrize(("name", "mib"), [("flow", 2048), ("preview", 16)])
def test_doctor_names_the_caches_and_clears_them(name: str, mib: int, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "videogen" / name
    folder.mkdir(parents=True)
    (folder / f"a.{name}").write_bytes(b"12345")
    cache = json.loads(run("doctor", "--json").out)[f"{name}_cache"]
    assert cache == {"folder": str(folder), "bytes": 5, "limit_bytes": mib << 20}
    assert f"0.0 of at most {mib} MiB" in run("doctor", "--clear-cache").out and not list(folder.iterdir())


@pytest.mark.parametrize(
    "arguments", [(), ("--help",), ("render", "--help"), ("--version",)], ids=lambda a: " ".join(a) or "nothing"
)
def test_help_is_printed(run: Run, arguments: tuple[str, ...]) -> None:
    outcome = run(*arguments)
    assert outcome.code == 0 and "videogen" in outcome.out and outcome.err == ""


def start(tiny: Path, folder: Path, **streams: Any) -> subprocess.Popen[Any]:
    command = [sys.executable, "-m", "videogen", "render", "a red ball", "--model", str(tiny), "--frames", "5",
               "--size", "32x32", "--steps", "900", "-o", "out.mp4"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.Popen(command, cwd=folder, env=environment, **streams)


def output_until(terminal: int, word: bytes | None) -> bytes:
    """The output on a terminal until it contains `word`, the program has ended, or nothing came for a minute."""
    output = b""
    while (word is None or word not in output) and select.select([terminal], [], [], 60)[0]:
        try:
            output += os.read(terminal, 4096)
        except OSError:  # EIO: the other end is closed
            break
    return output


@pytest.mark.parametrize(
    ("window", "sent", "code", "word"),
    [
        pytest.param((24, 100), signal.SIGINT, 130, b"interrupted", id="Ctrl-C"),
        pytest.param((0, 0), signal.SIGTERM, 143, b"terminated", id="SIGTERM, in a terminal of unknown size"),
    ],
)
def test_a_terminal_sees_a_bar_and_a_signal_stops_cleanly(
    tiny: Path, tmp_path: Path, window: tuple[int, int], sent: signal.Signals, code: int, word: bytes
) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *window, 0, 0))
    process = start(tiny, tmp_path, stderr=theirs, stdout=subprocess.PIPE)
    os.close(theirs)
    output = output_until(ours, b"denoising")
    process.send_signal(sent)
    output += output_until(ours, None)
    assert process.wait(60) == code
    assert b"denoising" in output and b"/900" in output and b"Traceback" not in output
    assert word + b"; nothing was written" in output
    assert not list(tmp_path.glob("*out*")) and not list(tmp_path.glob(".*"))
