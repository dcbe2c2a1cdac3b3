"""Installation of the node pack, and what ComfyUI imports of it."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.comfyui import double
from videogen.cli.main import main
from videogen.comfyui.installing import install
from videogen.comfyui.table import NODES
from videogen.core.errors import InputError

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
    init = (install(tmp_path) if place == "installed" else ROOT) / "__init__.py"
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
    with pytest.raises(ImportError, match=r"need the package 'diffusers'.*pip install"):
        entry.load_nodes()


@pytest.mark.parametrize("prepare", ["nothing", "checkout", "other"])
def test_other_folders_are_refused(prepare: str, tmp_path: Path) -> None:
    pack = tmp_path / "custom_nodes" / "videogen"
    if prepare != "nothing":
        pack.mkdir(parents=True)
    if prepare == "checkout":
        (pack / "pyproject.toml").touch()
    with pytest.raises(InputError, match=r"custom_nodes|checkout|not a node pack"):
        install(tmp_path)
