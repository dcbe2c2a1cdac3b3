"""The public names of the package and of each library in it: a name that appears or vanishes is a decision, not a
slip."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = {
    "videogen": """
        Backbone Cancelled CheckpointError Continuity Engine InputError LongVideo Lora MediaError
        NumericsError OutOfMemoryError Progress RenderRequest ResumeError Technique UnsupportedError Video
        VideogenError __version__
        """,
    "videogen.attention": """
        ATTENTION_POLICIES AttentionCall AttentionOutcome AttentionPolicy AttentionPolicyRow AttentionRun
        AttentionRunSnapshot AttentionSnapshot BlockMap CallRecord DENSE Dense FixedMapPolicy Forced Handle PolicyState
        SparseAttention TokenGrid ValidationHandle attach audit_map block_mass detach error_bound inverse merge
        padding_mask permutation row_mass search sparse_attention validate
        """,
    "videogen.longvideo": "Journal SegmentRecord job_folder read_request",
    "videogen.motion": """
        Camera Compose CutDrag Drag Flow FlowPair FlowStack Motion MotionPlan Sprite Tracks Transfer compile_motion
        consistent estimate flow_both_ways from_layers load_plan parse_camera parse_drag read_flow to_layers write_flow
        """,
    "videogen.propagation": """
        BlockCut Decision EncoderPropagation PropagationHandle PropagationRun RunSchedule StepCaching attach
        build_host_cut detach
        """,
    "videogen.schedulers": """
        AddressedNoise ClampSchedule DiffusersNoise GivenNoise LevelSolver LookBack MeanRegularisation
        NoiseLevel NoiseSchedule NoiseSource NoiseStream NoiseWindow Regularised SAMPLERS SOLVERS STREAMS
        SamplerRow Solver SolverRow WarpedNoise Window Windows build_solver clamp find_sampler
        levels_from_sigmas look_back noise_stream noised permuted_noise plan_clamps regularise_mean replay
        sampler_name solver_names solver_of_sampler step_at tie_clips warped_noise
        """,
    "videogen.timeline": """
        LatentShot LatentTimeline Shot Timeline Transition as_timeline from_frames from_list parse_story read_story
        """,
}


@pytest.mark.parametrize("package", PUBLIC)
def test_public_names_are_pinned(package: str) -> None:
    module = import_module(package)
    assert sorted(module.__all__) == sorted(PUBLIC[package].split())
    assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize("package", PUBLIC)
def test_type_checkers_see_the_same_names(package: str) -> None:
    module = import_module(package)
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert set(module.__all__) <= imported | defined


def test_every_package_with_public_names_is_pinned() -> None:
    tops = {"videogen": ROOT / "videogen"}
    tops |= {f"videogen.{name}": ROOT / name for name in ("attention", "configs", "schedulers")}
    found = {
        ".".join([name, *path.parent.relative_to(top).parts])
        for name, top in tops.items()
        for path in top.rglob("__init__.py")
        if "__all__" in path.read_text(encoding="utf-8")
    }
    assert found == set(PUBLIC)


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, videogen; print(sorted({'torch', 'diffusers', 'numpy'} & set(sys.modules)), dir(videogen)[0])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "Backbone"]
