"""Optical flow cache on disk, keyed by a digest of both images and the method (`videogen.core.disk_cache`)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

import numpy as np

from videogen.core.disk_cache import DIGEST_BYTES, FLOW, DiskCache

Pair = Callable[[np.ndarray, np.ndarray], np.ndarray]


class FlowCache(DiskCache):
    """The cache of flow. folder: None is the user's; flow is computed each time where it is not writable."""

    def __init__(self, folder: str | os.PathLike[str] | None = None, limit_bytes: int | None = None) -> None:
        super().__init__(FLOW, folder, limit_bytes)

    def wrap(self, pair: Pair, method: str) -> Pair:
        """`pair` with a lookup on disk first. method: names the computation, so that each method has its own
        entries."""

        def cached_pair(first: np.ndarray, second: np.ndarray) -> np.ndarray:
            key = _key(first, second, method)
            found = self._read_flow(key, first.shape[:2])
            if found is None:
                found = pair(first, second)
                self.write(key, found.astype("<f4").tobytes())
            return found

        return cached_pair

    def _read_flow(self, key: str, size: tuple[int, ...]) -> np.ndarray | None:
        payload = self.read(key)
        if payload is None or len(payload) != 8 * size[0] * size[1]:
            return None
        return np.frombuffer(payload, "<f4").reshape(2, *size).astype(np.float32)


def _key(first: np.ndarray, second: np.ndarray, method: str) -> str:
    digest = hashlib.blake2b(f"{method}/{first.shape}".encode(), digest_size=DIGEST_BYTES)
    for image in (first, second):
        digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()
