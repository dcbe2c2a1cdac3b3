"""Extending pages: the file of each is written, its row added, and its example run and checked."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, TextToVideoSDPipeline, UNet3DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from tests.contract.families import tokenizer
from tests.docs.pages import ROOT, code_blocks
from tests.tiny import ltx

FOLDER = ROOT / "docs" / "extending"
Names = dict[str, Any]


def package_of(folder: str) -> ModuleType:
    """The package that a folder of the repository installs as."""
    parts = Path(folder).parts
    return import_module(".".join(parts if parts[0] == "videogen" else ("videogen", *parts)))


def add_file(text: str, tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    """Make a page's file importable, as if it were in the folder that its first line names."""
    target = Path(text.partition("\n")[0].lstrip("# "))
    assert not (ROOT / target).exists(), "an example's name must be free"
    package, written = package_of(target.parent.as_posix()), tmp_path / target
    written.parent.mkdir(parents=True)
    written.write_text(text, encoding="utf-8")
    patch.setattr(package, "__path__", [*package.__path__, str(written.parent)])


def add_row(text: str, patch: pytest.MonkeyPatch) -> None:
    """Add a page's row to the table that its first line names, `FILE: TABLE`."""
    place, table = re.fullmatch(r"# (\S+)\.py: (\w+)", text.partition("\n")[0]).groups()  # type: ignore[union-attr]
    module = package_of(place)
    rows = getattr(module, table)
    if isinstance(rows, tuple):
        patch.setattr(module, table, (*rows, eval(text, vars(module))))
        return
    code = text.partition("\n")[2]
    added = eval(f"{{{code}}}", vars(module)) if code.startswith('"') else eval(code, vars(module))
    for name, row in (added if isinstance(added, dict) else {added.name: added}).items():
        patch.setitem(rows, name, row)


def check_attention_policy(names: Names) -> None:
    report = names["video"].manifest["measured"]["attention"]
    assert report["config"]["policy"] == "stripes" and 0.25 <= report["mean_density"] < 0.6


def check_kernel(names: Names) -> None:
    reference = names["sparse_attention"](
        names["query"], names["key"], names["value"], names["block_map"], backend="torch"
    )
    torch.testing.assert_close(names["out"], reference, atol=2e-6, rtol=1e-5)
    assert names["block_map"].density < 1


def check_continuity_policy(names: Names) -> None:
    measured = names["video"].manifest["measured"]["long"]
    assert measured["continuity"]["policy"] == "last_latent" and measured["continuity"]["overlap"] == 1
    assert len(names["video"]) == 60 and [row["latents"] for row in measured["segments"]] == [9, 7]


def tiny_modelscope(folder: Path) -> Path:
    """A random checkpoint of ModelScope's classes."""
    torch.manual_seed(0)
    words = tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=16, pad_token_id=0, eos_token_id=1, bos_token_id=1,
    )  # fmt: skip
    unet = UNet3DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, cross_attention_dim=16,
        attention_head_dim=4, down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
    )  # fmt: skip
    vae = AutoencoderKL(block_out_channels=(8, 16), norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4)  # fmt: skip
    scheduler = DDIMScheduler(beta_schedule="linear", clip_sample=False)
    parts = {"vae": vae, "text_encoder": CLIPTextModel(text), "tokenizer": words, "unet": unet, "scheduler": scheduler}
    TextToVideoSDPipeline(**parts).save_pretrained(folder)
    return folder


def check_model_family(names: Names) -> None:
    pipeline = TextToVideoSDPipeline.from_pretrained(names["checkpoint"])
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(7)
    (expected,) = pipeline("a red ball", num_frames=4, num_inference_steps=3, generator=generator).frames
    assert names["video"].manifest["model"]["family"] == "modelscope"
    np.testing.assert_array_equal(names["video"].frames, (expected * 255).round().astype(np.uint8))


def check_pipeline(names: Names) -> None:
    pipeline, generator = names["pipeline"], torch.Generator().manual_seed(7)
    (expected,) = pipeline(
        "a red ball", num_frames=9, width=64, height=32, num_inference_steps=3, generator=generator, output_type="np"
    ).frames
    np.testing.assert_array_equal(names["video"].frames, (expected * 255).round().astype(np.uint8))


def check_solver(names: Names) -> None:
    assert names["video"].frames.std() > 10 and len(names["video"].manifest["plan"]) == 20
    again = names["engine"].generate("a red ball moves right on a black background", steps=20, solver="half-ancestral")
    np.testing.assert_array_equal(again.frames, names["video"].frames)


def check_technique(names: Names) -> None:
    manifest = names["video"].manifest
    guided = [row["index"] for row in manifest["plan"] if row["guidance_scale"] != 1]
    assert 0 < len(guided) < 10 and manifest["measured"]["guidance_interval"]["guided_steps"] == guided


def check_host(names: Names) -> None:
    report = names["run"].report()
    assert report["least_recall"] >= 0.9 and report["mean_density"] < 0.8
    assert torch.equal(names["exact"], names["plain"]) and not torch.equal(names["sparse"], names["plain"])
    runs = names["cached"], names["middle"]
    assert [run.report()["evaluated"] for run in runs] == ["6 of 12 steps"] * 2
    plain = names["generate"]()
    assert torch.equal(names["generate"](names["PropagationRun"]("every:1", names["schedule"])), plain)
    assert names["warped"].shape == names["drawn"].shape and not torch.equal(names["warped"], names["drawn"])
    reference, moved, free = names["reference"], names["moved"], names["free"]
    inside = names["mask"] > 0
    assert (moved - reference)[inside].abs().mean() < 0.7 * (free - reference)[inside].abs().mean()
    assert sum(part.shape[2] for part in names["new"]) == names["plan"].new_frames


CHECKS: dict[str, Callable[[Names], None]] = {
    "attention_policy": check_attention_policy,
    "kernel": check_kernel,
    "continuity_policy": check_continuity_policy,
    "model_family": check_model_family,
    "pipeline": check_pipeline,
    "solver": check_solver,
    "technique": check_technique,
    "host": check_host,
}


@pytest.mark.parametrize("name", CHECKS)
def test_the_example_works(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: Names = {}
    if name == "model_family":
        names["checkpoint"] = tiny_modelscope(tmp_path / "checkpoint")
    if name == "pipeline":
        names["pipeline"] = ltx.build("LTXPipeline")
    for block in code_blocks(FOLDER / f"{name}.md", "python"):
        first = block.partition("\n")[0]
        if re.fullmatch(r"# \S+\.py", first):
            add_file(block, tmp_path, monkeypatch)
        elif re.fullmatch(r"# \S+\.py: \w+", first):
            add_row(block, monkeypatch)
        else:
            exec(compile(block, f"{name}.md", "exec"), names)
    assert names, "the page has a program"
    CHECKS[name](names)


def test_every_page_is_run_and_listed() -> None:
    pages = {path.stem for path in FOLDER.glob("*.md")} - {"README"}
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert pages == set(CHECKS) and all(f"({name}.md)" in index for name in pages)
