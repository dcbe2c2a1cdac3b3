"""Files that do not fit or are damaged, from the command line: exit 2 with name and remedy, nothing written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from videogen.cli.main import main

from .files import save, save_gguf, weights_of
from .test_single_files import original_wan

SIZE = ["--size", "32x32", "--frames", "5", "--steps", "1", "--device", "cpu"]
LAYER = "diffusion_model.blocks.{}.self_attn.{}.lora_{}.weight"


def lora(path: Path, down: tuple[int, ...] = (2, 32), up: tuple[int, ...] = (32, 2), name: str = LAYER) -> Path:
    tensors = {name.format(0, part, matrix): torch.ones(shape) for part in "qk" for matrix, shape in
               (("down", down), ("up", up))}  # fmt: skip
    return save(tensors, path)


def truncate(path: Path, fraction: float = 0.6) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    return path


def with_mixed_shapes(path: Path) -> Path:
    """The first layer fits, the second is of a larger model."""
    fits = {LAYER.format(0, "q", "down"): torch.ones(2, 32), LAYER.format(0, "q", "up"): torch.ones(32, 2)}
    other = {LAYER.format(1, "q", "down"): torch.ones(2, 64), LAYER.format(1, "q", "up"): torch.ones(64, 2)}
    return save(fits | other, path)


def pickled(path: Path) -> Path:
    torch.save({"a": torch.ones(1)}, path)
    return path


LORAS = [
    pytest.param(lambda d: lora(d / "x.safetensors", name="lora_unet_down_blocks_{}_attn_{}.lora_{}.weight"),
                 "it is a LoRA of another model: use one of this model", id="another model"),
    pytest.param(lambda d: lora(d / "x.safetensors", down=(2, 32), up=(32, 4)), "whose ranks differ; copy it again",
                 id="ranks"),
    pytest.param(lambda d: lora(d / "x.safetensors", down=(2, 64), up=(64, 2)),
                 "takes 32 values and gives 32, and the matrices of the LoRA are [2, 64] and [64, 2]", id="size"),
    pytest.param(lambda d: with_mixed_shapes(d / "x.safetensors"), "it is a LoRA of another model or size: use one of "
                 "this model", id="mixed shapes"),
    pytest.param(lambda d: truncate(lora(d / "x.safetensors")), "cannot be loaded: it has ", id="truncated"),
    pytest.param(lambda d: truncate(lora(d / "x.safetensors"), 0.1), "damaged or truncated; copy it again",
                 id="truncated header"),
    pytest.param(lambda d: pickled(d / "x.pt"), "is pickled (.pt)", id="a pickle"),
    pytest.param(lambda d: pickled(d / "x.safetensors"), "is pickled, whatever its name", id="a renamed pickle"),
]  # fmt: skip
MODELS = [
    pytest.param(lambda d, wan: truncate(save(original_wan(wan), d / "x.safetensors")),
                 "bytes; copy or download it again", id="truncated"),
    pytest.param(lambda d, wan: truncate(save_gguf(original_wan(wan), d / "x.gguf")),
                 "bytes; copy or download it again", id="truncated GGUF"),
    pytest.param(lambda d, wan: truncate(save_gguf(original_wan(wan), d / "x.gguf"), 0.01),
                 "has no complete GGUF header", id="truncated GGUF header"),
    pytest.param(lambda d, wan: Path(shutil.copy(save(original_wan(wan), d / "y.safetensors"), d / "x.gguf")),
                 "has no complete GGUF header (it does not begin with GGUF)", id="safetensors named GGUF"),
    pytest.param(lambda d, wan: save({n: t.repeat(2, *[1] * (t.ndim - 1)) for n, t in original_wan(wan).items()},
                                     d / "x.safetensors"), "tensors have another shape, such as", id="another size"),
]  # fmt: skip


def refused(args: list[str], out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What stderr says of a render that is refused and writes nothing."""
    before = sorted(out.parent.rglob("*"))
    assert main(["render", "a ball", *args, *SIZE, "-o", str(out)]) == 2
    assert sorted(out.parent.rglob("*")) == before
    return capsys.readouterr().err


@pytest.mark.parametrize(("build", "message"), LORAS)
def test_a_lora(
    build: Callable[[Path], Path], message: str, wan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = build(tmp_path)
    said = refused(["--model", str(wan), "--lora", str(path)], tmp_path / "out.mp4", capsys)
    assert str(path) in said and message in said


@pytest.mark.parametrize(("build", "message"), MODELS)
def test_a_single_file(
    build: Callable[[Path, Path], Path], message: str, wan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = build(tmp_path, wan)
    said = refused(["--model", str(path), "--base", str(wan)], tmp_path / "out.mp4", capsys)
    assert str(path) in said and message in said


@pytest.mark.parametrize("component", ["transformer", "vae"])
def test_a_component_that_is_truncated(
    component: str, wan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = truncate(save(weights_of(wan, component), tmp_path / "x.safetensors"))
    said = refused(["--model", str(wan), f"--{component}", str(path)], tmp_path / "out.mp4", capsys)
    assert str(path) in said and "bytes; copy or download it again" in said


def test_a_folder_whose_weights_are_a_link_out_of_it(
    wan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "wan"
    shutil.copytree(wan, folder)
    (link,) = (folder / "vae").glob("*.safetensors")
    outside = Path(shutil.move(link, tmp_path / "outside.safetensors"))
    link.symlink_to(outside)
    said = refused(["--model", str(folder)], tmp_path / "out.mp4", capsys)
    assert f"{link} is a link out of the checkpoint, to {outside}; copy that into the folder" in said


def test_a_folder_whose_weights_are_truncated(wan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "wan"
    shutil.copytree(wan, folder)
    (path,) = (folder / "transformer").glob("*.safetensors")
    truncate(path)
    said = refused(["--model", str(folder)], tmp_path / "out.mp4", capsys)
    assert str(path) in said and "bytes; copy or download it again" in said
