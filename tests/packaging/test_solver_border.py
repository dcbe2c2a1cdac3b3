"""Solver border: only the adapter and the builder know what diffusers' scheduler classes differ in."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ADAPTER, BUILDER = "schedulers/diffusers_solver.py", "schedulers/diffusers_scheduler.py"
READER = "schedulers/schedule_file.py"  # of a scheduler's configuration, without torch
#: Attributes of diffusers' schedulers that differ by class
PRIVATE = {
    "init_noise_sigma", "scale_model_input", "add_noise", "scale_noise", "alphas_cumprod", "set_begin_index",
    "disable_corrector", "state_in_first_order", "num_train_timesteps", "prediction_type",
}  # fmt: skip
FILES = [
    path for top in ("videogen", "attention", "schedulers", "configs") for path in sorted((ROOT / top).rglob("*.py"))
]


def names_in(tree: ast.AST) -> set[str]:
    """Attributes and texts that are equal to a private name."""
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return found | {str(node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_schedulers_are_read_in_the_adapter_alone(path: Path) -> None:
    used = names_in(ast.parse(path.read_text(encoding="utf-8"))) & PRIVATE
    if path.relative_to(ROOT).as_posix() == ADAPTER:
        assert len(used) > 7, "the table of names is out of date"
    elif path.relative_to(ROOT).as_posix() == READER:
        assert used == {"num_train_timesteps", "prediction_type"}
    elif path.relative_to(ROOT).as_posix() != BUILDER:
        assert not used, f"{sorted(used)}: ask the `Solver` of the run instead"
