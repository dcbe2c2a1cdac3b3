"""Options of long videos: a group of `render`, and the `story` command."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypedDict

from videogen.request.continuity import AUTO, MEASURED, OFF
from videogen.request.continuity_policies import ROWS

from .types import Subparsers

_RENDER = """\
a video longer than the model generates well in one pass (its native length, or what its
defaults.json states) is made of several clips, segment by segment, straight into the file.
Finished segments are stored in OUTPUT.job: after a crash or Ctrl-C the same command resumes,
and the frames are those of an uninterrupted run."""
_STORY = "Long videos: show a story or a video's segments, regenerate a segment, list the continuity policies."
_STORY_EXAMPLES = """a story is lines of text, or a .toml with a [[shot]] for each prompt:
  [00:00-00:04] a red ball moves right on a black background
  [00:04-00:08, blend(8)] a blue ball moves right on a black background
  [00:08-00:12, cut, seed=7] a white star spins on a navy background

examples:
  videogen story show story.txt                    its shots, before anything is rendered
  videogen render --story story.txt -o clip.mp4 --keep-job
  videogen story show clip.mp4                     its shots and numbered segments
  videogen story redo 3 clip.mp4                   segment 3 with other noise, all others unchanged
  videogen story restore 3 clip.mp4                segment 3 as it was rendered first
"""


class _Shared(TypedDict):
    """Arguments that all actions share."""

    parents: list[argparse.ArgumentParser]
    formatter_class: type[argparse.HelpFormatter]


def add_options(render: argparse.ArgumentParser) -> None:
    """The group of `render`."""
    group = render.add_argument_group("long videos", _RENDER)
    group.add_argument(
        "--story", type=Path, metavar="FILE",
        help="prompts over time, in place of the prompt, as text or TOML (see videogen story --help)",
    )  # fmt: skip
    group.add_argument("--seconds", type=float, metavar="S", help="length in seconds, in place of --frames")
    group.add_argument(
        "--continuity", metavar="POLICY",
        help=f"how clips are joined: {AUTO}, {MEASURED} (try several first), {OFF} (one clip of any length), "
        f"{', '.join(ROWS)}, or POLICY:name=value,... (videogen story policies describes each)",
    )  # fmt: skip
    group.add_argument(
        "--window", type=int, metavar="N", help="frames that the model generates at once (default: its native length)"
    )
    group.add_argument(
        "--retries", type=int, metavar="N",
        help="maximum re-generations per segment, if its seam is visible or it freezes, drifts or repeats (default: 0)",
    )  # fmt: skip
    group.add_argument(
        "--resume", type=Path, metavar="FILE", help="resume the job of this output; takes no prompt and no settings"
    )
    group.add_argument(
        "--keep-job", action="store_true", help="do not delete OUTPUT.job at the end, for videogen story redo"
    )


def add_story(commands: Subparsers, common: argparse.ArgumentParser, formatter: type[argparse.HelpFormatter]) -> None:
    """The `story` command."""
    shared: _Shared = {"parents": [common], "formatter_class": formatter}
    story = commands.add_parser(
        "story", **shared, help="long videos: shots, segments, policies; regenerate a segment",
        description=_STORY, epilog=_STORY_EXAMPLES,
    )  # fmt: skip
    actions = story.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    show = actions.add_parser(
        "show", help="the shots of a story or a video, and a video's segments", **shared,
        description="Print the shots of a story file; for a long video also its segments, with the numbers that redo "
        "takes. No model is loaded.",
    )  # fmt: skip
    show.add_argument(
        "what", type=Path, metavar="STORY_OR_VIDEO", help="a story file, a long video, or a render's output or job"
    )
    redo = actions.add_parser(
        "redo", help="regenerate one segment of a video", **shared,
        description="Regenerate one segment with other noise, all others unchanged, and write the video again. "
        "This needs the video's job: of a render with --keep-job, or of one that is not finished.",
    )  # fmt: skip
    restore = actions.add_parser(
        "restore", help="show an earlier version of a regenerated segment again", **shared,
        description="Show an earlier version of a segment again, which redo had replaced, and write the video. This "
        "needs the video's job, in which redo stores each version.",
    )  # fmt: skip
    for action in (redo, restore):
        action.add_argument(
            "segment", type=int, metavar="SEGMENT", help="the segment's number, from 0, as `story show` prints it"
        )
        action.add_argument("video", type=Path, metavar="VIDEO", help="the output file; its job is VIDEO.job")
        action.add_argument(
            "--allow-model", action="store_true",
            help="load the model that the job names from the hub, if it is not in the hub's local cache",
        )  # fmt: skip
        action.add_argument("--quiet", action="store_true", help="no progress bar")
    redo.add_argument("--attempt", type=int, metavar="N", help="which other noise, from 1 (default: the next one)")
    restore.add_argument(
        "--attempt", type=int, metavar="N", default=0, help="which version (default: 0, the one rendered first)"
    )
    actions.add_parser(
        "policies", help="list the continuity policies", **shared,
        description="Print each policy of --continuity in one line, and the settings.",
    )  # fmt: skip
