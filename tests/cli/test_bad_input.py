"""Errors of use: the message names what is wrong, the value and what to do; the exit code; no files are left behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.cli.conftest import Run
from videogen import Video

SMALL = ("--frames", "5", "--size", "32x32", "--steps", "1")

# (what is wrong, arguments after `render` ({tiny}: the tiny checkpoint), the message)
MISTAKES = [
    ("empty prompt", ("",), "the prompt is empty"),
    ("blank prompt", ("  \n ",), "the prompt is empty"),
    ("no prompt", (), "no prompt"),
    ("zero frames", ("x", "--frames", "0"), "frames=0 must be above 0"),
    ("negative frames", ("x", "--frames=-5"), "frames=-5 must be above 0"),
    ("zero steps", ("x", "--steps", "0"), "steps=0 must be above 0"),
    ("more steps than there are", ("x", "--model", "{tiny}", "--steps", "1001"), "use at most 1000"),
    ("negative seed", ("x", "--seed=-1"), "seed=-1"),
    ("guidance is nan", ("x", "--guidance", "nan"), "guidance_scale=nan"),
    ("guidance below zero", ("x", "--guidance=-2"), "guidance_scale=-2.0 must be"),
    ("negative prompt, no guidance", ("x", "--model", "{tiny}", "--guidance", "1", "--negative", "dull"),
     "no effect with"),
    ("fps zero", ("x", "--fps", "0"), "fps=0.0 must be above 0"),
    ("a window that does not fit", ("x", "--model", "{tiny}", "--frames", "99", "--window", "30"),
     "window=30 does not fill latent frames of"),
    ("size not a multiple", ("x", "--model", "{tiny}", "--size", "33x32"), "width=33 is not a multiple of 16"),
    ("size not a size", ("x", "--size", "big"), "write it as 832x480"),
    ("unknown model", ("x", "--model", "embeded"), "did you mean 'embedded'"),
    ("unknown solver", ("x", "--solver", "uni_pc"), "did you mean 'unipc'"),
    ("misfitting solver", ("x", "--model", "{tiny}", "--solver", "ddim"), "use one of euler"),
    ("unknown propagation", ("x", "--propagate", "fast"), "use one of off, max_error:E"),
    ("max_error of nothing", ("x", "--propagate", "max_error:0"), "max_error=0.0 must be above 0"),
    ("max_error of no number", ("x", "--propagate", "max_error:low"), "needs a number after the colon"),
    ("every 0 steps", ("x", "--propagate", "every:0"), "whole number of at least 1"),
    ("a UNet's list on a transformer", ("x", "--model", "{tiny}", "--propagate", "fd"),
     "no encoder and decoder to cut"),
    ("a solver with two calls per step", ("x", "--model", "{tiny}", "--propagate", "every:2", "--solver", "heun"),
     "twice in some steps"),
    ("a cache with a bad number", ("x", "--model", "{tiny}", "--propagate", "first-block:-1"), "above 0"),
    ("a cache that needs more", ("x", "--model", "{tiny}", "--propagate", "magcache"),
     "needs this model's magnitude ratios"),
    ("unknown preset", ("x", "--preset", "drafft"), "did you mean 'draft'"),
    ("unknown config key", ("--config", "bad-key.toml"), "did you mean 'steps'"),
    ("config is no TOML", ("--config", "not.toml"), "is not TOML"),
    ("config of wrong type", ("--config", "bad-type.toml"), "frames='many' must be int"),
    ("config with a number for a name", ("--config", "bad-output.toml"), "output=5 must be str"),
    ("config is not there", ("--config", "nowhere.toml"), "cannot read"),
    ("output exists", ("x", "-o", "there.mp4"), "--overwrite"),
    ("output of unknown kind", ("x", "-o", "a.avi"), "cannot write '.avi'"),
    ("output in no folder", ("x", "-o", "/proc/nowhere/a.mp4"), "cannot write to"),
    ("model's name too long", ("x", "--model", "m" * 300), "is not a valid name or folder"),
    ("model in the home of an unknown user", ("x", "--model", "~nobody-here/model"), "is not a valid name or folder"),
    ("preview that exists", ("x", "--preview", "there.png"), "there.png exists"),
    ("output is a folder of other things", ("x", "-o", "photos", "--overwrite"), "never replaced"),
    ("quality past the codec's worst", ("x", "-o", "a.mp4", "--quality", "60"), "to 51 for .mp4"),
    ("folder that is not a checkpoint", ("x", "--model", "empty"), "no model_index.json"),
    ("file instead of checkpoint", ("x", "--model", "there.mp4"), "give the folder"),
    ("damaged index", ("x", "--model", "damaged"), "damaged"),
    ("another pipeline", ("x", "--model", "other"), "which is not supported"),
    ("pickled weights", ("x", "--model", "pickled"), "is pickled"),
    ("truncated weights", ("x", "--model", "truncated"), "cannot be loaded"),
    ("weights with a broken header", ("x", "--model", "broken"), "cannot be loaded"),
    ("weights without a tensor", ("x", "--model", "lacking"),
     "has no weights for proj_out.weight; WanTransformer3DModel needs them"),
    ("defaults of wrong type", ("x", "--model", "strange"), "defaults.json contains"),
    ("like a file without manifest", ("--like", "plain.mp4"), "no videogen manifest"),
    ("like a file that is not there", ("--like", "nowhere.mp4"), "does not exist"),
    ("unavailable cuda", ("x", "--model", "{tiny}", "--device", "cuda"), "device='cuda' is not available"),
    ("unknown device", ("x", "--model", "{tiny}", "--device", "tpu"), "unknown device 'tpu'"),
    ("device without a number", ("x", "--model", "{tiny}", "--device", "cpu:zz"),
     "unknown device 'cpu:zz'; did you mean 'cpu'"),
    ("second CPU", ("x", "--model", "{tiny}", "--device", "cpu:1"), "device='cpu:1' is not available"),
    ("unknown dtype", ("x", "--model", "{tiny}", "--dtype", "fp8"), "unknown dtype 'fp8'"),
    ("offload without a GPU", ("x", "--model", "{tiny}", "--device", "cpu", "--offload", "model"),
     "needs an accelerator"),
    ("recall past one", ("x", "--attention", "adaptive", "--recall", "1.5"),
     "recall=1.5 must be above 0 and at most 1"),
    ("recall of dense attention", ("x", "--recall", "0.9"), "recall=0.9 is for attention 'adaptive'"),
    ("sparsity of one", ("x", "--attention", "adaspa:1.0"), "sparsity=1.0"),
    ("unknown attention", ("x", "--attention", "sparse"), "use dense, adaptive"),
    ("report that is no page", ("x", "--report", "a.pdf"), "must end in .html"),
    ("attention's typo", ("x", "--attention", "widow"), "did you mean 'window'? use dense"),
    ("propagation's typo", ("x", "--propagate", "max_eror:0.02"), "did you mean 'max_error:E'? use one of"),
    ("a GPU", ("x", "--model", "{tiny}", "--device", "gpu"), "did you mean 'cuda'"),
    ("a fit without a driving video", ("x", "--motion-fit", "crop"), "add --motion-from, or leave --motion-fit out"),
    ("a flag's typo", ("x", "--framse", "49"), "unknown option --framse; did you mean '--frames' N?"),
    ("a flag's typo before the prompt", ("--framse", "49", "x"), "did you mean '--frames' N?"),
    ("another program's flag", ("x", "--num-frames=49"), "unknown option --num-frames; did you mean '--frames' N?"),
    ("one side", ("x", "--height", "480"), "did you mean '--size' WxH?"),
    ("the other side", ("x", "--width", "480"), "did you mean '--size' WxH?"),
    ("a flag like none", ("x", "--zzzz"), "unknown option --zzzz; see videogen render --help"),
    ("size in a configuration", ("--config", "size.toml"), "unknown key 'size'; did you mean 'width'?"),
    ("unquoted prompt", ("a", "red", "ball", "-o", "a.mp4"),
     'put it in quotes: videogen render "a red ball"'),
    ("output to stdout", ("x", "-o", "-"), "a video is written to a file"),
    ("a link as the output", ("x", "-o", "link.mp4", "--overwrite"), "name the file itself: {here}/there.mp4"),
    ("a forgotten prompt", ("--camera", "pan=2", "--motion-preview", "p.mp4", "-o", "a.mp4"),
     "no prompt, but output='a.mp4'"),
    ("a forgotten prompt of a report", ("--camera", "pan=2", "--motion-preview", "p.mp4", "--report", "r.html"),
     "no prompt, but report='r.html'"),
    ("not a number", ("x", "--steps", "many"), "steps=many is not a whole number; use digits"),
    ("half a frame", ("x", "--frames", "34.5"), "frames=34.5 is not a whole number; use 34 or 35"),
    ("a whole number in another form", ("x", "--seed", "1e3"), "seed=1e3 is not a whole number; use 1000"),
    ("a length in words", ("x", "--seconds", "two"), "seconds=two is not a number; use digits"),
    ("seconds beyond one pass", ("x", "--seconds", "80", "--continuity", "off"),
     "has at most 1021 (seconds=80 at 16 fps: 1280 frames)"),
    ("seconds beyond the disk", ("x", "--seconds", "1e12"), "seconds=1e+12 (16000000000000 frames) take at least"),
    ("unknown flag", ("x", "--stepps", "3"), "--stepps"),
]  # fmt: skip


@pytest.fixture
def surroundings(tmp_path: Path, tiny: Path) -> set[Path]:
    """The files that the arguments name; returns every file that exists before."""
    import numpy as np

    (tmp_path / "size.toml").write_text('prompt = "x"\nsize = "832x480"\n')
    (tmp_path / "link.mp4").symlink_to(tmp_path / "there.mp4")
    (tmp_path / "bad-key.toml").write_text('prompt = "x"\nstepz = 3\n')
    (tmp_path / "bad-type.toml").write_text('prompt = "x"\nframes = "many"\n')
    (tmp_path / "bad-output.toml").write_text('prompt = "x"\noutput = 5\n')
    (tmp_path / "photos").mkdir()
    for name in ("photos/a.jpg", "there.png"):
        (tmp_path / name).write_text("precious")
    (tmp_path / "not.toml").write_text("prompt = \n")
    (tmp_path / "empty").mkdir()
    Video(np.full((2, 16, 16, 3), 99, np.uint8)).save(tmp_path / "there.mp4")
    Video(np.full((2, 16, 16, 3), 99, np.uint8)).save(tmp_path / "plain.mp4")
    for name, text in (("damaged", "{"), ("other", '{"_class_name": "FluxPipeline"}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model_index.json").write_text(text)
    pickled, truncated, broken, lacking = (
        shutil.copytree(tiny, tmp_path / name) / "transformer" / "diffusion_pytorch_model.safetensors"
        for name in ("pickled", "truncated", "broken", "lacking")
    )
    pickled.unlink()
    torch.save({}, pickled.with_suffix(".bin"))
    truncated.write_bytes(truncated.read_bytes()[:5000])
    broken.write_bytes(b"\xff" * 64 + broken.read_bytes()[64:])
    tensors = load_file(lacking)
    del tensors["proj_out.weight"]
    save_file(tensors, lacking)
    (shutil.copytree(tiny, tmp_path / "strange") / "defaults.json").write_text('{"frames": "many"}')
    return set(tmp_path.rglob("*"))


@pytest.mark.parametrize(("arguments", "message"), [pytest.param(a, m, id=name) for name, a, m in MISTAKES])
def test_errors(
    run: Run, tiny: Path, tmp_path: Path, surroundings: set[Path], arguments: tuple[str, ...], message: str
) -> None:
    outcome = run("render", *(a.format(tiny=tiny) for a in arguments))
    assert outcome.code == 2, outcome.err
    assert (
        message.format(tiny=tiny, here=tmp_path) in outcome.err and "Traceback" not in outcome.err and outcome.out == ""
    )
    new = {p for p in set(tmp_path.rglob("*")) - surroundings if p.is_file() and "cache" not in p.parts}
    assert not new


@pytest.mark.parametrize(
    "prompt",
    ['a "red" ball', "a red\nball", "a \U0001f534 moves \u2192", "it's; `rm` $HOME %d", "word " * 10_000],
    ids=["quotes", "newline", "emoji", "shell", "10,000 words"],
)
def test_any_prompt_is_recorded_unchanged(run: Run, tiny: Path, tmp_path: Path, prompt: str) -> None:
    assert run("render", prompt, "--model", tiny, *SMALL, "-o", "a.mp4", "--quiet").code == 0
    assert (Video.open(tmp_path / "a.mp4").manifest or {})["request"]["prompt"] == prompt


def test_an_unknown_command_names_the_nearest_and_how_to_render(run: Run) -> None:
    assert "did you mean 'render'" in run("rendr", "x").err
    assert 'videogen render "a red ball"' in run("a red ball").err


def test_errors_are_also_reported_as_json(run: Run) -> None:
    for arguments in (("render", "", "--json"), ("render", "x", "--steps", "many", "--json")):
        outcome = run(*arguments)
        printed = json.loads(outcome.out)
        assert outcome.code == printed["exit_code"] == 2 and printed["kind"] == "InputError"
        assert printed["error"] in outcome.err


def test_control_characters_never_reach_the_terminal(run: Run, tiny: Path) -> None:
    assert run("render", "a red ball \x1b[2J\nmoves", "--model", tiny, *SMALL, "-o", "a.mp4", "--quiet").code == 0
    output = run("inspect", "a.mp4").out
    assert "\x1b" not in output and r"\x1b[2J\nmoves" in output


def test_like_refuses_a_model_whose_weights_have_changed(run: Run, tiny: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny, tmp_path / "model")
    assert run("render", "a red ball", "--model", "model", *SMALL, "-o", "a.mp4").code == 0
    weights = model / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["proj_out.bias"] += 0.5
    save_file(tensors, weights)
    outcome = run("render", "--like", "a.mp4", "-o", "b.mp4")
    assert outcome.code == 2 and "other weights" in outcome.err and not (tmp_path / "b.mp4").exists()
    assert run("render", "--like", "a.mp4", "--model", model, "-o", "b.mp4").code == 0


def test_prompt_words_that_the_model_does_not_read_are_reported(run: Run, tiny: Path) -> None:
    outcome = run("render", "a red elephant " + "moves " * 40, "--model", tiny, *SMALL, "-o", "a.mp4")
    assert (
        "44 tokens long and the model reads the first 16" in outcome.err and "does not know 'elephant'" in outcome.err
    )


def test_a_log_that_cannot_be_written_does_not_fail_the_render(run: Run, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "cache" / "videogen" / "videogen.log").mkdir(parents=True)
    assert run("render", "an elephant", "--model", tiny, *SMALL, "-o", "a.mp4", "--quiet").err == ""
