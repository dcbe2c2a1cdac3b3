"""Installation of the node pack, and what ComfyUI imports of it."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

from tests.comfyui import double
from videogen.cli.main import main
from videogen.comfyui.host_version import OLDEST
from videogen.comfyui.installing import install
from videogen.comfyui.table import ENGINE_PACKAGES, NODES, OPENCV_PACKAGE
from videogen.core.errors import InputError, UnsupportedError
from videogen.core.tables import parse_toml

ROOT = Path(__file__).resolve().parents[2]


def load(init: Path) -> object:
    spec = importlib.util.spec_from_file_location("pack_under_test", init)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("place", ["installed", "cloned"])
def test_the_pack_gives_comfyui_its_nodes(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    double.install(monkeypatch)
    for name in [name for name in sys.modules if name.startswith("videogen.comfyui.nodes")]:
        monkeypatch.delitem(sys.modules, name)
    if place == "installed":
        (tmp_path / "custom_nodes").mkdir()
        assert main(["comfyui", "install", str(tmp_path)]) == 0
    init = (install(tmp_path).pack if place == "installed" else ROOT) / "__init__.py"
    extension = asyncio.run(load(init).comfy_entrypoint())  # type: ignore[attr-defined]
    nodes = asyncio.run(extension.get_node_list())
    schemas = [node.define_schema() for node in nodes]
    assert len(nodes) == len(NODES) and len({schema.node_id for schema in schemas}) == len(NODES)
    for schema in schemas:
        assert schema.display_name.endswith("(videogen)") and schema.description and schema.search_aliases
        assert all(getattr(one, "tooltip", "") for one in (*getattr(schema, "inputs", ()), *schema.outputs))


def test_a_clone_is_used_where_nothing_is_installed(tmp_path: Path) -> None:
    code = (
        "import sys, importlib.util as u\n"
        f"sys.path = [p for p in sys.path if p not in ('', {str(ROOT)!r})]\n"
        "sys.meta_path = [f for f in sys.meta_path if '__editable__' not in str(f)]\n"
        f"spec = u.spec_from_file_location('pack', {str(ROOT / '__init__.py')!r})\n"
        "module = u.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "import videogen.attention\n"
        "print(videogen.__file__, 'attention' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(ROOT / "videogen" / "__init__.py"), "False"], done.stdout + done.stderr


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from videogen.comfyui import entry

    def missing(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'diffusers'", name="diffusers")

    monkeypatch.setattr(entry, "import_module", missing)
    with pytest.raises(
        ImportError, match=r"need the package 'diffusers'.*repository.*pip install -r requirements\.txt"
    ):
        entry.load_nodes()


def test_the_engines_packages_are_needed_by_its_own_nodes_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from videogen.comfyui import entry

    double.load_nodes(monkeypatch, "warped_noise")
    monkeypatch.setattr(entry, "find_spec", lambda name: None if name == "diffusers" else object())
    names = {node.__name__ for node in entry.load_nodes()}
    assert names == {row.name for row in NODES if not row.engine} and "WarpedNoise" in names
    (record,) = caplog.records
    assert "install diffusers" in record.getMessage() and "\n" not in record.getMessage()


def test_nodes_that_need_opencv_are_left_out_without_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from videogen.comfyui import entry

    double.load_nodes(monkeypatch, "warped_noise")
    monkeypatch.setattr(entry, "find_spec", lambda name: None if name == "cv2" else object())
    left = {row.name for row in NODES} - {node.__name__ for node in entry.load_nodes()}
    assert left == {"MotionCutAndDrag", "MotionTransfer", "MotionPreview", "OpticalFlow"}
    (record,) = caplog.records
    assert record.getMessage() == (
        "videogen: 4 nodes that need OpenCV are left out; install opencv-python-headless into ComfyUI's Python to have "
        "them"
    )


def test_installing_twice_updates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = tmp_path / "with blanks"
    (base / "custom_nodes").mkdir(parents=True)
    assert main(["comfyui", "install", str(base)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("installed ") and "restart ComfyUI" in printed
    pack = base / "custom_nodes" / "videogen"
    files = {path.relative_to(pack): path.read_bytes() for path in pack.rglob("*") if path.is_file()}
    (pack / "web" / "docs" / "Removed.md").touch()
    (pack / "locales" / "en" / "nodeDefs.json").write_text("{}", encoding="utf-8")
    assert main(["comfyui", "install", str(base)]) == 0
    assert capsys.readouterr().out.startswith("updated ")
    assert files == {path.relative_to(pack): path.read_bytes() for path in pack.rglob("*") if path.is_file()}
    assert {path.parts[0] for path in files} == {"__init__.py", "locales", "example_workflows", "web"}


def test_an_installed_pack_names_no_folder(tmp_path: Path) -> None:
    """Its code is the same on each machine, so that nothing of a Windows path can be read as an escape."""
    (tmp_path / "custom_nodes").mkdir()
    code = (install(tmp_path).pack / "__init__.py").read_text(encoding="utf-8")
    assert "\\" not in code and "/" not in code and str(tmp_path) not in code


def test_a_pack_without_the_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "custom_nodes").mkdir()
    pack = load(install(tmp_path).pack / "__init__.py")
    monkeypatch.setitem(sys.modules, "videogen.comfyui.entry", None)
    monkeypatch.delitem(sys.modules, "videogen.comfyui", raising=False)
    with pytest.raises(ImportError, match="install videogen into the Python that runs ComfyUI"):
        asyncio.run(pack.comfy_entrypoint())  # type: ignore[attr-defined]


@pytest.mark.parametrize("version", ["0.3.64", "0.32.9"])
def test_an_old_comfyui_is_refused(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from videogen.comfyui import entry

    (tmp_path / "custom_nodes").mkdir()
    (tmp_path / "comfyui_version.py").write_text(f'# made\n__version__ = "{version}"\n', encoding="utf-8")
    with pytest.raises(UnsupportedError, match=f"ComfyUI {version} is too old.*update it to"):
        install(tmp_path)
    assert not list((tmp_path / "custom_nodes").iterdir())
    monkeypatch.setitem(sys.modules, "comfyui_version", SimpleNamespace(__version__=version))
    with pytest.raises(ImportError, match=f"ComfyUI {version} is too old"):
        asyncio.run(entry.comfy_entrypoint())


@pytest.mark.parametrize(("version", "stated"), [("0.33.0", "0.33.0"), ("1.0", "1.0"), ("", None)])
def test_a_newer_or_unknown_comfyui_is_taken(version: str, stated: str | None, tmp_path: Path) -> None:
    (tmp_path / "custom_nodes").mkdir()
    (tmp_path / "comfyui_version.py").write_text(f'__version__ = "{version}"\n', encoding="utf-8")
    assert install(tmp_path).version == stated


def test_metadata_of_the_registry() -> None:
    """ComfyUI's registry reads the version from a file, and Manager the requirements, which pin nothing shared."""
    tool = parse_toml((ROOT / "pyproject.toml").read_text(encoding="utf-8"), "pyproject.toml")["tool"]["comfy"]
    assert tool["DisplayName"] == "videogen" and tool["requires-comfyui"] == f">={OLDEST}"
    assert re.search(r'^__version__ = "\d+\.\d+\.\d+"', (ROOT / tool["version"]["path"]).read_text(), re.MULTILINE)
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    needed = {Requirement(line).name: Requirement(line) for line in lines if not line.startswith("#")}
    assert {*ENGINE_PACKAGES, OPENCV_PACKAGE} <= needed.keys()
    assert not needed.keys() & {"torch", "numpy", "transformers", "huggingface_hub", "av"}
    assert all("==" not in str(one.specifier) for one in needed.values())


@pytest.mark.parametrize("prepare", ["nothing", "checkout", "other"])
def test_other_folders_are_refused(prepare: str, tmp_path: Path) -> None:
    pack = tmp_path / "custom_nodes" / "videogen"
    if prepare != "nothing":
        pack.mkdir(parents=True)
    if prepare == "checkout":
        (pack / "pyproject.toml").touch()
    with pytest.raises(InputError, match=r"custom_nodes|checkout|not a node pack"):
        install(tmp_path)
