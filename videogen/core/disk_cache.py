"""Disk cache of the user: entries of bytes under a key, each complete or absent, with a bounded size.

A cache is a folder in `$XDG_CACHE_HOME/videogen` (else `~/.cache/videogen`). Beyond `limit_bytes` the oldest entries
are evicted; an entry that is damaged counts as absent. `CACHES` lists what is stored, for `videogen doctor`.
"""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError
from .files import atomic_path

_log = logging.getLogger(__name__)
DIGEST_BYTES = 20


@dataclass(frozen=True)
class CacheKind:
    """What a cache is for: its folder's name, the beginning of each entry, and the limit of all entries."""

    name: str
    description: str
    magic: bytes
    limit_bytes: int

    @property
    def folder(self) -> Path:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "videogen" / self.name


FLOW = CacheKind("flow", "optical flow", b"videogen-flow-1\n", 2 << 30)
PREVIEW = CacheKind("preview", "colours of latent previews", b"videogen-preview-1\n", 16 << 20)
OPERATORS = CacheKind("operators", "times of this machine's operators", b"videogen-operators-1\n", 16 << 20)
CACHES = (FLOW, PREVIEW, OPERATORS)


class DiskCache:
    """One cache. folder: None is that of the kind. A folder that is not writable is logged once, and nothing is stored
    from then on."""

    def __init__(
        self, kind: CacheKind, folder: str | os.PathLike[str] | None = None, limit_bytes: int | None = None
    ) -> None:
        self.kind, self.folder = kind, Path(folder) if folder is not None else kind.folder
        self.limit_bytes = kind.limit_bytes if limit_bytes is None else limit_bytes
        self._writes = True

    def read(self, key: str) -> bytes | None:
        """An entry; None where it is absent or damaged."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        size = len(self.kind.magic) + DIGEST_BYTES
        head, payload = content[:size], content[size:]
        if head != self.kind.magic + _digest(payload):
            _log.warning("the cached %s is damaged and is recomputed", path.name)
            return None
        return payload

    def write(self, key: str, payload: bytes) -> None:
        """Store an entry, and evict the oldest ones where all are too large together."""
        if not self._writes:
            return
        try:
            with atomic_path(self._path(key), overwrite=True) as partial:
                partial.write_bytes(self.kind.magic + _digest(payload) + payload)
            self.trim()
        except (OSError, InputError) as error:
            self._writes = False
            _log.warning("%s: not cached on disk: %s", self.kind.description, error)

    def trim(self) -> None:
        """Delete the oldest entries until the rest fits `limit_bytes`."""
        total = 0
        for _, size, path in sorted(((s.st_mtime, s.st_size, p) for p, s in self._entries()), reverse=True):
            total += size
            if total > self.limit_bytes:
                path.unlink(missing_ok=True)

    def size_bytes(self) -> int:
        """Bytes of all entries."""
        return sum(stat.st_size for _, stat in self._entries())

    def clear(self) -> None:
        """Delete all entries."""
        for path, _ in self._entries():
            path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.{self.kind.name}"

    def _entries(self) -> list[tuple[Path, os.stat_result]]:
        found = ((path, _stat(path)) for path in self.folder.glob(f"*.{self.kind.name}"))
        return [(path, stat) for path, stat in found if stat is not None]


def _digest(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=DIGEST_BYTES).digest()


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # another process trimmed it
        return None
