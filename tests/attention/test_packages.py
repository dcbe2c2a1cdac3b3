"""Optional packages that are installed but fail to import: left out, here and by diffusers, and named by `doctor`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from videogen import InputError
from videogen.attention.kernels import flash, packages, triton_support, xformers_dense
from videogen.attention.kernels.dense import DenseCase, choose_dense, dense_reasons
from videogen.attention.kernels.probe import probe_backends
from videogen.media import decord_reader

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"flash_attn": "2.8.3", "xformers": "0.0.35"}
REASON = "is installed, but its import fails (ImportError: undefined symbol: _ZN3c10); install it again"


def write_package(folder: Path, name: str, version: str, code: str) -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(code, "utf-8")
    (folder / f"{name}-{version}.dist-info").mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (folder / f"{name}-{version}.dist-info" / "METADATA").write_text(metadata, "utf-8")


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path with packages whose metadata is there and whose import raises."""
    for name, version in PACKAGES.items():
        write_package(tmp_path, name, version, "raise ImportError('undefined symbol: _ZN3c10')")
    for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    packages._import_error.cache_clear()
    yield tmp_path
    packages._import_error.cache_clear()


@pytest.mark.usefixtures("broken")
def test_a_broken_package_is_no_kernel_and_its_reason_is_given() -> None:
    case = DenseCase("cuda", (9, 0), torch.bfloat16, 64, 64, False)
    for reason in (flash.missing(), xformers_dense.missing(), dense_reasons(case)["xformers"]):
        assert str(reason).endswith(REASON)
    assert choose_dense(case) not in ("flash-attn", "xformers")
    found = {report.name: report for report in probe_backends()}
    for name in ("flash-attn", "xformers"):
        assert not found[name].available and "its import fails (ImportError: undefined symbol" in found[name].reason


def test_a_broken_triton_is_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_import_error", {"triton": "OSError: libcuda.so.1"}.get)
    monkeypatch.setitem(sys.modules, "triton", None)
    assert not triton_support.has_triton()


def test_diffusers_does_not_import_a_broken_package(broken: Path) -> None:
    code = (
        "from videogen.attention.kernels.packages import hide_broken_packages\n"
        "hide_broken_packages()\n"
        "from diffusers.models import attention_dispatch, attention_processor\n"
        "from diffusers.utils import is_xformers_available, is_flash_attn_available\n"
        "print(is_xformers_available(), is_flash_attn_available())"
    )
    call = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(broken)!r})\n{code}"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


#: what the libraries import together with a pipeline, and how its import fails
LIBRARIES = {
    "cv2": "raise ImportError('libGL.so.1: cannot open shared object file')",
    "decord": "raise OSError('libavcodec.so.58: cannot open shared object file')",
    "flash_attn": "raise ImportError('undefined symbol: _ZN3c10')",
    "ftfy": "raise ImportError('undefined symbol: _ZN3c10')",
    "peft": "raise AttributeError('no attribute')",
    "sageattention": "raise AssertionError('unsupported GPU')",
    "triton": "raise RuntimeError('0 active drivers')",
    "torchao": "raise OSError('libcudart.so.11.0: cannot open shared object file')",
    "torchvision": "raise RuntimeError('operator torchvision::nms does not exist')",
    "xformers": "raise SystemExit(1)",
}


def test_other_packages_that_the_libraries_import_are_left_out_and_named(tmp_path: Path) -> None:
    """A torchvision for another torch stopped every render: diffusers and transformers import what is installed."""
    for name, raised in LIBRARIES.items():
        write_package(tmp_path, name, "9.0", raised)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from videogen.attention.kernels.packages import broken_packages, hide_broken_packages\n"
        "hide_broken_packages()\n"
        "from diffusers import WanPipeline\n"
        "print(*sorted(broken_packages()))\n"
        "print(broken_packages()['torchvision'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    names, reason = done.stdout.splitlines()[-2:]
    assert set(names.split()) >= LIBRARIES.keys()
    assert reason == "RuntimeError: operator torchvision::nms does not exist"


@pytest.mark.slow
def test_a_render_and_doctor_run_with_every_optional_package_broken(tmp_path: Path) -> None:
    for name, raised in LIBRARIES.items():
        write_package(tmp_path, name, "9.0", raised)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from videogen import Engine\n"
        "from videogen.cli import main\n"
        "video = Engine.load('embedded').generate('a red ball', frames=5, steps=1)\n"
        "print(len(video.frames), sorted(video.manifest['measured']['kernels']['calls']))\n"
        "main.main(['doctor'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("5 ['sdpa-flash']")
    left_out = done.stdout.partition("left out: installed, but their import fails")[2]
    assert all(f"\n  {name} " in left_out for name in LIBRARIES)


def test_a_broken_decord_is_refused_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(tmp_path, "decord", "0.6", LIBRARIES["decord"])
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"its import fails \(OSError: libavcodec"):
        decord_reader._import()
