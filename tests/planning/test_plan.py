"""Plans: which residency is chosen for which memory, what is refused, and how a plan is written."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.contract.families import wan
from videogen import Engine, InputError, RenderRequest, UnsupportedError
from videogen.backbones import loading
from videogen.backbones.residency import PLACEMENTS, Residency
from videogen.cli.main import main
from videogen.cli.plan import describe_seconds
from videogen.core.byte_sizes import format_bytes, parse_bytes
from videogen.planning.plan import MemoryPlan, candidates, plan_options, plan_render

CLIP: dict[str, Any] = {"frames": 9, "steps": 2}


@lru_cache
def plan(memory: str | int | None = None, device: str = "cpu", model: str = "embedded") -> MemoryPlan:
    return plan_render(RenderRequest("a ball", model=model, device=device, **CLIP), memory=memory, calibrate=False)


def test_tiles_in_which_the_vae_cannot_decode_are_left_out() -> None:
    class Counts:
        def under(self, residency: Residency) -> str:
            if residency.tiling:
                raise UnsupportedError("padding is wider than a border tile")
            return residency.placement

    found: Any = plan_options(Counts(), [Residency(tiling=True), Residency("model")])  # type: ignore[arg-type]
    assert list(found) == ["model"]


def test_enough_memory_leaves_everything_on_the_device() -> None:
    found = plan("8GB", "cuda")
    assert found.residency == Residency() and len(found.options) == 1 and found.dtype == "bfloat16"


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_less_memory_takes_smaller_plans_each_of_which_fits(device: str) -> None:
    reserve = 0 if device == "cpu" else 600_000_000
    found = plan("8GB", device)
    found_so_far = [found.residency]
    while True:
        try:
            found = plan(int(found.peak * (1 if device == "cpu" else 1.04)) + reserve - 1, device)
        except InputError:
            break
        assert found.residency not in found_so_far
        found_so_far.append(found.residency)
    assert len(found_so_far) > 1
    changes = [one.changes_values for one in found_so_far]
    assert changes == sorted(changes), "what changes the frames comes last"


def test_memory_below_the_smallest_plan_names_what_suffices() -> None:
    with pytest.raises(
        InputError, match=r"memory=1 MB is less than the smallest plan .* takes for 9 frames of 64x64"
    ) as error:
        plan("1MB")
    named = re.search(r"64x64: ([\d.]+ [kMG]B) with", str(error.value))
    assert named is not None
    assert plan(named[1]).peak <= parse_bytes(named[1], "memory")


@pytest.mark.parametrize("memory", ["12 gigs", "-1GB", "0"])
def test_what_is_no_memory_is_refused(memory: str) -> None:
    with pytest.raises(InputError, match="memory="):
        plan(memory)


def test_no_weights_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wan(tmp_path / "wan")
    for file in (tmp_path / "wan").rglob("*.safetensors"):
        file.unlink()
    monkeypatch.setattr(loading, "build_pipeline", lambda *_: pytest.fail("weights were loaded"))
    found = plan(model=str(tmp_path / "wan"))
    assert set(found.weights) == {"transformer", "vae", "text_encoder"} and found.peak > sum(found.weights.values())


@pytest.mark.slow
def test_a_loaded_engine_plans_as_its_files_do() -> None:
    request = RenderRequest("a ball", **CLIP)
    assert Engine.load("embedded", device="cpu").plan(request, memory="8GB").to_dict()["stages"].keys() == (
        plan("8GB").to_dict()["stages"].keys()
    )
    loaded = Engine.load("embedded", device="cpu", memory="8GB").plan(request)
    assert loaded.memory == 8_000_000_000
    assert loaded.peak == plan("8GB").peak


@pytest.mark.slow
def test_a_precision_makes_weights_smaller() -> None:
    request = RenderRequest("a ball", precision="int4", **CLIP)
    assert plan_render(request, calibrate=False).weights["transformer"] < plan().weights["transformer"] / 2


def test_residencies_of_each_kind_of_device() -> None:
    request = RenderRequest("a ball", **CLIP).resolve(Engine.load("embedded", device="cpu").backbone)
    for device, placements in (("cpu", {"device", "text-freed"}), ("cuda", {"device", "model", "block", "leaf"})):
        found = list(candidates(request, torch.device(device)))
        assert {one.placement for one in found} == placements <= set(PLACEMENTS)
        assert len(set(found)) == len(found) and found[0] == Residency()
    assert not any(one.fp8 for one in candidates(request, torch.device("cuda"), quantized=True))
    assert any(one.slicing for one in candidates(request, torch.device("cuda"), batch=2))


@pytest.mark.slow
def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "a ball", "--frames", "9", "--device", "cuda", "--memory", "8GB"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("embedded: 9 frames of 64x64, 20 model calls, bfloat16 on cuda, 8 GB of memory")
    assert [line.split()[0] for line in lines[2:6]] == ["stage", "text", "denoise", "decode"]
    assert lines[-1].split()[-1] == "chosen"


def test_the_command_writes_json(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", "a ball", "--frames", "9", "--no-time", "--json", "--memory", "8GB"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["memory_bytes"] == 8_000_000_000 and found["residency"]["placement"] == "device"
    assert found["peak_bytes"] == max(stage["peak_bytes"] for stage in found["stages"].values())


@pytest.mark.slow
def test_offload_precision_and_segments_are_those_of_the_render(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wan(tmp_path / "wan")
    arguments = ["plan", "a ball", "--model", str(tmp_path / "wan"), "--size", "32x32", "--no-time"]
    assert main([*arguments, "--frames", "2000", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["segments"] == 41 and found["total_seconds"] is None
    assert not any("of this machine" in note for note in found["notes"])
    assert main([*arguments, "--frames", "5", "--json", "--device", "cuda", "--offload", "model"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["residency"]["placement"] == "model" and found["segments"] == 1
    assert main([*arguments, "--frames", "5", "--json", "--device", "cpu", "--precision", "bnb-nf4"]) == 0
    assert any("is refused: precision='bnb-nf4'" in note for note in json.loads(capsys.readouterr().out)["notes"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("--memory", "1MB"), "less than the smallest plan", id="memory below the smallest plan"),
        pytest.param(("--memory", "much"), "is not a size in bytes", id="no size"),
        pytest.param(("--memory", "1GB", "--offload", "model"), "leave offload out", id="memory and offload"),
        pytest.param(("--device", "cpu", "--offload", "model"), "needs an accelerator", id="offload on a CPU"),
        pytest.param(("--batch-size", "0"), "batch_size", id="no clips"),
        pytest.param(("--model", "nothing"), "unknown model", id="no model"),
        pytest.param(("--size", "63x64"), "63", id="a size that does not fit"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "a ball", "--frames", "9", "--no-time", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "unknown"), (0.1234, "0.123 s"), (95, "95 s"), (600, "10 min"), (36000, "10.0 h")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert describe_seconds(seconds) == text


def test_sizes_in_messages_are_rounded_upwards() -> None:
    found = plan("8GB")
    with pytest.raises(InputError) as error:
        plan("1kB")
    assert format_bytes(found.peak) not in str(error.value)  # the smallest plan, not the first
