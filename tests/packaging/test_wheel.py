"""The wheel holds all that is needed and nothing generic: built, installed elsewhere, and used from there.

The empty environment gets the wheel alone; its dependencies come from this one through a `.pth`, so nothing is
downloaded and this checkout is not on the path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from videogen.core.tables import parse_toml

ROOT = Path(__file__).resolve().parents[2]
#: folders at the top of the repository -> where they are in the package
HOMES = {
    "attention": "videogen/attention",
    "configs": "videogen/configs",
    "example_workflows": "videogen/comfyui/example_workflows",
    "locales": "videogen/comfyui/locales",
    "schedulers": "videogen/schedulers",
}
DATA = {"videogen.comfyui.example_workflows", "videogen.comfyui.locales"}
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "videogen", *HOMES)
LIMIT_BYTES = 60_000_000


@dataclass(frozen=True)
class Installed:
    wheel: Path
    environment: Path
    elsewhere: Path

    @property
    def bin(self) -> Path:
        return self.environment / ("Scripts" if os.name == "nt" else "bin")

    def python(self, code: str) -> str:
        return self.run([str(self.bin / "python"), "-c", code])

    def run(self, command: list[str]) -> str:
        clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        done = subprocess.run(command, cwd=self.elsewhere, env=clean, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        origin = ROOT / name
        if origin.is_dir():
            shutil.copytree(origin, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(origin, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", str(folder / "dist"), str(source)]
    subprocess.run(build, check=True, cwd=folder)
    (wheel,) = (folder / "dist").glob("videogen-*.whl")
    environment = folder / "environment"
    venv.create(environment, with_pip=False, symlinks=os.name != "nt")
    result = Installed(wheel, environment, folder / "elsewhere")
    result.elsewhere.mkdir()
    target = Path(result.python("import sysconfig; print(sysconfig.get_path('purelib'))"))
    python = str(result.bin / "python")
    subprocess.run([*pip, "--python", python, "install", "--no-deps", "--no-index", str(wheel)], check=True, cwd=folder)
    (target / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return result


def test_package_list_is_the_tree() -> None:
    tool = parse_toml((ROOT / "pyproject.toml").read_text(encoding="utf-8"), "pyproject.toml")["tool"]["setuptools"]
    homes = {name: ROOT / path for name, path in tool["package-dir"].items()}
    found = {
        ".".join([name, *path.parent.relative_to(home).parts])
        for name, home in homes.items()
        for path in home.rglob("__init__.py")
    }
    assert found == set(tool["packages"]) - DATA, "packages in pyproject.toml must list each folder with an __init__.py"


def test_only_videogen_at_the_top(installed: Installed) -> None:
    names = zipfile.ZipFile(installed.wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"videogen", next(top for top in tops if top.endswith(".dist-info"))}
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name]


def test_wheel_holds_what_the_tree_holds(installed: Installed) -> None:
    names = set(zipfile.ZipFile(installed.wheel).namelist())
    homes = {"videogen": ROOT / "videogen"} | {place: ROOT / name for name, place in HOMES.items()}
    wanted = {
        f"{prefix}/{path.relative_to(home).as_posix()}"
        for prefix, home in homes.items()
        for path in home.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    assert wanted <= names, f"missing from the wheel: {sorted(wanted - names)[:10]}"
    assert "videogen/py.typed" in names
    assert installed.wheel.stat().st_size < LIMIT_BYTES


@pytest.mark.parametrize("name", ["videogen", "videogen.attention", "videogen.schedulers", "videogen.configs"])
def test_packages_come_from_the_wheel(installed: Installed, name: str) -> None:
    where = installed.python(f"import importlib; print(importlib.import_module({name!r}).__file__)")
    assert Path(where).is_relative_to(installed.environment.resolve()) or Path(where).is_relative_to(
        installed.environment
    )


@pytest.mark.parametrize("name", ["attention", "schedulers", "configs", "tools", "tests"])
def test_no_generic_top_level_package(installed: Installed, name: str) -> None:
    assert installed.python(f"import importlib.util as u; print(u.find_spec({name!r}))") == "None"


def test_presets_come_along(installed: Installed) -> None:
    printed = installed.python(
        "from videogen.configs import load_preset, presets; print([load_preset(p) and p for p in presets()])"
    )
    assert "draft" in printed and "quality" in printed


def test_installed_command_adds_the_node_pack(installed: Installed) -> None:
    """With the files that ComfyUI reads itself, far from the checkout."""
    (installed.elsewhere / "custom_nodes").mkdir(exist_ok=True)
    installed.run([str(installed.bin / "videogen"), "comfyui", "install", "."])
    pack = installed.elsewhere / "custom_nodes" / "videogen"
    for folder in (ROOT / "locales", ROOT / "example_workflows", ROOT / "videogen" / "comfyui" / "web"):
        names = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        assert names and names == {p.relative_to(pack / folder.name) for p in (pack / folder.name).rglob("*.*")}


@pytest.mark.parametrize(("model", "frames"), [("embedded", "5"), ("embedded-unet", "4")])
def test_installed_command_renders(installed: Installed, model: str, frames: str) -> None:
    """The embedded weights are there and work offline, far from the checkout."""
    out = installed.elsewhere / f"{model}.mp4"
    command = [
        str(installed.bin / "videogen"),
        "render",
        "a red ball moves right on a black background",
        "--model",
        model,
    ]
    installed.run([*command, "--frames", frames, "--steps", "2", "--output", str(out), "--quiet"])
    assert out.stat().st_size > 0
