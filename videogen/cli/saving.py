"""Writing of results: a finished clip is never thrown away, and files next to it never cost the clip."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from videogen.core.errors import SavedElsewhereError, VideogenError
from videogen.core.files import free_output

from .settings import OutputSettings

if TYPE_CHECKING:
    from videogen.media.video import Video


@dataclass(frozen=True)
class SavedClip:
    """path: the file that was written; saved_elsewhere: why it is not the requested one, None where it is."""

    path: Path
    saved_elsewhere: str | None = None


def save_clip(video: Video, output: OutputSettings) -> SavedClip:
    """Write a finished clip: to the next free name where another process took the requested one during the render, or
    where the old file cannot be replaced; to the folder for temporary files where nothing can be written next to it.
    Raises the first error where that fails too.
    """
    path = free_output(output.path, output.overwrite)
    try:
        video.save(path, quality=output.quality, overwrite=output.overwrite)
    except SavedElsewhereError as error:
        return SavedClip(error.path, str(error))
    except (VideogenError, OSError) as error:
        rescued = _save_elsewhere(video, output)
        if rescued is None:
            raise
        return SavedClip(rescued, f"{error}; the result is {rescued}")
    if path == output.path:
        return SavedClip(path)
    reason = "was created by another process in the meantime and is left alone"
    return SavedClip(path, f"{output.path} {reason}; the result is {path}")


def _save_elsewhere(video: Video, output: OutputSettings) -> Path | None:
    """The file in a new folder for temporary files; None where it cannot be written either."""
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix="videogen-"))
        return video.save(folder / output.path.name, quality=output.quality)
    except (VideogenError, OSError):
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return None


@contextmanager
def side_file(kind: str, path: Path, notes: list[str], raising: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """A block that writes a file next to the clip: an error in it, but for those of `raising`, becomes a note that
    names the file."""
    try:
        yield
    except raising:
        raise
    except Exception as error:
        logging.getLogger("videogen").warning("%s", path, exc_info=error)
        reason = getattr(error, "strerror", None) or error
        notes.append(f"the {kind} {path} was not written: {reason}")
