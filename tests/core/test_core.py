"""Errors, addresses, manifests, atomic files and quiet logs."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import pytest
import torch

from videogen.core import errors
from videogen.core.files import atomic_path, check_output
from videogen.core.logs import quiet_third_parties
from videogen.core.manifest import Manifest
from videogen.core.randomness import address, normal


@pytest.mark.parametrize(
    ("error", "builtin", "code"),
    [
        (errors.InputError, ValueError, 2),
        (errors.CheckpointError, OSError, 2),
        (errors.MediaError, OSError, 2),
        (errors.UnsupportedError, NotImplementedError, 2),
        (errors.ResumeError, RuntimeError, 2),
        (errors.NumericsError, ArithmeticError, 4),
        (errors.OutOfMemoryError, MemoryError, 3),
        (errors.Cancelled, Exception, 130),
    ],
)
def test_every_error_is_ours_and_a_builtin(error: type[errors.VideogenError], builtin: type, code: int) -> None:
    assert issubclass(error, errors.VideogenError) and issubclass(error, builtin) and error.exit_code == code


def test_addresses_differ_in_every_part_and_never_change() -> None:
    base = (7, "initial", 3, -1)
    others = [(8, "initial", 3, -1), (7, "solver", 3, -1), (7, "initial", 4, -1), (7, "initial", 3, 0)]
    assert len({address(*base), *(address(*o) for o in others)}) == 5
    assert all(0 <= address(s, "x", f, t) < 2**63 for s in range(5) for f in range(5) for t in range(5))


def test_noise_is_standard_normal_and_a_function_of_its_address() -> None:
    values = normal(address(1, "initial", 0), (64, 64, 16))
    assert torch.equal(values, normal(address(1, "initial", 0), (64, 64, 16)))
    assert abs(float(values.mean())) < 0.02 and abs(float(values.std()) - 1) < 0.02
    neighbour = normal(address(1, "initial", 1), (64, 64, 16))
    assert abs(float((values * neighbour).mean())) < 0.02


def test_manifest_round_trip_and_refusals() -> None:
    manifest = Manifest({"prompt": "x"}, {"name": "m"}, measured={"recall": 0.95})
    assert Manifest.from_dict(manifest.to_dict()) == manifest
    whole = {"schema": 1, "request": {}, "model": {}}
    for values in ({}, {"schema": 99}, {"schema": 1}, {**whole, "extra": 1}, {**whole, "request": []}):
        with pytest.raises(errors.InputError, match="manifest"):
            Manifest.from_dict(values)


def test_atomic_path_is_all_or_nothing(tmp_path: Path) -> None:
    final = tmp_path / "new" / "a.txt"
    with atomic_path(final) as partial:
        partial.write_text("whole")
        assert not final.exists() and partial.suffix == ".txt"
    assert final.read_text() == "whole"
    with pytest.raises(KeyError), atomic_path(final, overwrite=True) as partial:
        partial.write_text("half")
        raise KeyError
    assert final.read_text() == "whole" and [p.name for p in final.parent.iterdir()] == ["a.txt"]


def test_a_name_taken_in_the_meantime_is_left_alone_and_the_result_is_stored(tmp_path: Path) -> None:
    final = tmp_path / "a.txt"
    with pytest.raises(errors.InputError, match=r"a-2\.txt"), atomic_path(final) as partial:
        partial.write_text("ours")
        final.write_text("theirs")
    assert final.read_text() == "theirs" and (tmp_path / "a-2.txt").read_text() == "ours"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", ["holiday", "holiday.mp4"], ids=["folder of photos", "folder named as a video"])
def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "photo.jpg").write_text("precious")
    with pytest.raises(errors.InputError, match="never replaced"):
        check_output(tmp_path / name, overwrite=True)


def test_checking_an_output_creates_nothing(tmp_path: Path) -> None:
    check_output(tmp_path / "new" / "deep" / "a.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["/proc/nowhere/a.mp4", "a\0b.mp4"], ids=["no such folder can be made", "NUL"])
def test_an_impossible_output_is_refused_early(name: str) -> None:
    with pytest.raises(errors.InputError):
        check_output(name)


def test_third_party_messages_go_to_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_third_parties(tmp_path / "log", verbose=False):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(True)
            warnings.warn("look here", stacklevel=1)
        logging.getLogger("somebody").warning("and there")
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
    text = (tmp_path / "log").read_text()
    assert "and there" in text


@pytest.mark.parametrize(("name", "expected"), [("unpic", "unipc"), ("zzz", None)])
def test_nearest(name: str, expected: str | None) -> None:
    assert errors.nearest(name, ["unipc", "euler"]) == expected
