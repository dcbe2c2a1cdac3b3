"""Flow files: round trips, exact or within the format's step, and the message for every kind of damage."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from videogen import InputError
from videogen.motion import read_flow, write_flow
from videogen.motion.flow_formats import encode_kitti

RNG = np.random.default_rng(1)
FLOW = (RNG.normal(0, 20, (3, 2, 11, 7)) + 0.1).astype(np.float32)
VALID = RNG.random((3, 11, 7)) > 0.2
HEAD = struct.pack("<f", 202021.25)


@pytest.mark.parametrize("name", ["a.flo", "a.pfm", "a.npz", "a.npy", "A.FLO"])
def test_round_trips_are_exact(name: str, tmp_path: Path) -> None:
    stack = read_flow(write_flow(tmp_path / name, FLOW[0]))
    assert np.array_equal(stack.flow, FLOW[:1]) and stack.valid.all() and stack.flow.dtype == np.float32


def test_kitti_is_exact_to_its_step(tmp_path: Path) -> None:
    steps = np.rint(FLOW[:1] * 64) / 64
    first = read_flow(write_flow(tmp_path / "a.png", FLOW[0], VALID[0]))
    assert np.array_equal(first.flow, np.where(VALID[:1, None], steps, 0)) and np.array_equal(first.valid, VALID[:1])
    assert np.array_equal(read_flow(write_flow(tmp_path / "b.png", steps[0])).flow, steps)


@pytest.mark.parametrize("name", ["a.flo", "a.png", "a.npz"])
def test_unknown_flow_stays_unknown(name: str, tmp_path: Path) -> None:
    holes = np.where(VALID[0], FLOW[0], np.nan).astype(np.float32)
    stack = read_flow(write_flow(tmp_path / name, holes, VALID[0]))
    assert np.array_equal(stack.valid, VALID[:1]) and np.isfinite(stack.flow).all()


@pytest.mark.parametrize("name", ["clip.npz", "clip.npy"])
def test_a_clip_in_one_file(name: str, tmp_path: Path) -> None:
    assert np.array_equal(read_flow(write_flow(tmp_path / name, FLOW)).flow, FLOW)


def test_a_clip_as_a_folder(tmp_path: Path) -> None:
    for n, (flow, valid) in enumerate(zip(FLOW, VALID, strict=True)):
        write_flow(tmp_path / f"{n:04d}.flo", flow, valid)
    stack = read_flow(tmp_path)
    assert np.array_equal(stack.valid, VALID) and np.array_equal(stack.flow, np.where(VALID[:, None], FLOW, 0))
    write_flow(tmp_path / "0003.flo", FLOW[0, :, :5])
    with pytest.raises(InputError, match=r"0003.flo is 7x5, 0000.flo is 7x11; all fields of a clip have one size"):
        read_flow(tmp_path)
    write_flow(tmp_path / "0004.pfm", FLOW[0])
    with pytest.raises(InputError, match="several formats"):
        read_flow(tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="has no flow files"):
        read_flow(tmp_path / "none")


def test_files_are_compatible_with_other_programs(tmp_path: Path) -> None:
    """Against OpenCV's own reader of .flo, and a KITTI png and a big-endian .pfm written by hand."""
    theirs = cv2.readOpticalFlow(str(write_flow(tmp_path / "a.flo", FLOW[0])))
    assert np.array_equal(np.moveaxis(theirs, -1, 0), FLOW[0])
    image = np.zeros((2, 3, 3), np.uint16)
    image[0, 1] = (1, 32768 - 128, 32768 + 64)  # blue valid, green v, red u
    cv2.imwrite(str(tmp_path / "k.png"), image)
    stack = read_flow(tmp_path / "k.png")
    assert stack.flow[0, :, 0, 1].tolist() == [1, -2] and stack.valid.sum() == 1
    rows = np.arange(12, dtype=">f4").reshape(2, 2, 3)
    (tmp_path / "big.pfm").write_bytes(b"PF\n2 2\n1.0\n" + rows.tobytes())
    assert read_flow(tmp_path / "big.pfm").flow[0, 0].tolist() == [[6, 9], [0, 3]]


GOOD_FLO = HEAD + struct.pack("<ii", 3, 2) + bytes(48)
GOOD_PNG = encode_kitti(FLOW[0], VALID[0])
NAN = np.full((2, 4, 4), np.nan, np.float32)
FLIPPED = GOOD_PNG[:-30] + bytes([GOOD_PNG[-30] ^ 255]) + GOOD_PNG[-29:]
GRAY = cv2.imencode(".png", np.zeros((4, 4), np.uint16))[1].tobytes()
HUGE = b"IHDR" + struct.pack(">II", 99999, 4) + b"\x10\x02\0\0\0"
BOMB = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + HUGE + struct.pack(">I", zlib.crc32(HUGE))
DAMAGED = [
    pytest.param("a.flo", b"PIEX" + GOOD_FLO[4:], "not with .flo's magic", id="flo: wrong magic"),
    pytest.param("a.flo", GOOD_FLO[:9], "truncated: 9 bytes", id="flo: within the header"),
    pytest.param(
        "a.flo", GOOD_FLO[:-1], "truncated: its header declares 48 bytes of flow, it has 47", id="flo: within the flow"
    ),
    pytest.param("a.flo", GOOD_FLO + b"0", "too long", id="flo: longer than declared"),
    pytest.param("a.flo", HEAD + struct.pack("<ii", -3, 2), "size of -3x2 px", id="flo: negative size"),
    pytest.param("a.flo", HEAD + struct.pack("<ii", 1 << 30, 1 << 30), "sides from 1 to 32768", id="flo: huge"),
    pytest.param(
        "a.flo", HEAD + struct.pack("<ii", 4, 4) + NAN.tobytes(), "NaN or infinite flow at 16 places", id="flo: NaN"
    ),
    pytest.param("a.flo", b"", "magic", id="flo: empty"),
    pytest.param("a.png", GOOD_FLO, "not with a png's magic", id="png: not a png"),
    pytest.param("a.png", GOOD_PNG[:-20], "truncated", id="png: truncated"),
    pytest.param("a.png", FLIPPED, "checksum", id="png: flipped byte"),
    pytest.param("a.png", GRAY, r"KITTI flow is a 16-bit RGB png", id="png: gray"),
    pytest.param("a.png", BOMB, "size of 99999x4 px", id="png: huge"),
    pytest.param("a.pfm", b"P6\n2 2\n-1.0\n" + bytes(48), "not with a .pfm header", id="pfm: wrong magic"),
    pytest.param("a.pfm", b"Pf\n2 2\n-1.0\n" + bytes(16), "one channel", id="pfm: gray"),
    pytest.param("a.pfm", b"PF\n2 2\n-1.0\n" + bytes(47), "truncated", id="pfm: truncated"),
    pytest.param("a.pfm", b"PF\n2 2\n1e-\n" + bytes(48), "which is not a number", id="pfm: scale"),
    pytest.param(
        "a.pfm",
        b"PF\n1 1\n-1\n" + struct.pack("<3f", float("inf"), 0, 0),
        "NaN or infinite flow at 1 places",
        id="pfm: inf",
    ),
    pytest.param("a.npz", b"PK\x03\x04broken", "cannot read flow", id="npz: broken"),
    pytest.param("a.npz", b"", "cannot read flow", id="npz: empty"),
    pytest.param("a.gif", b"", "is not a flow file; use one of .flo", id="an unknown suffix"),
]


@pytest.mark.parametrize(("name", "content", "message"), DAMAGED)
def test_damaged_files_are_reported(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_flow(tmp_path / name)


def test_every_truncation_of_every_format_is_an_error(tmp_path: Path) -> None:
    for suffix in (".flo", ".png", ".pfm", ".npz", ".npy"):
        content = write_flow(tmp_path / f"complete{suffix}", FLOW[0]).read_bytes()
        for cut in np.linspace(0, len(content) - 1, 25).astype(int):
            (tmp_path / f"cut{suffix}").write_bytes(content[:cut])
            with pytest.raises(InputError):
                read_flow(tmp_path / f"cut{suffix}")


ARRAYS = [
    pytest.param({"flow": NAN[None]}, "NaN or infinite flow at 16 places, first in field 0 at x=0, y=0", id="NaN"),
    pytest.param({"flow": np.zeros((1, 3, 4, 4))}, r"flow is float \[n, 2, height, width\]", id="three channels"),
    pytest.param({"flow": np.zeros((1, 2, 4, 4), int)}, "int64", id="whole numbers"),
    pytest.param({"flow": FLOW, "valid": VALID[:, :5]}, "must be bool", id="valid of another size"),
    pytest.param({"flow": np.array([{}], object)}, "cannot read flow", id="pickled objects"),
    pytest.param({}, "cannot read flow", id="nothing"),
]


@pytest.mark.parametrize(("arrays", "message"), ARRAYS)
def test_archives_with_other_content_are_refused(arrays: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        read_flow(tmp_path / "a.npz")


def test_values_that_a_format_cannot_store_are_not_written(tmp_path: Path) -> None:
    cases = [
        ("a.png", FLOW[0] * 100, None, "stores flow from -512"), ("a.flo", FLOW, None, "stores one field, these are 3"),
        ("a.pfm", FLOW[0], VALID[0], "cannot store where flow is unknown"),
        ("a.npy", FLOW, VALID, "cannot store where flow is unknown"),
        ("a.npz", NAN, None, "NaN"), ("a.flo", FLOW[0] * 1e9, None, "larger values mean unknown"),
        ("a.txt", FLOW[0], None, "is not a flow file"),
    ]  # fmt: skip
    for name, flow, valid, message in cases:
        with pytest.raises(InputError, match=message):
            write_flow(tmp_path / name, flow, valid)
    assert not list(tmp_path.iterdir())
    write_flow(tmp_path / "a.flo", FLOW[0])
    with pytest.raises(InputError, match="exists"):
        write_flow(tmp_path / "a.flo", FLOW[1])
    with pytest.raises(InputError, match="cannot read flow"):
        read_flow(tmp_path / "missing.flo")
