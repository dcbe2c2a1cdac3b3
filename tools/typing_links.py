"""Link the package together as it is installed, for mypy and pyright: `build/typing/videogen` -> every part."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
AT_ROOT = ("attention", "configs", "schedulers")


def main() -> int:
    target = ROOT / "build" / "typing" / "videogen"
    target.mkdir(parents=True, exist_ok=True)
    for old in target.iterdir():
        old.unlink()
    for source in [*(ROOT / "videogen").iterdir(), *(ROOT / name for name in AT_ROOT)]:
        if source.name not in ("__pycache__", *AT_ROOT) or source.parent == ROOT:
            (target / source.name).symlink_to(source)
    return 0


if __name__ == "__main__":
    sys.exit(main())
