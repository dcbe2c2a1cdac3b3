"""Names of weights files: which are loaded, which are refused, and what other programs leave in folders. No torch
here."""

from __future__ import annotations

from pathlib import Path, PurePath

from videogen.core.errors import CheckpointError

from .names import WEIGHTS

#: of files that are opened by running what is in them
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle")


def is_left_over(path: PurePath) -> bool:
    """Whether a file is one that macOS leaves next to others (`._NAME`, `.DS_Store`), whose content is of no use."""
    return any(part.startswith("._") or part in (".DS_Store", "__MACOSX") for part in path.parts)


def check_weights_name(path: Path) -> None:
    """CheckpointError for a file that is not loaded, by its name: a pickle, macOS's companion of a file, or another
    format."""
    suffix = path.suffix.lower()
    if suffix in PICKLES:
        raise CheckpointError(
            f"{path} is pickled ({suffix}), which can run code when it is opened; convert it to safetensors, or "
            "download its .safetensors"
        )
    if is_left_over(PurePath(path.name)):
        other = path.with_name(path.name.removeprefix("._"))
        raise CheckpointError(f"{path} is what macOS leaves next to a file, and has no weights; give {other}")
    if suffix not in WEIGHTS:
        raise CheckpointError(
            f"{path} is a file of another kind; give the folder of a checkpoint in diffusers' layout, or a file of "
            f"weights ({' or '.join(WEIGHTS)})"
        )


def check_links(folder: Path) -> None:
    """CheckpointError for a symbolic link that leads out of a checkpoint's folder, or nowhere.

    Files in the hub's cache are links into the repository's `blobs`, and may be.
    """
    root = folder.resolve()
    blobs = [place.parents[1] / "blobs" for place in (root, *root.parents) if place.parent.name == "snapshots"]
    allowed = [root, *blobs]
    for path in sorted(folder.rglob("*")):
        if not path.is_symlink() or is_left_over(path.relative_to(folder)):
            continue
        target = path.resolve()
        if not target.exists():
            raise CheckpointError(f"{path} is a link to {target}, which does not exist; copy the folder again")
        if not any(target.is_relative_to(place) for place in allowed):
            raise CheckpointError(
                f"{path} is a link out of the checkpoint, to {target}; copy that into the folder, or give it by its "
                "own name (such as transformer=FOLDER)"
            )
