"""Every mistake gets a message that says what, which value, and what to do; its exit code; and leaves nothing behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Run
from videogen import Video

SMALL = ("--frames", "5", "--size", "32x32", "--steps", "1")

# (what is wrong, arguments after `render`; {tiny} is the tiny checkpoint, what the message says)
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
    ("fps zero", ("x", "--fps", "0"), "fps=0.0 must be above 0"),
    ("frames that do not fit", ("x", "--model", "{tiny}", "--frames", "6"), "use 5 or 9"),
    ("size not a multiple", ("x", "--model", "{tiny}", "--size", "33x32"), "width=33 is not a multiple of 16"),
    ("size not a size", ("x", "--size", "big"), "write it as 832x480"),
    ("unknown model", ("x", "--model", "embeded"), "did you mean 'embedded'"),
    ("unknown solver", ("x", "--solver", "uni_pc"), "did you mean 'unipc'"),
    ("misfitting solver", ("x", "--model", "{tiny}", "--solver", "ddim"), "use one of euler"),
    ("unknown preset", ("x", "--preset", "drafft"), "did you mean 'draft'"),
    ("unknown config key", ("--config", "bad-key.toml"), "did you mean 'steps'"),
    ("config is no TOML", ("--config", "not.toml"), "is not TOML"),
    ("config of wrong type", ("--config", "bad-type.toml"), "frames='many' must be int"),
    ("config is not there", ("--config", "nowhere.toml"), "cannot read"),
    ("output exists", ("x", "-o", "there.mp4"), "--overwrite"),
    ("output of unknown kind", ("x", "-o", "a.avi"), "cannot write '.avi'"),
    ("output in no folder", ("x", "-o", "/proc/nowhere/a.mp4"), "cannot write to"),
    ("folder that is no checkpoint", ("x", "--model", "empty"), "no model_index.json"),
    ("file instead of checkpoint", ("x", "--model", "there.mp4"), "give the folder"),
    ("damaged index", ("x", "--model", "damaged"), "damaged"),
    ("another pipeline", ("x", "--model", "other"), "no family here loads"),
    ("pickled weights", ("x", "--model", "pickled"), "is pickled"),
    ("truncated weights", ("x", "--model", "truncated"), "cannot be loaded"),
    ("like a file without manifest", ("--like", "plain.mp4"), "no videogen manifest"),
    ("like a file that is not there", ("--like", "nowhere.mp4"), "does not exist"),
    ("cuda that is not here", ("x", "--model", "{tiny}", "--device", "cuda"), "device='cuda' is not here"),
    ("unknown device", ("x", "--model", "{tiny}", "--device", "gpu"), "unknown device 'gpu'"),
    ("unknown dtype", ("x", "--model", "{tiny}", "--dtype", "fp8"), "unknown dtype 'fp8'"),
    ("offload without a GPU", ("x", "--model", "{tiny}", "--device", "cpu", "--offload", "model"), "needs an accelerator"),
    ("recall past one", ("x", "--attention", "adaptive", "--recall", "1.5"), "recall=1.5 must be above 0 and at most 1"),
    ("recall of dense attention", ("x", "--recall", "0.9"), "recall=0.9 is for attention 'adaptive'"),
    ("sparsity of one", ("x", "--attention", "adaspa:1.0"), "sparsity=1.0"),
    ("unknown attention", ("x", "--attention", "sparse"), "use dense, adaptive"),
    ("report that is no page", ("x", "--report", "a.pdf"), "must end in .html"),
    ("not a number", ("x", "--steps", "many"), "invalid int value: 'many'"),
    ("unknown flag", ("x", "--stepps", "3"), "--stepps"),
]  # fmt: skip


@pytest.fixture
def surroundings(tmp_path: Path, tiny: Path) -> set[Path]:
    """The files that the mistakes name; returns all that is there before."""
    import numpy as np

    (tmp_path / "bad-key.toml").write_text('prompt = "x"\nstepz = 3\n')
    (tmp_path / "bad-type.toml").write_text('prompt = "x"\nframes = "many"\n')
    (tmp_path / "not.toml").write_text("prompt = \n")
    (tmp_path / "empty").mkdir()
    Video(np.full((2, 16, 16, 3), 99, np.uint8)).save(tmp_path / "there.mp4")
    Video(np.full((2, 16, 16, 3), 99, np.uint8)).save(tmp_path / "plain.mp4")
    for name, text in (("damaged", "{"), ("other", '{"_class_name": "FluxPipeline"}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model_index.json").write_text(text)
    pickled, truncated = shutil.copytree(tiny, tmp_path / "pickled"), shutil.copytree(tiny, tmp_path / "truncated")
    weights = pickled / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    torch.save({}, weights.with_suffix(".bin"))
    weights = truncated / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    return set(tmp_path.rglob("*"))


@pytest.mark.parametrize(("arguments", "message"), [pytest.param(a, m, id=name) for name, a, m in MISTAKES])
def test_mistakes(run: Run, tiny: Path, tmp_path: Path, surroundings: set[Path], arguments: tuple[str, ...], message: str) -> None:
    outcome = run("render", *(a.format(tiny=tiny) for a in arguments))
    assert outcome.code == 2, outcome.err
    assert message in outcome.err and "Traceback" not in outcome.err and outcome.out == ""
    new = {p for p in set(tmp_path.rglob("*")) - surroundings if p.is_file() and "cache" not in p.parts}
    assert not new


@pytest.mark.parametrize(
    "prompt",
    ['a "red" ball', "a red\nball", "a \U0001f534 moves \u2192", "it's; `rm` $HOME %d", "word " * 10_000],
    ids=["quotes", "newline", "emoji", "shell", "10,000 words"],
)
def test_any_prompt_is_kept_as_it_is(run: Run, tiny: Path, tmp_path: Path, prompt: str) -> None:
    assert run("render", prompt, "--model", tiny, *SMALL, "-o", "a.mp4", "--quiet").code == 0
    assert (Video.open(tmp_path / "a.mp4").manifest or {})["request"]["prompt"] == prompt
