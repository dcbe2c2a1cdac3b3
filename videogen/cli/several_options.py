"""Options of `videogen render` that give several clips: `--prompts`, `--seeds`, `--count` and how they are rendered."""

from __future__ import annotations

import argparse
from pathlib import Path

from videogen.core.errors import InputError

#: Each makes the command render several clips.
_SEVERAL = ("prompts", "seeds", "count")
#: What belongs to one clip, and why it is refused with several.
_SINGLE = {
    "resume": "continues one long video; the same command without it resumes each",
    "preview": "shows one clip",
    "report": "describes one clip; `videogen inspect` shows each file's manifest",
    "motion_preview": "shows the motion of one clip",
}


def add_options(render: argparse.ArgumentParser) -> None:
    group = render.add_argument_group("several clips (one file each; all share one progress bar)")
    group.add_argument("--seeds", metavar="N,N,...", help="one clip per seed, such as 1,2,7")
    group.add_argument("--count", type=int, metavar="N", help="so many clips, with the seeds from --seed on")
    group.add_argument(
        "--prompts", type=Path, metavar="FILE",
        help="one clip per line of a text file, the i-th with seed + i; with --seeds or --count one per line and seed. "
        "Lines that begin with # are comments",
    )  # fmt: skip
    group.add_argument(
        "--batch-size", type=int, metavar="N",
        help="clips at once (default: as many as fit; 2 on a CPU); with 1 each is bit for bit that of a render alone",
    )  # fmt: skip
    group.add_argument(
        "--skip-existing", action="store_true", help="leave out clips whose file exists: continues a run that stopped"
    )


def is_several(options: argparse.Namespace) -> bool:
    """Whether the command renders several clips. InputError for options that do not go together."""
    if options.skip_existing and options.overwrite:
        raise InputError("--skip-existing keeps the files that --overwrite replaces; leave one of them out")
    several = next((name for name in _SEVERAL if getattr(options, name) is not None), None)
    if several is None:
        if options.batch_size is not None:
            raise InputError("--batch-size is for several clips; add --seeds, --count or --prompts, or leave it out")
        return False
    for name, reason in _SINGLE.items():
        if getattr(options, name) is not None:
            raise InputError(f"--{name.replace('_', '-')} {reason}; leave it or --{several} out")
    if options.prompts is not None and options.prompt is not None:
        raise InputError(f"a prompt and --prompts {options.prompts} are both given; leave one of them out")
    return True


def parse_seeds(text: str) -> list[int]:
    """The seeds of `1,2,7`. InputError for what is not a whole number."""
    found = []
    for part in text.split(","):
        try:
            found.append(int(part))
        except ValueError:
            raise InputError(
                f"seeds={text!r} has {part.strip()!r}, which is not a whole number; write the seeds as 1,2,7"
            ) from None
    return found


def read_prompts(path: Path) -> list[str]:
    """The prompts of a file: its lines, without empty ones and comments. InputError where there is none."""
    from videogen.core.tables import read_text

    try:
        lines = [line.strip() for line in read_text(path).splitlines()]
    except InputError as error:
        raise InputError(f"{error}; --prompts takes a file of prompts, and a prompt itself needs no option") from error
    prompts = [line for line in lines if line and not line.startswith("#")]
    if not prompts:
        raise InputError(f"{path} has no prompt; write one per line (lines that begin with # are comments)")
    return prompts
