"""Drag strings and TOML plans: their meaning, and the message for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from videogen import InputError
from videogen.motion import Camera, Compose, CutDrag, Drag, Flow, Sprite, Tracks, Transfer, load_plan, parse_drag

DRAGS = [
    ("10,32>50,32", Drag(None, ((10, 32), (50, 32)))),
    (" 10, 32 > 30,20>50,32 ", Drag(None, ((10, 32), (30, 20), (50, 32)))),
    (
        "10,32>50,32;radius=9;scale=1.5;rotate=-30;ease=out;depth=.5",
        Drag((10, 32, 9), ((10, 32), (50, 32)), 1.5, -30, "out", 0.5),
    ),
]


@pytest.mark.parametrize(("text", "drag"), DRAGS)
def test_drags(text: str, drag: Drag) -> None:
    assert parse_drag(text) == drag


BAD_DRAGS = [
    ("10,32", "needs at least two points; write it as '10,32>50,32'"),
    ("10,32>50", "'50' in drag '10,32>50' is not a point"),
    ("", "is not a point"), ("a,b>1,2", "'a' in drag 'a,b>1,2' is not a number"), ("1,1>2,2;scale", "is not an option"),
    ("1,1>2,2;raduis=3", "unknown drag key 'raduis'; did you mean 'radius'"), ("1,1>2,2;radius=0", "has no radius"),
    ("1,1>2,2;ease=slow", "unknown ease 'slow'"), ("1,1>inf,2", "finite"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD_DRAGS)
def test_bad_drags(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_drag(text)


ALL_LAYERS = """
[[layer]]
kind = "drag"
box = [4, 24, 20, 40]
path = [[12, 32], [50, 32]]
scale = 1.5
[[layer]]
kind = "camera"
zoom = 1.2
ease = "in_out"
[[layer]]
kind = "cut_drag"
[[layer.sprites]]
polygon = [[1, 1], [9, 1], [9, 9]]
path = [[5, 5], [20, 5]]
[[layer.sprites]]
image = "ball.png"
path = [[-4, 5], [20, 5]]
"""


def write_plan(folder: Path, text: str) -> Path:
    (folder / "plan.toml").write_text(text, encoding="utf-8")
    return folder / "plan.toml"


def test_a_plan_file(tmp_path: Path) -> None:
    sprites = (
        Sprite(((1, 1), (9, 1), (9, 9)), ((5, 5), (20, 5))),
        Sprite(None, ((-4, 5), (20, 5)), image=tmp_path / "ball.png"),
    )
    drag = Drag((4, 24, 20, 40), ((12, 32), (50, 32)), 1.5)
    assert load_plan(write_plan(tmp_path, ALL_LAYERS)) == Compose(
        (drag, Camera(zoom=1.2, ease="in_out"), CutDrag(sprites))
    )


FILES = [
    pytest.param(
        'kind = "transfer"\nvideo = "c.mp4"\ndisc = [9, 9, 4]',
        lambda p: Transfer(p / "c.mp4", (9, 9, 4)),
        id="transfer",
    ),
    pytest.param('kind = "tracks"\nfile = "t.npz"', lambda p: Tracks(p / "t.npz"), id="tracks"),
    pytest.param(
        'kind = "tracks"\nfile = "t.npz"\nsize = [640, 480]\ntiming = "stretch"',
        lambda p: Tracks(p / "t.npz", size=(640, 480), timing="stretch"),
        id="tracks of another size and length",
    ),
    pytest.param(
        'kind = "transfer"\nvideo = "c.mp4"\ntiming = "stretch"',
        lambda p: Transfer(p / "c.mp4", timing="stretch"),
        id="transfer of another length",
    ),
    pytest.param('kind = "flow"\nfile = "flows"\nmask = "m.png"', lambda p: Flow(p / "flows", p / "m.png"), id="flow"),
]


@pytest.mark.parametrize(("text", "make"), FILES)
def test_names_are_relative_to_the_plan(text: str, make, tmp_path: Path) -> None:
    assert load_plan(write_plan(tmp_path, "[[layer]]\n" + text)) == make(tmp_path)


BAD = [
    pytest.param("[[layer]", "is not TOML", id="not TOML"),
    pytest.param("", r"has no layer; begin one with \[\[layer\]\]", id="empty"),
    pytest.param("[layer]\nkind = 'camera'", "has no layer", id="one bracket"),
    pytest.param("[[layers]]\nkind = 'camera'", "unknown key 'layers'; did you mean 'layer'", id="layers"),
    pytest.param("[[layer]]\npan = 8", "layer 1 has no kind; use one of camera, drag", id="no kind"),
    pytest.param("[[layer]]\nkind = 'camra'", "unknown kind of layer 'camra'; did you mean 'camera'", id="kind"),
    pytest.param("[[layer]]\nkind = 'camera'\nzom = 2", "layer 1: unknown key 'zom'; did you mean 'zoom'", id="key"),
    pytest.param("[[layer]]\nkind = 'camera'\nzoom = -2", "layer 1: zoom=-2 must be above 0", id="value"),
    pytest.param(
        "[[layer]]\nkind = 'drag'\nbox = [1, 2]\npath = [[1, 2]]", "box=.* needs 4 numbers", id="box with 2 numbers"
    ),
    pytest.param(
        "[[layer]]\nkind = 'drag'\npolygon = [1, 2, 3]\npath = [[1, 2]]", "needs points", id="polygon of numbers"
    ),
    pytest.param(
        "[[layer]]\nkind = 'drag'\nbox = [1, 2, 3, 4]\nmask = 'm.png'", "mask and box are both given", id="two regions"
    ),
    pytest.param(
        "[[layer]]\nkind = 'drag'\nmask = 3\npath = [[1, 2]]", "3 is not a file name", id="a number for a file"
    ),
    pytest.param("[[layer]]\nkind = 'flow'", "'file' is missing; name the file", id="no file"),
    pytest.param(
        "[[layer]]\nkind = 'cut_drag'\n[[layer.sprites]]\npth = []",
        "unknown key 'pth'; did you mean 'path'",
        id="sprite's key",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_bad_plans(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        load_plan(write_plan(tmp_path, text))


def test_a_missing_plan(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the motion plan"):
        load_plan(tmp_path / "none.toml")
