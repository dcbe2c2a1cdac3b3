"""Motion on the command line: flags, plans, previews, errors of use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from videogen.cli.main import main
from videogen.media.metadata import read_manifest
from videogen.media.video import Video

PLAN = """
[[layer]]
kind = "drag"
disc = [16, 20, 10]
path = [[16, 20], [40, 40]]

[[layer]]
kind = "camera"
zoom = 1.1
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_flags_compose_in_the_order_of_layers(here: Path) -> None:
    (here / "plan.toml").write_text(PLAN)
    assert main(["render", "--drag", "8,8>40,20", "--motion-preview", "p.mp4", "--frames", "5"]) == 0
    flags = ["--motion", "plan.toml", "--motion-from", "p.mp4", "--camera", "pan=4"]
    flags += ["--drag", "8,8>20,20;radius=5", "--drag", "50,50>40,40"]
    assert main(["render", "a red ball", "-o", "a.mp4", "--frames", "5", "--steps", "2", "--quiet", *flags]) == 0
    manifest = read_manifest(here / "a.mp4")
    assert manifest is not None
    assert [layer["kind"] for layer in manifest["request"]["motion"]] == [
        "transfer",
        "drag",
        "camera",
        "drag",
        "drag",
        "camera",
    ]
    assert manifest["measured"]["motion"]["backend"] in ("warped_noise", "dual_clock")


def test_every_camera_counts(here: Path) -> None:
    flags = ["--camera", "pan=4", "--camera", "zoom=1.2", "--frames", "5", "--steps", "2"]
    assert main(["render", "a red ball", "-o", "a.mp4", "--quiet", *flags]) == 0
    layers = (read_manifest(here / "a.mp4") or {})["request"]["motion"]
    assert [(layer["kind"], layer.get("pan"), layer.get("zoom")) for layer in layers] == [
        ("camera", 4.0, None),
        ("camera", None, 1.2),
    ]


def test_a_preview_alone_is_one_object_with_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "--drag", "8,8>40,20", "--motion-preview", "p.mp4", "--frames", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"motion_preview": "p.mp4", "notes": []}


def test_a_preview_alone_needs_no_prompt_and_no_model(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "--drag", "8,8>40,20", "--motion-preview", "p.mp4", "--frames", "9"]) == 0
    assert capsys.readouterr().out.strip() == "p.mp4"
    video = Video.open(here / "p.mp4")
    assert len(video) == 9 and video.size == (64, 64)
    assert not (here / "out").exists()


@pytest.mark.parametrize("flags", [(), ("--quiet",), ("--json",)], ids=str)
def test_a_preview_alone_prints_its_notes(
    flags: tuple[str, ...], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of a driving video that is one frame short."""
    assert main(["render", "--drag", "8,8>40,20", "--motion-preview", "p.mp4", "--frames", "8", "--quiet"]) == 0
    capsys.readouterr()
    transfer = ["--motion-from", "p.mp4", "--motion-preview", "q.mp4", "--frames", "9"]
    assert main(["render", *transfer, *flags]) == 0
    printed = capsys.readouterr()
    found = printed.out if flags == ("--json",) else printed.err
    assert ("its last frame is held" in found) == (flags != ("--quiet",))
    assert (printed.err == "") == bool(flags)


def test_a_driving_video_and_its_own_render_again(here: Path) -> None:
    assert main(["render", "--drag", "8,8>40,20", "--motion-preview", "p.mp4", "--frames", "9"]) == 0
    flags = [
        "--motion-from",
        "p.mp4",
        "--frames",
        "9",
        "--steps",
        "2",
        "--quiet",
        "--motion-backend",
        "dual_clock:0.9,0.5",
    ]
    assert main(["render", "a red ball", "-o", "a.mp4", "--report", "a.html", *flags]) == 0
    assert main(["render", "--like", "a.mp4", "-o", "b.mp4", "--quiet"]) == 0
    assert (Video.open(here / "a.mp4").frames == Video.open(here / "b.mp4").frames).all()
    page = (here / "a.html").read_text()
    assert "Motion</h2>" in page and "dual_clock:0.9,0.5" in page and "<polyline" in page


def test_a_configuration_names_a_motion_relative_to_its_folder(here: Path) -> None:
    (here / "set").mkdir()
    (here / "set" / "plan.toml").write_text(PLAN)
    (here / "set" / "ball.toml").write_text('prompt = "a red ball"\nframes = 5\nsteps = 2\nmotion = "plan.toml"\n')
    assert main(["render", "--config", "set/ball.toml", "-o", "a.mp4", "--quiet", "--json"]) == 0
    (here / "inline.toml").write_text('prompt = "x"\nframes = 5\nsteps = 2\n[[motion]]\nkind = "camera"\npan = 4\n')
    assert main(["render", "--config", "inline.toml", "-o", "b.mp4", "--quiet"]) == 0
    manifests = [read_manifest(here / name) for name in ("a.mp4", "b.mp4")]
    assert [len(m["request"]["motion"]) for m in manifests if m] == [2, 1]


WRONG = [
    pytest.param(["--drag", "8,8"], "needs at least two points", id="a path of one point"),
    pytest.param(["--drag", "90,8>1,1"], "outside", id="a path that begins outside"),
    pytest.param(["--camera", "pam=3"], "pan", id="camera's typo"),
    pytest.param(["--camera", "zoom=0"], "zoom", id="no zoom"),
    pytest.param(["--motion", "nowhere.toml"], "nowhere.toml", id="no plan"),
    pytest.param(["--motion-from", "nowhere.mp4"], "nowhere.mp4", id="no driving video"),
    pytest.param(["--motion-strength", "0.5"], "without a motion", id="strength without a motion"),
    pytest.param(["--camera", "pan=3", "--motion-strength", "1.5"], "motion_strength=1.5", id="too strong"),
    pytest.param(["--camera", "pan=3", "--motion-backend", "warp"], "warped_noise", id="no backend"),
    pytest.param(["--drag", "32,32>33,33;radius=0"], "radius", id="an empty region"),
    pytest.param(["--motion-preview", "p.mp4"], "no motion to show", id="a preview without a motion"),
    pytest.param(["--camera", "pan=3", "--motion-preview", "a.mp4"], "two results", id="one file for two results"),
    pytest.param(["--drag", "8,8>9,9;radius=1e200"], "beyond", id="a radius beyond all bounds"),
    pytest.param(["--camera", "pan=3", "--motion-preview", "p.xyz"], ".xyz", id="a preview of no format"),
]


@pytest.mark.parametrize(("flags", "message"), WRONG)
def test_errors_are_named_and_leave_no_files(
    flags: list[str], message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["render", "a red ball", "-o", "a.mp4", "--frames", "5", "--steps", "2", *flags]) == 2
    printed = capsys.readouterr().err
    assert message in printed and "Traceback" not in printed
    assert not list(here.iterdir())


def test_json_has_the_figures(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["render", "a red ball", "-o", "a.mp4", "--frames", "5", "--steps", "2", "--json", "--camera", "pan=3"])
        == 0
    )
    figures = json.loads(capsys.readouterr().out)["manifest"]["measured"]
    assert set(figures["motion"]["camera"]) == {"pan_px", "tilt_px", "zoom", "roll_deg"}
    assert (
        figures["dual_clock"]["strong"] == 0.03 and 1 < figures["dual_clock"]["clamped_steps"] < 2
    )  # the last step is clamped in part


def test_a_changed_file_of_the_motion_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    for value in (0, 255):
        Image.new("RGB", (64, 64), (value, 9, 9)).save(here / "first.png")
        if value == 0:
            flags = ["--camera", "pan=3", "--first-frame", "first.png", "--motion-backend", "dual_clock"]
            assert (
                main(["render", "a red ball", "-o", "a.mp4", "--frames", "5", "--steps", "3", "--quiet", *flags]) == 0
            )
    assert main(["render", "--like", "a.mp4", "-o", "b.mp4"]) == 2
    assert "first.png has changed" in capsys.readouterr().err and not (here / "b.mp4").exists()


def test_a_configuration_without_a_prompt_is_previewed_only(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "move.toml").write_text('frames = 5\n[[motion]]\nkind = "camera"\npan = 4\n')
    assert main(["render", "--config", "move.toml", "--motion-preview", "p.mp4"]) == 0
    assert capsys.readouterr().out.strip() == "p.mp4" and sorted(p.name for p in here.iterdir()) == [
        "move.toml",
        "p.mp4",
    ]
