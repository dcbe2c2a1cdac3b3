"""Stories as text, TOML, dicts and lists: their timelines, and the message of every error."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction as F
from pathlib import Path
from typing import Any

import pytest

from videogen import InputError
from videogen.motion import Camera
from videogen.timeline import Shot, Timeline, Transition, as_timeline
from videogen.timeline.story_text import parse_time

RED, BLUE = "a red ball moves right", "a blue ball moves right"
TWO = Timeline((Shot(RED, F(0), F(4)), Shot(BLUE, F(4), F(17, 2))))

SAME = [
    pytest.param(f"[00:00-00:04] {RED}\n[00:04-00:08.5] {BLUE}", id="text"),
    pytest.param(f"# two\n\n [0 - 4s]  a red ball\n  moves right \n[4s->8.5] {BLUE}\n", id="text with comments"),
    pytest.param(
        f"\ufeff[0:00:00–0:00:04]{RED}\r\n[0:00:04 to 0:00:08.500]{BLUE}",
        id="text with hours, dashes and Windows line ends",
    ),
    pytest.param(
        f"[[shot]]\nprompt = '{RED}'\nseconds = 4\n[[shot]]\nprompt = '{BLUE}'\nseconds = 4.5", id="TOML, durations"
    ),
    pytest.param(f"[[shot]]\nprompt='{RED}'\nend=4\n[[shot]]\nprompt='{BLUE}'\nend='00:08.5'", id="TOML, ends"),
    pytest.param(f"[[shot]]\nprompt='{RED}'\n[[shot]]\nprompt='{BLUE}'\nstart=4.0\nseconds=4.5", id="TOML, starts"),
    pytest.param([(4, RED), (4.5, BLUE)], id="list"),
    pytest.param(((4.0, RED), [F(9, 2), BLUE]), id="list of fractions"),
    pytest.param([{"prompt": RED, "seconds": 4}, {"prompt": BLUE, "seconds": 4.5}], id="list of tables"),
    pytest.param(TWO, id="a timeline"),
    pytest.param(TWO.to_dict(), id="plain data"),
]


@pytest.mark.parametrize("value", SAME)
def test_every_form_of_a_story_gives_the_same_timeline(value: Any) -> None:
    assert as_timeline(value) == TWO


def test_an_open_end() -> None:
    open_end = Timeline((Shot(RED, F(0), F(4)), Shot(BLUE, F(4), None)))
    texts = (f"[0-4]{RED}\n[4-]{BLUE}", f"[0]{RED}\n[4]{BLUE}")
    assert all(
        as_timeline(form) == open_end
        for form in (*texts, [(4, RED), (None, BLUE)], [{"prompt": RED, "end": 4}, {"prompt": BLUE}])
    )


def test_frames() -> None:
    shots = (Shot(RED, F(0), F(64)), Shot(BLUE, F(64), None))
    assert (
        as_timeline({64: BLUE, 0: RED}) == Timeline(shots, "frames") == as_timeline(Timeline(shots, "frames").to_dict())
    )


OPTIONS = (Transition("cut"), Transition("blend", F(8)), Transition("blend", F(1, 2), in_frames=False))


def test_options_as_text_and_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "pan.toml").write_text("[[layer]]\nkind = 'camera'\npan = 8", encoding="utf-8")
    shots = [Shot("a", F(0), F(1), seed=3), Shot("b", F(1), F(2), OPTIONS[0], motion=Camera(pan=8))]
    shots += [Shot("c", F(2), F(3), OPTIONS[1]), Shot("d", F(3), None, OPTIONS[2], seed=4)]
    (tmp_path / "story.txt").write_text(
        "[0-1, seed=3] a\n[1-2, motion = pan.toml, cut] b\n[2-3,blend(8)] c\n[3-, blend ( 0.5 s ), seed=4] d",
        encoding="utf-8",
    )
    (tmp_path / "story.toml").write_text(
        "[[shot]]\nprompt='a'\nseconds=1\nseed=3\n"
        "[[shot]]\nprompt='b'\nseconds=1\nmotion='pan.toml'\ntransition='cut'\n"
        "[[shot]]\nprompt='c'\nseconds=1\ntransition='blend(8)'\n[[shot]]\nprompt='d'\ntransition='blend(.5s)'\nseed=4",
        encoding="utf-8",
    )
    layers = (tmp_path / "story.toml").read_text().replace("'pan.toml'", "[{kind = 'camera', pan = 8}]")
    expected = Timeline(tuple(shots))
    for value in (tmp_path / "story.txt", str(tmp_path / "story.toml"), layers, expected.to_dict()):
        assert as_timeline(value) == expected
    assert as_timeline((tmp_path / "story.txt").read_text(), tmp_path) == expected
    assert [str(shot.transition) for shot in expected.shots] == ["hold", "cut", "blend(8)", "blend(0.5s)"]


def test_tenths_add_up_exactly() -> None:
    timeline = as_timeline([(0.1, "a")] * 30)
    assert timeline.end == 3 and timeline.shots[-1].start == F(29, 10)


TIMES = [
    ("4", F(4)),
    ("4.", F(4)),
    (".5", F(1, 2)),
    ("90s", F(90)),
    ("01:04.25", F(257, 4)),
    ("1:00:00", F(3600)),
    ("120:00", F(7200)),
]


@pytest.mark.parametrize(("text", "seconds"), TIMES)
def test_times(text: str, seconds: F) -> None:
    assert parse_time(text, "here") == seconds


def toml(text: str) -> Callable[[], Timeline]:
    return lambda: as_timeline(text.replace(";", "\n"))


def text(*lines: str) -> Callable[[], Timeline]:
    return lambda: as_timeline("\n".join(lines))


BAD = [
    pytest.param(
        text("[0-4] a", "[3-8] b"),
        "1 and 2 overlap: .* at 3 s, before shot 1 ends at 4 s; start it at 4 s",
        id="overlap",
    ),
    pytest.param(
        text("[0-4] a", "[5-8] b"),
        "gap before shot 2: it starts at 5 s, and shot 1 ends at 4 s; start it at 4 s",
        id="gap",
    ),
    pytest.param(text("[1-4] a"), "gap before shot 1: it starts at 1 s, and a story starts at 0 s", id="late start"),
    pytest.param(
        lambda: as_timeline({8: "a"}), "it starts at frame 8, and a story starts at frame 0", id="late first frame"
    ),
    pytest.param(
        text("[0-4] a", "[4-4] b"), "shot 2 has no duration: it starts at 4 s and ends at 4 s", id="zero length"
    ),
    pytest.param(
        text("[0-4] a", "[4-2] b"), "shot 2 has no duration: it starts at 4 s and ends at 2 s", id="backwards"
    ),
    pytest.param(
        lambda: as_timeline([(0, "a"), (4, "b")]),
        "shot 1 has a duration of 0 s; in .seconds, prompt.",
        id="starts for durations",
    ),
    pytest.param(lambda: as_timeline([(-1, "a")]), "shot 1 has no duration", id="negative length"),
    pytest.param(
        lambda: as_timeline([(None, "a"), (4, "b")]),
        "at which shot 1 ends and shot 2 starts is missing",
        id="open in the middle",
    ),
    pytest.param(
        lambda: Timeline((Shot("a", F(0), None), Shot("b", F(4), None))),
        "shot 1 has no end .* end it at 4 s",
        id="open shot",
    ),
    pytest.param(
        text("[0-4, blend(8)] a"), r"shot 1 has no shot before it to blend\(8\) with", id="blend into the first shot"
    ),
    pytest.param(text("[0-4]"), r"line 1: '\[0-4\]' has no prompt", id="no prompt"),
    pytest.param(
        text("[0-4] a", "[4-8 b"), r"line 2: '\[4-8 b' has no time in brackets; write it as", id="unclosed bracket"
    ),
    pytest.param(
        text("[first] a"), r"line 1: '\[first\]' has no time; write it as \[00:00-00:04\]", id="text for a time"
    ),
    pytest.param(text("[] a"), "has no time", id="empty brackets"),
    pytest.param(text("[00:00-00:75] a"), "line 1: '00:75' has 75 seconds after a colon", id="75 seconds"),
    pytest.param(text("[0-1:60:00] a"), "'1:60:00' has 60 minutes", id="60 minutes"),
    pytest.param(text("[0-1:2:3:4] a"), "'1:2:3:4' is not a time; write it as 4.5, 01:04.5", id="days"),
    pytest.param(
        text("[0-1, blnd(8)] a"), r"line 1: unknown option 'blnd\(8\)'; did you mean 'blend\(8\)'", id="option"
    ),
    pytest.param(text("[0-1, sed=3] a"), "line 1: unknown option 'sed'; did you mean 'seed'", id="option with a value"),
    pytest.param(text("[0-1, cut, hold] a"), "line 1: transition is given twice", id="two transitions"),
    pytest.param(text("[0-1, seed=x] a"), "line 1: seed='x' must be a whole number", id="seed that is not a number"),
    pytest.param(text(f"[0-1, seed={2**63}] a"), "of shot 1 must be a whole number from 0 to", id="seed too large"),
    pytest.param(text("[0-1, motion=] a"), "motion= has no file name", id="no motion file"),
    pytest.param(text("[0-1, motion=none.toml] a"), "line 1: cannot read the motion plan", id="missing motion file"),
    pytest.param(
        text("[0-1] a", "[1-2, blend] b"),
        "line 2: transition 'blend' has no valid length",
        id="blend over nothing",
    ),
    pytest.param(
        text("[0-1] a", "[1-2, blend(0)] b"), "must blend over a whole number of frames above 0", id="blend of 0"
    ),
    pytest.param(
        text("[0-1] a", "[1-2, blend(1.5)] b"), "must blend over a whole number of frames", id="blend of half a frame"
    ),
    pytest.param(text("[0-1] a", "[1-2, blend(-3)] b"), "has no valid length", id="negative blend"),
    pytest.param(toml("[[shot]];prompt"), "story is not TOML", id="broken TOML"),
    pytest.param(toml("[[shots]];prompt='a'"), "story: unknown key 'shots'; did you mean 'shot'", id="shots"),
    pytest.param(toml("[[shot]];promt='a'"), "story, shot 1: unknown key 'promt'; did you mean 'prompt'", id="key"),
    pytest.param(
        toml("[[shot]];prompt='a';zzz=1"), "unknown key 'zzz'; known: prompt, seconds", id="key without a similar one"
    ),
    pytest.param(toml("[[shot]];seconds=4"), "shot 1 has no prompt", id="TOML without prompt"),
    pytest.param(toml("[[shot]];prompt=3"), "shot 1 has no prompt", id="a number for a prompt"),
    pytest.param(toml("[[shot]];prompt='a';seconds=0"), "shot 1 has no duration", id="0 seconds"),
    pytest.param(
        toml("[[shot]];prompt='a';seconds=nan"), "story, shot 1: seconds=nan must be a finite number", id="NaN"
    ),
    pytest.param(toml("[[shot]];prompt='a';seconds=true"), "seconds=True must be a number", id="true"),
    pytest.param(
        toml("[[shot]];prompt='a';start='soon'"),
        "story, shot 1: start: 'soon' is not a time",
        id="text for a time in TOML",
    ),
    pytest.param(toml("[[shot]];prompt='a';end=4;seconds=4"), "shot 1 has both end and seconds", id="end and seconds"),
    pytest.param(toml("[[shot]];prompt='a';seed='x'"), "seed='x' of shot 1 must be a whole number", id="seed"),
    pytest.param(toml("[[shot]];prompt='a';seed=true"), "seed=True of shot 1", id="true for a seed"),
    pytest.param(
        toml("[[shot]];prompt='a';transition='fade'"), "story, shot 1: unknown transition 'fade'", id="transition"
    ),
    pytest.param(toml("[[shot]];prompt='a';transition=3"), "unknown transition '3'", id="a number for a transition"),
    pytest.param(toml("[[shot]];prompt='a';motion=3"), "story, shot 1: motion=3 must be a list of layers", id="motion"),
    pytest.param(toml("[[shot]];prompt='a';motion=[{kind='camra'}]"), "did you mean 'camera'", id="kind of motion"),
    pytest.param(lambda: as_timeline({-1: "a"}), "-1 is not a frame number", id="negative frame"),
    pytest.param(lambda: as_timeline({0.5: "a"}), "0.5 is not a frame number", id="half a frame"),
    pytest.param(lambda: as_timeline({0: ""}), "shot 1 has no prompt", id="empty prompt at a frame"),
    pytest.param(lambda: as_timeline({}), "the story has no shot", id="no frames"),
    pytest.param(
        lambda: as_timeline({"unit": "hours", "shots": [{"prompt": "a", "start": 0}]}),
        "unknown unit of time 'hours'",
        id="unit",
    ),
    pytest.param(
        lambda: as_timeline({"shot": []}), "story: unknown key 'shot'; did you mean 'shots'", id="key of plain data"
    ),
    pytest.param(lambda: as_timeline({"shots": 3}), "must be a list of shots", id="plain data without shots"),
    pytest.param(
        lambda: as_timeline({"shots": [{"start": "1e999999999"}]}),
        "start='1e999999999' must be a number",
        id="number with a huge exponent",
    ),
    pytest.param(
        lambda: as_timeline({"shots": [{"prompt": "a"}]}),
        "shot 1: start=None must be a number",
        id="plain data without start",
    ),
    pytest.param(
        lambda: as_timeline([(4, "a"), "b"]),
        "shot 2 of the list is 'b', which is not .seconds, prompt.",
        id="list with text instead of a pair",
    ),
    pytest.param(
        lambda: as_timeline([("x", "a")]), "shot 1: seconds='x' must be a number", id="list with text for times"
    ),
    pytest.param(lambda: as_timeline([{"prompt": "a"}, 3]), "shot 2 is 3, which is not a table", id="table and number"),
    pytest.param(lambda: as_timeline([]), "is not a story; give a file, text", id="empty list"),
    pytest.param(lambda: as_timeline(3), "story=3 is not a story", id="a number"),
    pytest.param(lambda: as_timeline("none.txt"), "cannot read the story 'none.txt'", id="missing file"),
    pytest.param(lambda: as_timeline("a\0b"), "cannot read the story", id="NUL in a name"),
    pytest.param(lambda: as_timeline("x" * 9999), "cannot read the story", id="a prompt as a file name"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_errors(make: Callable[[], Timeline], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.toml", b"", r"s\.toml: story has no shot; begin one with \[\[shot\]\]"),
        ("s.txt", b"a red ball", r"s\.txt: line 1: 'a red ball' has no time in brackets"),
        ("s.txt", b"# nothing", r"s\.txt: the story has no shot"),
        ("s.txt", b"[0-4] \xff", "cannot read the story"),
        ("s.toml", b"[[shot]]\nprompt='a'\nmotion='m.toml'", r"s\.toml: story, shot 1: cannot read the motion plan"),
    ],
    ids=["empty TOML", "no brackets", "comments only", "not UTF-8", "missing motion"],
)
def test_errors_in_files_name_the_file(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        as_timeline(tmp_path / name)
