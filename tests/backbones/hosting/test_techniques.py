"""Each cell of the table of techniques: what it says runs, and what it refuses raises that reason before a step."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from tests.lora_files import denoiser_of, write_lora
from tests.tiny import parts
from tests.tiny.table import LINEAGES, Tiny, TinyCall, load_rows
from videogen import Cancelled, Video
from videogen.backbones.hosting.pipelines import PIPELINES
from videogen.backbones.hosting.techniques_table import TECHNIQUES, find_refusal, frame_rule
from videogen.backbones.registry import FAMILIES
from videogen.core.errors import UnsupportedError
from videogen.engine.engine import Engine
from videogen.engine.options import build_requests
from videogen.motion.camera import Camera
from videogen.motion.drag import Drag
from videogen.sampling.progress import Progress

from .cases import STEPS, build_engine, class_of, hosted_rows, request_options

PROMPT = "a red ball moves right"
#: keywords of each technique that is one of a single clip
SINGLE: dict[str, dict[str, Any]] = {
    "attention": {
        "attention": {
            "policy": "window",
            "sparsity": 0.5,
            "min_length": 1,
            "key_block": 1,
            "query_block": 1,
            "rows": None,
        }
    },
    "propagation": {"propagate": "every:2"},
    "roll_back": {"propagate": "max_error:0.5"},
    "warped_noise": {"motion": Camera(pan=4), "motion_backend": "warped_noise"},
    "dual_clock": {"motion": Drag(path=[(8, 8), (16, 8)]), "motion_backend": "dual_clock"},
    "previews": {"preview_every": 1},
}
#: of a long video; streaming and resuming are those of any
LONG = {
    "replay": "replay", "windows": "co_denoise", "stream": "replay", "resume": "replay", "blend": "replay",
    "i2v_prefix": "i2v_prefix",
    "keyframes": "i2v_prefix",
}  # fmt: skip

#: of one clip, with other frames than the plain render
CHANGES = ("warped_noise", "dual_clock", "lora", "propagation")

#: classes whose image input cannot be used here, and why
NO_IMAGE_HERE = {"Cosmos2_5_PredictBasePipeline": "it is read by torchvision"}


def run(engine: Engine, technique: str, options: dict[str, Any]) -> np.ndarray:
    """Frames with a technique."""
    if technique in LONG:
        latents = engine.backbone.geometry.frame_map
        window = max(options["frames"], latents.round_up(latents.frame_count(3)))  # the least that clips are joined by
        frames = latents.round_up(2 * window)
        long = {"frames": frames, "window": window, "continuity": LONG[technique]}
        if technique == "blend":
            halves = {0: PROMPT, frames // 2: "a blue square spins"}  # `hold`: weights of 0 and 1 per latent frame
            return engine.generate(story=halves, **options | long).frames
        if technique == "i2v_prefix":
            long |= {"window": options["frames"], "last_image": None}
        if technique == "keyframes":
            width, height = options["size"]
            ends = {0: parts.image(width, height), options["frames"] - 1: parts.image(width, height, 90)}
            long |= {"window": options["frames"], "image": None, "last_image": None, "images": ends}
        video = engine.generate(PROMPT, **options | long)
        if technique in ("stream", "resume"):
            rendered = render_to_disk(engine, options | long, interrupt=technique == "resume")
            assert np.array_equal(rendered, video.frames), technique
        check_segments(video, technique)
        return video.frames
    if technique == "lora":
        with TemporaryDirectory() as folder:
            file = write_lora(Path(folder) / "a.safetensors", denoiser_of(engine.backbone.pipeline))
            return engine.generate(PROMPT, **options, loras=[file]).frames
    reports: list[Progress] = []
    video = engine.generate(PROMPT, **options | SINGLE[technique], progress=reports.append)
    if technique == "previews":
        assert any(report.preview is not None for report in reports)
    check_report(video, technique)
    return video.frames


def render_to_disk(engine: Engine, options: dict[str, Any], *, interrupt: bool) -> np.ndarray:
    """Frames of a video that is decoded as it is rendered, losslessly. interrupt: after the first segment or window,
    and then resumed."""
    request = build_requests(PROMPT, options)[0]
    with TemporaryDirectory() as folder:
        output = Path(folder) / "clip"
        if interrupt:
            with pytest.raises(Cancelled):
                engine.render_long(request, output, progress=lambda step: step.step <= STEPS)
        written = engine.render_long(request, output)
        assert written.resumed == int(interrupt)
        return Video.open(output).frames


def check_segments(video: Video, technique: str) -> None:
    """That a long video was made of several clips or windows."""
    assert video.manifest is not None
    long = video.manifest["measured"]["long"]
    assert len(long["segments"]) > 1 or technique == "windows", technique


def check_report(video: Video, technique: str) -> None:
    """That a technique of one clip did something, by its report."""
    assert video.manifest is not None
    measured = video.manifest["measured"]
    if technique == "attention":
        assert measured["attention"]["mean_density"] < 1
    if technique == "propagation":
        evaluated, _, steps = measured["propagation"]["evaluated"].removesuffix(" steps").partition(" of ")
        assert int(evaluated) < int(steps)
    if technique == "roll_back":
        assert measured["propagation"]["steps"] > 0


_CORE = ("AnimateDiffPipeline", "CogVideoXPipeline", "LTXPipeline", "StableVideoDiffusionPipeline", "WanPipeline")


def with_few_core_rows(rows: list[Any]) -> list[Any]:
    """The rows of one DiT and one UNet of each lineage; the others are slow."""
    return [row if row.marks or row.id in _CORE else pytest.param(*row.values, id=row.id, marks=pytest.mark.slow)
            for row in rows]  # fmt: skip


@pytest.mark.parametrize("row", with_few_core_rows(hosted_rows()))
def test_what_the_table_says_is_so(row: Tiny) -> None:
    frames, width, height = row.sizes[0]
    call = TinyCall(frames, width, height, steps=STEPS, guided=row.guides)
    engine, options = build_engine(row, call), request_options(row, call)
    plain = engine.generate(PROMPT, **options).frames
    given = tuple(name for name in row.given(call) if name != "strength")
    if row.name == "AllegroPipeline":
        options["solver"] = "euler"  # its own adds noise at each step, for which no error can be promised
    for technique in TECHNIQUES:
        refusal = engine.backbone.refusal(technique, given)
        assert refusal or not find_refusal(PIPELINES[class_of(row)], technique, given), "checkpoints refuse more"
        if technique == "i2v_prefix" and class_of(row) in NO_IMAGE_HERE:
            continue
        if refusal is None:
            made = run(engine, technique, options)
            assert made.shape[1:] == plain.shape[1:] and made.std() > 1, technique
            if technique in CHANGES:
                assert not np.array_equal(made, plain), f"{technique} changed nothing"
            continue
        with pytest.raises(UnsupportedError) as raised:
            run(engine, technique, options)
        assert refusal.reason in str(raised.value) and row.name in str(raised.value), technique


def test_the_classes_without_adapters_are_the_librarys() -> None:
    import diffusers

    for name in PIPELINES:
        if not hasattr(diffusers, name):  # of a later version
            continue
        kinds = [
            getattr(diffusers, kind)
            for role, parameter in inspect.signature(getattr(diffusers, name).__init__).parameters.items()
            if role.startswith(("transformer", "unet"))
            for kind in re.findall(r"\b\w*(?:UNet|Transformer)\w*\b", str(parameter.annotation))
            if hasattr(diffusers, kind)
        ]
        refusal = find_refusal(PIPELINES[name], "lora")
        assert (refusal is None) == all(hasattr(kind, "load_lora_adapter") for kind in kinds), name
        assert refusal is None or refusal.reason.endswith(kinds[0].__name__)


def test_windows_are_refused_where_conditions_are_given() -> None:
    row = PIPELINES["WanVACEPipeline"]
    assert find_refusal(row, "windows", ("video",)) is not None


@pytest.mark.parametrize("row", hosted_rows())
def test_the_rule_of_lengths_is_the_pipelines(row: Tiny) -> None:
    frames, width, height = row.sizes[0]
    geometry = build_engine(row, TinyCall(frames, width, height)).backbone.geometry
    rule = frame_rule(PIPELINES[class_of(row)])
    expected = f"{geometry.temporal}k+1" if geometry.single_first else f"{geometry.temporal}k"
    assert rule == ("any" if geometry.temporal == 1 else expected)


def test_every_hosted_class_has_a_row_of_the_tests_or_is_known_to_have_none() -> None:
    classes = {class_of(row) for row in load_rows().values()}
    missing = {
        name for lineage in LINEAGES for name in getattr(import_module(f"tests.tiny.{lineage}"), "UNAVAILABLE", {})
    }
    assert PIPELINES.keys() - classes - missing == set()


def test_handwritten_families_are_in_the_table_too() -> None:
    assert {name for family in FAMILIES.values() for name in family.pipelines} <= PIPELINES.keys()
