"""LoRA recipes: settings that a file states, a file next to it, or the table of published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from videogen import InputError
from videogen.backbones.lora import recipe
from videogen.backbones.lora.lora_file import read_tensor_file
from videogen.backbones.lora.recipe import Recipe, known_recipes, read_recipe

LIGHTNING = {"steps": 4, "guidance_scale": 1.0, "shift": 5.0, "solver": "euler-simple"}


def write(path: Path, **metadata: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"a": torch.ones(1)}, path, {f"videogen.{name}": text for name, text in metadata.items()})
    return path


def read(path: Path) -> Recipe | None:
    return read_recipe(read_tensor_file(str(path), "LoRA"))


@pytest.mark.parametrize(
    ("name", "sampling", "motion"),
    [
        ("Wan21_T2V_14B_lightx2v_cfg_step_distill_lora_rank32", LIGHTNING, None),
        ("wan2.1_t2v_14b_lora_rank64_lightx2v_4step", LIGHTNING, None),
        ("wan2.2_t2v_A14b_high_noise_lora_rank64_lightx2v_4step_1217", LIGHTNING, None),
        ("Wan2.2-Lightning_T2V-A14B-4steps-lora_LOW_fp16", LIGHTNING, None),
        ("Wan2.2-T2V-A14B-4steps-lora-rank64-Seko-V1/high_noise_model", LIGHTNING, None),
        ("AnimateLCM_sd15_t2v_lora", {"steps": 6, "guidance_scale": 2.0, "solver": "lcm"}, None),
        ("lcm-lora-sdv1-5/pytorch_lora_weights", {"steps": 8, "guidance_scale": 1.0, "solver": "lcm"}, None),
        ("I2V5B_final_i38800_nearest_lora_weights", {}, "warped_noise:compat"),
        ("T2V2B_RDeg_i30000_lora_weights", {}, "warped_noise:compat"),
        ("T2V5B_blendnorm_i18000_DATASET_lora_weights", {}, "warped_noise:compat"),
    ],
)
def test_published_files_are_known_by_their_names(
    name: str, sampling: dict[str, Any], motion: str | None, tmp_path: Path
) -> None:
    found = read(write(tmp_path / f"{name}.safetensors"))
    assert found is not None and (found.sampling, found.motion) == (sampling, motion)


@pytest.mark.parametrize("name", ["style", "wan2.2_t2v_character_high_noise", "my_flow_lora", "4steps", "lora_weights"])
def test_other_files_state_nothing(name: str, tmp_path: Path) -> None:
    assert read(write(tmp_path / "loras" / f"{name}.safetensors")) is None


def test_a_file_next_to_it_comes_before_its_metadata_and_that_before_the_table(tmp_path: Path) -> None:
    path = write(tmp_path / "lightx2v_4step.safetensors", steps="6", motion="warped_noise")
    assert read(path) == Recipe("lightx2v_4step.safetensors", steps=6, motion="warped_noise")
    path.with_suffix(".toml").write_text('name = "mine"\nsteps = 8\nsolver = "unipc"\n', encoding="utf-8")
    assert read(path) == Recipe("mine", steps=8, solver="unipc")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("steps = 0", "steps=0 is not a number above 0", id="no steps"),
        pytest.param("steps = true", "steps=True is not a number above 0", id="not a number"),
        pytest.param("steps = 2.5", "steps=2.5 is not an integer", id="half a step"),
        pytest.param("steps = 1e9", "steps=1000000000.0 is not an integer up to 1000", id="too many steps"),
        pytest.param('steps = "2.5"', "steps='2.5' is not an integer", id="half a step, as text"),
        pytest.param("shift = inf", "shift=inf is not a number above 0; correct it", id="infinite"),
        pytest.param("guidance_scale = nan", "guidance_scale=nan is not a number above 0", id="NaN"),
        pytest.param('solver = "uni_pc"', "unknown solver 'uni_pc'; did you mean 'unipc'", id="a solver"),
        pytest.param('motion = "warp"', "unknown motion backend 'warp'", id="a motion"),
        pytest.param("step = 4", "unknown key 'step'; did you mean 'steps'", id="a key"),
        pytest.param("steps", "is not TOML", id="not TOML"),
    ],
)
def test_statements_that_are_wrong_are_refused_with_their_file(text: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors")
    path.with_suffix(".toml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as raised:
        read(path)
    assert "a.toml" in str(raised.value)


def test_each_row_cites_its_source() -> None:
    rows = (Path(recipe.__file__).parent / "recipes.toml").read_text(encoding="utf-8").split("[[recipe]]")
    assert len(rows) == 1 + len(known_recipes())
    assert all("# Source: " in before.rpartition("\n\n")[2] for before in rows[:-1])


def test_the_table_is_valid() -> None:
    assert len(known_recipes()) >= 4 and all(found.sampling or found.motion for _, found in known_recipes())
