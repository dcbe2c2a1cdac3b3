"""The tree is held to the design's import table: who may import whom, and which third party lives where.

Read from the source, imports inside functions and under TYPE_CHECKING included, so nothing hides in a lazy import.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOMES = {"attention": ROOT / "attention", "schedulers": ROOT / "schedulers", "configs": ROOT / "configs"}

# Lower numbers may not import higher ones, nor another folder of the same number.
LAYER = {
    "core": 0,
    "attention": 1, "schedulers": 1, "configs": 1, "media": 1,
    "propagation": 2, "motion": 2, "metrics": 2,
    "timeline": 3,
    "backbones": 4,
    "request": 5,
    "sampling": 6,
    "techniques": 7, "planning": 7,
    "longvideo": 8,
    "engine": 9,
    "editing": 10, "quantization": 10,
    "facade": 11,  # videogen/__init__.py: what `from videogen import Engine` gives
    "comfyui": 12, "serving": 12,
    "cli": 13, "tools": 13,
}  # fmt: skip

# Where a third party may be imported, as path prefixes. What is not named here may be imported anywhere.
THIRD_PARTY_HOMES = {
    "diffusers": ("backbones/", "schedulers/", "attention/dispatch.py", "propagation/library", "tools/"),
    "transformers": ("backbones/", "tools/"),
    "accelerate": ("backbones/",),
    "peft": ("backbones/lora/",),
    "av": ("media/",),
    "cv2": ("motion/", "metrics/registration.py", "metrics/object_track.py"),
    "imageio": ("media/",),
    "decord": ("media/",),
    "PIL": ("media/", "tools/"),
    "triton": ("attention/kernels/",),
    "flash_attn": ("attention/kernels/",),
    "xformers": ("attention/kernels/",),
    "comfy": ("comfyui/", "tools/bench/comfyui/"),
    "comfy_api": ("comfyui/",),
    "folder_paths": ("comfyui/",),
    "server": ("comfyui/",),
    "ray": ("serving/",),
    "torchvision": ("motion/flow_raft.py",),
}


def sources() -> Iterator[tuple[str, Path]]:
    """Every module of the project as (name below its package, path): `media/reader.py`, `tools/judge.py`."""
    bases = {"": ROOT / "videogen", **{f"{name}/": path for name, path in HOMES.items()}, "tools/": ROOT / "tools"}
    for prefix, base in bases.items():
        for path in sorted(base.rglob("*.py")):
            yield prefix + path.relative_to(base).as_posix(), path


def layer_of(name: str) -> str:
    return name.split("/")[0] if "/" in name else "facade"


def imported(name: str, path: Path) -> Iterator[tuple[int, str, str]]:
    """(line, module, name) of each import; relative ones resolved to their installed name, name "" for `import x`."""
    package = ["tools"] if name.startswith("tools/") else ["videogen"]
    package += [part for part in name.removeprefix("tools/").split("/")[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, module, alias.name) for alias in node.names)


def target_layer(module: str, name: str) -> str | None:
    """The folder that an import of the project's own reaches; None for third parties and for plain facts."""
    parts = module.split(".")
    if parts[0] == "tools":
        return "tools"
    if parts[0] != "videogen":
        return None
    if len(parts) > 1:
        return parts[1]
    if name in LAYER:
        return name
    return "facade"


CASES = [pytest.param(name, path, id=name) for name, path in sources()]


def test_every_folder_stands_in_the_table() -> None:
    folders = {p.name for p in (ROOT / "videogen").iterdir() if p.is_dir() and any(p.glob("*.py"))}
    assert folders <= set(LAYER), "a new folder needs a row in LAYER and in the design"


@pytest.mark.parametrize(("name", "path"), CASES)
def test_imports_point_downwards(name: str, path: Path) -> None:
    own = layer_of(name)
    for line, module, member in imported(name, path):
        target = target_layer(module, member)
        if target is None or target == own or own == "facade":
            continue
        assert LAYER[target] < LAYER[own], f"{name}:{line} imports {module}: {own} may not know {target}"


@pytest.mark.parametrize(("name", "path"), CASES)
def test_third_parties_stay_in_their_folder(name: str, path: Path) -> None:
    for line, module, _ in imported(name, path):
        homes = THIRD_PARTY_HOMES.get(module.split(".")[0])
        assert homes is None or name.startswith(homes), f"{name}:{line} imports {module}, which belongs in {homes}"


@pytest.mark.parametrize(("name", "path"), CASES)
def test_top_packages_are_imported_by_their_installed_name(name: str, path: Path) -> None:
    for line, module, _ in imported(name, path):
        assert module.split(".")[0] not in HOMES, f"{name}:{line} imports {module}; write videogen.{module}"


@pytest.mark.parametrize(
    ("imports", "absent"),
    [
        pytest.param(
            "videogen", ("torch", "diffusers", "transformers", "numpy", "av"), id="the package loads no library"
        ),
        pytest.param("videogen.cli.main", ("torch", "diffusers", "transformers", "av"), id="nor does the command line"),
        pytest.param("videogen.configs", ("torch",), id="nor do the presets"),
        pytest.param("videogen.schedulers", ("torch", "diffusers"), id="nor do the solvers' names"),
        pytest.param(
            "videogen.attention.run, videogen.schedulers.warping.warped_noise",
            ("diffusers", "transformers", "accelerate"),
            id="what hosts attach needs no diffusers",
        ),
        pytest.param("videogen.request.request", ("torch", "diffusers"), id="nor does a request"),
        pytest.param("videogen.backbones.registry", ("torch", "diffusers"), id="nor do the families"),
        pytest.param("videogen.motion", ("torch", "cv2", "numpy"), id="nor does motion"),
        pytest.param(
            "videogen.timeline.story, videogen.longvideo.journal.job", ("torch", "diffusers", "av"), id="nor do stories"
        ),
        pytest.param(
            "videogen.motion.parsing, videogen.motion.flow",
            ("torch", "cv2", "torchvision"),
            id="nor its words, nor flow",
        ),
        pytest.param(
            "videogen, videogen.attention, videogen.schedulers, videogen.configs, videogen.engine.engine",
            ("attention", "schedulers", "configs", "torchvision", "triton", "xformers", "ray"),
            id="no generic top-level name, nothing optional",
        ),
    ],
)
def test_what_an_import_brings(imports: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {imports}; print([m for m in {absent!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stdout + done.stderr
