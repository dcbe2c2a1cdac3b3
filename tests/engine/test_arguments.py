"""Arguments of the Python entry points: a misspelt keyword names the nearest, a wrong value the right form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

import videogen
from videogen import Continuity, Engine, InputError, RenderRequest, Video
from videogen.attention import SparseAttention
from videogen.backbones.base import Backbone
from videogen.motion import Camera, CutDrag, Drag, Flow, Sprite, Tracks, Transfer, compile_motion
from videogen.motion.control import MotionControl
from videogen.propagation import StepCaching
from videogen.propagation.caches import LibraryCache
from videogen.timeline import Shot, Timeline, Transition

PROMPT = "a red ball"
ENGINE = Engine.__new__(Engine)  # nothing below reaches a model
ENGINE.backbone = cast(Backbone, SimpleNamespace(denoisers=lambda: [torch.nn.Identity()]))
CLIP = Video(np.zeros((2, 8, 8, 3), np.uint8))

Call = Callable[..., Any]


@pytest.mark.parametrize(
    ("call", "misspelt", "meant"),
    [
        (Continuity, "overlp", "overlap"),
        (RenderRequest, "stpes", "steps"),
        (SparseAttention, "recal", "recall"),
        (SparseAttention.adaspa, "sparsty", "sparsity"),
        (StepCaching, "max_eror", "max_error"),
        (LibraryCache, "valu", "value"),
        (MotionControl, "weka", "weak"),
        (Camera, "zooom", "zoom"),
        (Drag, "pth", "path"),
        (Sprite, "imge", "image"),
        (CutDrag, "sprite", "sprites"),
        (Transfer, "vidoe", "video"),
        (Tracks, "flie", "file"),
        (Flow, "regoin", "region"),
        (compile_motion, "frame", "frames"),
        (Shot, "promt", "prompt"),
        (Timeline, "shotz", "shots"),
        (Transition, "lenght", "length"),
        (Engine.load, "devise", "device"),
        (ENGINE.generate, "sead", "seed"),
        (ENGINE.render, "progres", "progress"),
        (ENGINE.render_long, "overwirte", "overwrite"),
        (ENGINE.redo, "atempt", "attempt"),
        (Video, "fsp", "fps"),
        (CLIP.save, "qualty", "quality"),
        (CLIP.contact_sheet, "colums", "columns"),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__qualname__", None),
)
def test_a_misspelt_keyword_names_the_nearest(call: Call, misspelt: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"{misspelt!r}; did you mean {meant!r}"):
        call(**{misspelt: 1})


def test_every_public_configuration_is_covered() -> None:
    """A class of options that the package exports refuses what it does not know."""
    for name in ("Continuity", "RenderRequest", "Video"):
        with pytest.raises(InputError, match="unknown option"):
            getattr(videogen, name)(**{"nonsense": 1})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(
            lambda: ENGINE.render(cast(Any, "a ball")), r"'a ball' is not a RenderRequest.*generate", id="text"
        ),
        pytest.param(
            lambda: ENGINE.render_long(cast(Any, {}), "a.mp4"), r"request=\{\} is not a RenderRequest", id="a dict"
        ),
        pytest.param(lambda: ENGINE.generate(PROMPT, progress=cast(Any, 3)), "progress=3 must be a", id="progress"),
        pytest.param(
            lambda: ENGINE.render_long(RenderRequest(PROMPT), "a.mp4", progress=cast(Any, "x")),
            "progress='x'",
            id="long",
        ),
        pytest.param(lambda: ENGINE.redo("a.mp4", 1, progress=cast(Any, 3)), "progress=3", id="progress of redo"),
        pytest.param(
            lambda: ENGINE.generate(PROMPT, preview_every=-1), "preview_every=-1 must be a whole number", id="previews"
        ),
        pytest.param(lambda: ENGINE.generate(cast(Any, [])), r"prompt=\[\] has no text", id="no prompts"),
        pytest.param(lambda: Engine.load(cast(Any, 5)), "model=5 is not a name", id="a number for a model"),
        pytest.param(lambda: CLIP.save("a.mp4", quality=cast(Any, "high")), "quality='high' must be", id="quality"),
        pytest.param(lambda: CLIP.save("a.mp4", quality=cast(Any, 1.5)), "quality=1.5 must be", id="a fraction"),
        pytest.param(lambda: CLIP.contact_sheet(columns=0), "columns=0 must be", id="no columns"),
    ],
)
def test_a_wrong_value_is_named(call: Call, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        call()
    assert not list(tmp_path.iterdir())
