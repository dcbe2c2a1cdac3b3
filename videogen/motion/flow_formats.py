"""Encoders and decoders of single flow fields. A decoder returns (flow float32 [2, height, width], valid bool [height,
width])."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable

import numpy as np

from videogen.core.errors import InputError

_FLO_MAGIC = struct.pack("<f", 202021.25)  # the bytes "PIEH"
_FLO_UNKNOWN = 1e9  # larger values mean "unknown" (Baker et al., Middlebury flow)
_KITTI_STEP, _KITTI_ZERO = 64.0, 32768
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_LARGEST_SIDE = 32768
_PFM_HEAD = re.compile(rb"(PF|Pf)\s+(\d+)\s+(\d+)\s+(-?[0-9.eE+-]+)\s")


def decode_flo(content: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Middlebury: magic, int32 width, int32 height, then rows of (dx, dy) float32, little-endian."""
    if content[:4] != _FLO_MAGIC:
        raise InputError(
            f"{where} begins with {content[:4]!r}, not with .flo's magic b'PIEH'; it is another format or damaged"
        )
    if len(content) < 12:
        raise InputError(f"{where} is truncated: {len(content)} bytes, the header has 12")
    width, height = struct.unpack("<ii", content[4:12])
    _check_size(width, height, where)
    values = _floats(content[12:], "<f4", height * width * 2, where).reshape(height, width, 2)
    with np.errstate(invalid="ignore"):
        valid = ~(np.abs(values) > _FLO_UNKNOWN).any(-1)
    return _planes(values), valid


def encode_flo(flow: np.ndarray, valid: np.ndarray) -> bytes:
    if np.abs(flow).max(initial=0) > _FLO_UNKNOWN:
        raise InputError(f".flo stores flow up to {_FLO_UNKNOWN:g} px, larger values mean unknown; write .npz")
    values = np.where(valid[..., None], np.moveaxis(flow, 0, -1), np.float32(10 * _FLO_UNKNOWN))
    return _FLO_MAGIC + struct.pack("<ii", flow.shape[2], flow.shape[1]) + values.astype("<f4").tobytes()


def decode_kitti(content: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """KITTI: 16-bit RGB PNG, (value - 2^15) / 64 px in R and G; blue is 0 where flow is unknown."""
    import cv2

    _check_png(content, where)
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint16 or image.ndim != 3 or image.shape[2] != 3:
        kind = "damaged" if image is None else f"{image.dtype} {list(image.shape)}"
        raise InputError(f"{where} is {kind}; KITTI flow is a 16-bit RGB png")
    valid = image[..., 0] > 0  # OpenCV's order is B, G, R
    values = (image[..., :0:-1].astype(np.float32) - _KITTI_ZERO) / _KITTI_STEP
    return _planes(np.where(valid[..., None], values, 0)), valid


def encode_kitti(flow: np.ndarray, valid: np.ndarray) -> bytes:
    import cv2

    levels = np.rint(np.moveaxis(flow, 0, -1).astype(np.float64) * _KITTI_STEP) + _KITTI_ZERO
    if (valid & ((levels < 0) | (levels > 65535)).any(-1)).any():
        raise InputError(
            f"KITTI png stores flow from -512 to 511.98 px, this goes to {np.abs(flow).max():g}; write .flo or .npz"
        )
    image = np.zeros((*valid.shape, 3), np.uint16)
    image[..., 0] = valid
    image[..., 2:0:-1][valid] = levels[valid].astype(np.uint16)
    done, content = cv2.imencode(".png", image)
    if not done:
        raise InputError(f"flow of {flow.shape[2]}x{flow.shape[1]} px cannot be written as png")
    return content.tobytes()


def decode_pfm(content: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Portable float map: `PF`, width and height, a scale whose sign is the byte order, rows from bottom to top; dx,
    dy, unused."""
    head = _PFM_HEAD.match(content[:200])
    if head is None:
        raise InputError(f"{where} begins with {content[:4]!r}, not with a .pfm header ('PF', width height, scale)")
    kind, width, height = head[1], int(head[2]), int(head[3])
    if kind != b"PF":
        raise InputError(f"{where} is a .pfm of one channel; flow needs three ('PF')")
    _check_size(width, height, where)
    try:
        order = "<f4" if float(head[4]) < 0 else ">f4"
    except ValueError:
        raise InputError(f"{where} has the scale {head[4]!r} in its .pfm header, which is not a number") from None
    values = _floats(content[head.end() :], order, height * width * 3, where).reshape(height, width, 3)[::-1]
    return _planes(values[..., :2]), np.ones((height, width), bool)


def encode_pfm(flow: np.ndarray, valid: np.ndarray) -> bytes:
    values = np.zeros((*valid.shape, 3), "<f4")
    values[..., :2] = np.moveaxis(flow, 0, -1)
    return f"PF\n{flow.shape[2]} {flow.shape[1]}\n-1.0\n".encode() + values[::-1].tobytes()


DECODERS: dict[str, Callable[[bytes, str], tuple[np.ndarray, np.ndarray]]] = {
    ".flo": decode_flo, ".png": decode_kitti, ".pfm": decode_pfm,
}  # fmt: skip
ENCODERS: dict[str, Callable[[np.ndarray, np.ndarray], bytes]] = {
    ".flo": encode_flo,
    ".png": encode_kitti,
    ".pfm": encode_pfm,
}


def _planes(values: np.ndarray) -> np.ndarray:
    """[h, w, 2] to float32 [2, h, w]."""
    return np.ascontiguousarray(np.moveaxis(values, -1, 0), np.float32)


def _floats(payload: bytes, order: str, count: int, where: str) -> np.ndarray:
    if len(payload) != 4 * count:
        state = "truncated" if len(payload) < 4 * count else "too long"
        raise InputError(f"{where} is {state}: its header declares {4 * count} bytes of flow, it has {len(payload)}")
    return np.frombuffer(payload, order)


def _check_size(width: int, height: int, where: str) -> None:
    if not (0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE):
        raise InputError(f"{where} declares a size of {width}x{height} px; flow has sides from 1 to {_LARGEST_SIDE}")


def _check_png(content: bytes, where: str) -> None:
    """InputError where a PNG chunk is missing or its checksum is wrong: decoders are lenient about both."""
    if content[:8] != _PNG_MAGIC:
        raise InputError(f"{where} begins with {content[:8]!r}, not with a png's magic")
    at, kind = 8, b""
    while kind != b"IEND":
        length = int.from_bytes(content[at : at + 4], "big")
        kind, end = content[at + 4 : at + 8], at + 12 + length
        if len(content) < end:
            raise InputError(f"{where} is truncated at {len(content)} bytes, within its png data")
        if zlib.crc32(content[at + 4 : end - 4]) != int.from_bytes(content[end - 4 : end], "big"):
            raise InputError(f"{where} is damaged: the checksum of its {kind!r} chunk is wrong")
        if kind == b"IHDR":
            _check_size(
                int.from_bytes(content[at + 8 : at + 12], "big"),
                int.from_bytes(content[at + 12 : at + 16], "big"),
                where,
            )
        at = end
