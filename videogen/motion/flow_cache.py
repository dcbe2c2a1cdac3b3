"""Optical flow cache on disk, keyed by a digest of both images and the method. Entries are complete or absent; a
damaged entry is recomputed.

It is in `$XDG_CACHE_HOME/videogen/flow` (else `~/.cache/videogen/flow`); beyond `limit_bytes` the oldest entries are
evicted.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from videogen.core.errors import InputError
from videogen.core.files import atomic_path

_log = logging.getLogger(__name__)
_MAGIC = b"videogen-flow-1\n"
_DIGEST_BYTES = 20
Pair = Callable[[np.ndarray, np.ndarray], np.ndarray]


def default_folder() -> Path:
    """The user's cache folder for flow."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "videogen" / "flow"


class FlowCache:
    """A cache folder. folder: None is `default_folder()`. A folder that is not writable is logged once, and flow is
    then computed without the cache."""

    def __init__(self, folder: str | os.PathLike[str] | None = None, limit_bytes: int = 2 << 30) -> None:
        self.folder, self.limit_bytes = Path(folder) if folder is not None else default_folder(), limit_bytes
        self._writes = True

    def wrap(self, pair: Pair, method: str) -> Pair:
        """`pair` with a lookup on disk first. method: names the computation, so that each method has its own
        entries."""

        def cached_pair(first: np.ndarray, second: np.ndarray) -> np.ndarray:
            path = self.folder / f"{self._key(first, second, method)}.flow"
            found = self._read(path, first.shape[:2])
            if found is None:
                found = pair(first, second)
                self._write(path, found)
            return found

        return cached_pair

    def trim(self) -> None:
        """Delete the oldest entries until the rest fits `limit_bytes`."""
        entries = sorted(
            ((s.st_mtime, s.st_size, p) for p in self.folder.glob("*.flow") if (s := _stat(p))), reverse=True
        )
        total = 0
        for _, size, path in entries:
            total += size
            if total > self.limit_bytes:
                path.unlink(missing_ok=True)

    def size_bytes(self) -> int:
        """Bytes of all entries."""
        return sum(stat.st_size for path in self.folder.glob("*.flow") if (stat := _stat(path)))

    def clear(self) -> None:
        """Delete all entries."""
        for path in self.folder.glob("*.flow"):
            path.unlink(missing_ok=True)

    @staticmethod
    def _key(first: np.ndarray, second: np.ndarray, method: str) -> str:
        digest = hashlib.blake2b(f"{method}/{first.shape}".encode(), digest_size=_DIGEST_BYTES)
        for image in (first, second):
            digest.update(np.ascontiguousarray(image).data)
        return digest.hexdigest()

    @staticmethod
    def _read(path: Path, size: tuple[int, int]) -> np.ndarray | None:
        """The flow in an entry; None where there is no entry, or it is damaged."""
        try:
            content = path.read_bytes()
        except OSError:
            return None
        head, payload = content[: len(_MAGIC) + _DIGEST_BYTES], content[len(_MAGIC) + _DIGEST_BYTES :]
        if head != _MAGIC + _digest(payload) or len(payload) != 8 * size[0] * size[1]:
            _log.warning("the cached flow %s is damaged and is recomputed", path.name)
            return None
        return np.frombuffer(payload, "<f4").reshape(2, *size).astype(np.float32)

    def _write(self, path: Path, flow: np.ndarray) -> None:
        if not self._writes:
            return
        payload = flow.astype("<f4").tobytes()
        try:
            with atomic_path(path, overwrite=True) as partial:
                partial.write_bytes(_MAGIC + _digest(payload) + payload)
            self.trim()
        except (OSError, InputError) as error:
            self._writes = False
            _log.warning("flow is not cached on disk: %s", error)


def _digest(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_DIGEST_BYTES).digest()


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # another process trimmed it
        return None
