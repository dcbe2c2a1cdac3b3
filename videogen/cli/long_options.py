"""The words of long videos: a group of `render`, and the `story` command."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_RENDER = """\
from 1.5 times the model's own length on, a video is made of several clips, segment by segment,
straight into the file. What is done is kept in OUTPUT.job: after a kill or Ctrl-C the same
command goes on, and the frames are those of an unbroken run."""
_STORY = "Long videos: read a story, see a video's segments, make one of them again, list the ways in which clips hang together."
_STORY_EXAMPLES = """a story is lines of text, or a .toml with a [[shot]] for each prompt:
  [00:00-00:04] a red ball moves right on a black background
  [00:04-00:08, blend(8)] a blue ball moves right on a black background
  [00:08-00:12, cut, seed=7] a white star spins on a navy background

examples:
  videogen story show story.txt                    its shots, before anything is rendered
  videogen render --story story.txt -o clip.mp4 --keep-job
  videogen story show clip.mp4                     its shots and segments, by number
  videogen story redo 3 clip.mp4                   segment 3 with other noise, its neighbours as they are
"""


def add_options(render: argparse.ArgumentParser) -> None:
    """The group of `render`."""
    group = render.add_argument_group("long videos", _RENDER)
    group.add_argument(
        "--story",
        type=Path,
        metavar="FILE",
        help="in the prompt's place: what is shown when, as text or TOML (see videogen story --help)",
    )
    group.add_argument("--seconds", type=float, metavar="S", help="length in seconds, in the place of --frames")
    group.add_argument(
        "--continuity", metavar="POLICY",
        help="how clips hang together: auto, measured (try several first), off (one clip, however long), replay, cono, "
        "co_denoise:overlap=4, ... (videogen story policies says what each does)",
    )  # fmt: skip
    group.add_argument(
        "--window", type=int, metavar="N", help="frames that the model makes at once (default: its own length)"
    )
    group.add_argument(
        "--retries", type=int, metavar="N",
        help="make a segment again whose seam shows, or that stands still, strays or repeats, so often at most (default 0)",
    )  # fmt: skip
    group.add_argument(
        "--resume", type=Path, metavar="FILE", help="go on with the job of this output; takes no prompt and no settings"
    )
    group.add_argument(
        "--keep-job", action="store_true", help="keep OUTPUT.job when all is done, for videogen story redo"
    )


def add_story(commands: Any, common: argparse.ArgumentParser, formatter: type[argparse.HelpFormatter]) -> None:
    """The `story` command."""
    story = commands.add_parser(
        "story", parents=[common], formatter_class=formatter, help="long videos: shots, segments, policies; make a segment again",
        description=_STORY, epilog=_STORY_EXAMPLES,
    )  # fmt: skip
    actions = story.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    options: dict[str, Any] = {"parents": [common], "formatter_class": formatter}
    show = actions.add_parser(
        "show", help="the shots of a story or a video, and a video's segments", **options,
        description="Print the shots of a story file; of a long video also its segments, by the numbers that redo takes. "
        "Of an unfinished render its model is loaded, to know which frames a segment holds.",
    )  # fmt: skip
    show.add_argument(
        "what", type=Path, metavar="STORY_OR_VIDEO", help="a story file, a long video, or a render's output or job"
    )
    redo = actions.add_parser(
        "redo", help="make one segment of a video again", **options,
        description="Make one segment again with other noise, its neighbours as they are, and write the video anew. It needs the "
        "video's job: of a render with --keep-job, or of one that is not finished.",
    )  # fmt: skip
    redo.add_argument(
        "chunk", type=int, metavar="CHUNK", help="the segment's number, from 0, as `story show` prints it"
    )
    redo.add_argument("video", type=Path, metavar="VIDEO", help="the output file; its job is VIDEO.job")
    redo.add_argument("--attempt", type=int, metavar="N", help="which other noise, 1 and on (default: the next)")
    redo.add_argument("--quiet", action="store_true", help="no progress bar")
    actions.add_parser(
        "policies", help="how clips can hang together", **options, description="Print each policy of --continuity in a line.",
    )  # fmt: skip
