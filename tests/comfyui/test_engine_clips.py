"""Edit, Extend, Render Conditions and Storyboard: the engine's own results, from ComfyUI's types."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.comfyui.engine_double import Controls, Interrupted, take_control
from tests.comfyui.hosts import Host
from tests.tiny import parts
from tests.tiny.table import load_rows
from videogen import Engine, Video
from videogen.backbones.hosting.backbone import HostedBackbone
from videogen.comfyui.engine.graph import note_workflow
from videogen.comfyui.engine.latents import FinalLatents, from_latent, to_latent
from videogen.comfyui.images import to_frames, to_images
from videogen.core.errors import InputError, UnsupportedError
from videogen.media.audio import Audio
from videogen.request.resolved import ResolvedRequest

PROMPT = "a red ball moves right on a black background"
SMALL: dict[str, Any] = {"steps": 2, "seed": 3, "previews": False}
STORY = "[00:00-00:01] a red ball moves right on a black background\n[00:01-00:02, blend(4)] a blue ball moves right"


@pytest.fixture
def nodes(comfy: Host) -> Any:
    return comfy.load_nodes("engine_edit")


@cache
def engine(name: str) -> Engine:
    if name.startswith("embedded"):
        return Engine.load(name)
    return Engine(HostedBackbone(load_rows()[name].build(), name, "tiny"))


def frames(count: int, width: int = 32, height: int = 32) -> np.ndarray:
    return np.stack([np.asarray(image) for image in parts.clip(count, width, height)])


def as_video(clip: np.ndarray, fps: int = 8, sound: bool = False) -> Any:
    """A VIDEO, with half a second of sound."""
    audio = {"waveform": torch.full((1, 1, 4000), 0.25), "sample_rate": 8000} if sound else None
    components = SimpleNamespace(images=to_images(clip), frame_rate=fps, audio=audio)
    return SimpleNamespace(get_components=lambda: components)


@pytest.mark.slow
def test_a_clip_is_restyled_with_its_sound(nodes: Any) -> None:
    clip, model = frames(5), engine("WanVideoToVideoPipeline")
    video, images, audio, *_ = nodes.Edit.execute(
        model, "a red ball", video=as_video(clip, sound=True), strength=0.6, **SMALL
    ).result
    sound = Audio(np.full((1, 4000), 0.25, np.float32), 8000)
    same = model.generate("a red ball", video=Video(clip, 8, audio=sound), strength=0.6, steps=2, seed=3)
    assert np.array_equal(to_frames(images), same.frames) and not np.array_equal(same.frames, clip)
    assert video.get_components().frame_rate == 8 and audio["sample_rate"] == 8000
    assert audio["waveform"].shape[0] == 1 and torch.all(audio["waveform"] == 0.25)


@pytest.mark.slow
def test_a_region_is_generated_within_a_mask(nodes: Any) -> None:
    clip, model, mask = frames(5), engine("WanVACEPipeline"), torch.zeros(1, 32, 32)
    mask[:, 8:24, 8:24] = 1
    reference = torch.rand(1, 32, 32, 3)
    (conditions,) = nodes.RenderConditions.execute(references=reference).result
    result = nodes.Edit.execute(
        model, "a red ball", images=to_images(clip), source_fps=8, mask=mask, conditions=conditions, **SMALL
    ).result
    same = model.generate(
        "a red ball", video=Video(clip, 8), mask=mask.numpy(), references=[to_frames(reference)[0]], steps=2, seed=3
    )
    assert np.array_equal(to_frames(result[1]), same.frames)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({}, "nothing is connected", id="no clip"),
        pytest.param({"video": "a", "images": torch.zeros(1, 8, 8, 3)}, "both are connected", id="two clips"),
        pytest.param({"images": torch.full((5, 32, 32, 3), torch.nan)}, "NaN or infinite", id="NaN"),
        pytest.param({"images": torch.zeros(5, 32, 32)}, r"images=\[5, 32, 32\] must be an IMAGE", id="no channels"),
        pytest.param(
            {"images": torch.zeros(5, 32, 32, 3), "mask": torch.zeros(1, 16, 16)},
            "5 frames of 32x32",
            id="a mask's size",
        ),
    ],
)
def test_an_edit_is_refused(nodes: Any, values: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        nodes.Edit.execute(engine("WanVideoToVideoPipeline"), "a red ball", **values)


def test_conditions_are_collected_in_a_row_and_never_changed(nodes: Any) -> None:
    image = torch.rand(1, 8, 8, 3)
    (first,) = nodes.RenderConditions.execute(image=image, frame=4, control_images=image, control_name="depth").result
    (second,) = nodes.RenderConditions.execute(first, image=image, frame=-1, last_frame=image, fit="pad").result
    assert set(first["images"]) == {4} and set(second["images"]) == {4, -1}
    assert set(second["control"]) == {"depth"} and "last_image" not in first and second["fit"] == "pad"
    with pytest.raises(InputError, match="4 is given twice"):
        nodes.RenderConditions.execute(second, image=image, frame=4)
    with pytest.raises(InputError, match="last_frame has 2 images"):
        nodes.RenderConditions.execute(last_frame=torch.rand(2, 8, 8, 3))


@pytest.mark.parametrize(
    ("name", "size", "way"),
    [
        pytest.param("embedded", 32, "continues clean latents", id="clean latents"),
        pytest.param(
            "WanImageToVideoPipeline", 32, "continues the last frame", id="last frame", marks=pytest.mark.slow
        ),
        pytest.param(
            "LTXConditionPipeline:video",
            64,
            "the model's pipeline continues a video",
            id="video",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_clip_is_extended_and_stays_as_it_was(nodes: Any, name: str, size: int, way: str) -> None:
    model, clip = engine(name), frames(17, size, size)
    video, images, audio, latent, report, manifest = nodes.Extend.execute(
        model, PROMPT, 12, video=as_video(clip, sound=True), **SMALL
    ).result
    found = to_frames(images)
    assert len(found) == 29 and np.array_equal(found[:17], clip) and way in report
    assert not np.array_equal(found[17], clip[-1]) and video.get_components().frame_rate == 8
    assert audio is not None and latent is None and len(json.loads(manifest)["clips"]) >= 1


def test_latents_of_a_clip_continue_it_as_one_render(nodes: Any) -> None:
    model = engine("embedded")
    latents, clip = FinalLatents(), 17
    plain = model.generate(PROMPT, frames=clip, steps=2, seed=3, techniques=[latents], size=(32, 32))
    assert latents.latents is not None
    latent = to_latent(latents.latents, model.backbone)
    _, images, _, longer, report, _ = nodes.Extend.execute(
        model, PROMPT, 45, images=to_images(plain.frames), latent=latent, **SMALL
    ).result
    found = to_frames(images)
    assert (
        len(found) == 62
        and np.array_equal(found[:clip], plain.frames)
        and "clips meet at frames 17, 45, where the model continues clean latents" in report
    )
    with torch.inference_mode():
        all_frames = model.backbone.decode(from_latent(longer, model.backbone))[0]
    levels = (all_frames * 255).round().int().numpy()[: len(found)]
    assert np.abs(levels - found).max() <= 1, "LATENT is in another scale, which rounds"
    with pytest.raises(InputError, match="is not of the clip"):
        nodes.Extend.execute(model, PROMPT, 4, images=to_images(plain.frames[:9]), latent=latent, **SMALL)


def test_an_extension_is_one_run_with_one_bar_and_its_renders_notes(
    nodes: Any, controls: Controls, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms: list[Any] = []
    monkeypatch.setattr("videogen.comfyui.engine.renders.make_room", rooms.append)
    monkeypatch.setattr(ResolvedRequest, "notes", property(lambda self: [f"a note of seed {self.seed // 9}"]))
    report = nodes.Extend.execute(engine("embedded"), PROMPT, 45, images=to_images(frames(17)), **SMALL).result[4]
    assert [update[:2] for update in controls.bars.updates] == [(0, 4), (1, 4), (2, 4), (2, 4), (3, 4), (4, 4)]
    assert len(rooms) == 1 and report.count("note: a note of seed 0") == 1


@pytest.mark.slow
def test_a_model_that_cannot_continue_a_clip_is_refused(nodes: Any) -> None:
    with pytest.raises(UnsupportedError, match="cannot extend a clip; render a longer one"):
        nodes.Extend.execute(engine("WanPipeline"), PROMPT, 12, video=as_video(frames(17)))


@pytest.mark.parametrize(
    ("node", "model", "inputs", "message"),
    [
        pytest.param("Edit", "WanVACEPipeline", {"width": 40}, "width=40 is not a multiple", id="an edit's size"),
        pytest.param(
            "Edit", "WanVACEPipeline", {"solver": "ddpm"}, "solver 'ddpm' does not fit", id="an edit's solver"
        ),
        pytest.param("Edit", "WanVACEPipeline", {"solver": "euler", "mask": ["9", 0]}, None, id="a valid edit"),
        pytest.param("Edit", "WanPipeline", {}, "'WanPipeline' takes a prompt alone", id="a model that takes no video"),
        pytest.param("Extend", "WanPipeline", {}, "cannot extend a clip", id="a model that cannot extend"),
        pytest.param(
            "Extend", "embedded", {"solver": "ddpm"}, "solver 'ddpm' does not fit", id="an extension's solver"
        ),
        pytest.param("Extend", "embedded", {"preset": "fast"}, None, id="a valid extension"),
        pytest.param("Extend", "LTXConditionPipeline:video", {"shift": 3.0}, None, id="a video that is extended"),
        pytest.param("Extend", "WanImageToVideoPipeline", {}, None, id="a last frame that is extended"),
        pytest.param("Edit", "WanVACEPipeline", {"conditions": ["3", 0]}, None, id="references of Render Conditions"),
        pytest.param("Edit", "WanVideoToVideoPipeline", {"conditions": ["3", 0]}, "references", id="of another model"),
        pytest.param("Edit", "WanVACEPipeline", {"conditions": ["9", 0], "width": 40}, None, id="unknown conditions"),
    ],
)
def test_linked_clips_are_checked_before_the_run(
    nodes: Any, monkeypatch: pytest.MonkeyPatch, node: str, model: str, inputs: dict[str, Any], message: str | None
) -> None:
    monkeypatch.setattr("videogen.comfyui.engine.graph.read_chosen_model", lambda _: engine(model).backbone)
    linked = {"engine": ["1", 0], "prompt": PROMPT, "video": ["9", 0]}
    graph = {
        "1": {"class_type": "VideogenLoadModel", "inputs": {"model": "any"}},
        "2": {"class_type": "any", "inputs": {**linked, **inputs}},
        "3": {"class_type": "VideogenRenderConditions", "inputs": {"references": ["9", 0], "fit": "crop"}},
    }
    note_workflow({"prompt": graph})
    checked = getattr(nodes, node)
    checked.hidden = SimpleNamespace(unique_id="2")
    found = checked.validate_inputs()
    assert found is True if message is None else message in str(found), found


@pytest.fixture
def story_nodes(comfy: Host) -> Any:
    return comfy.load_nodes("engine_story")


@pytest.fixture
def controls(comfy: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Controls:
    found = take_control(monkeypatch)
    for name in ("get_output_directory", "get_input_directory"):
        monkeypatch.setattr(found.folders, name, lambda: str(tmp_path))
    return found


@pytest.fixture
def storyboard(story_nodes: Any, controls: Controls) -> Any:
    return story_nodes.Storyboard


def render_story(storyboard: Any, story: str = STORY, **values: Any) -> Any:
    small = {"width": 32, "height": 32, "steps": 2, "seed": 3, "filename_prefix": "videogen/story"}
    return storyboard.execute(engine("embedded"), **{"story": story, **small, **values})


@pytest.mark.slow
def test_a_story_is_a_file_of_the_engine_s_frames(storyboard: Any, tmp_path: Path) -> None:
    result = render_story(storyboard, continuity="replay", policy_settings="overlap=4")
    video, last, path, report, manifest = result.result
    same = engine("embedded").render_long(_request(continuity="replay:overlap=4"), tmp_path / "same.mp4")
    found, expected = Video.open(path), Video.open(same.path)
    assert found == expected and len(found) == 32 and video.get_stream_source() == path and "joined by replay" in report
    assert np.array_equal(to_frames(last)[0], expected.frames[-1]) and json.loads(manifest)["request"]["seed"] == 3
    assert Path(path).parent == tmp_path / "videogen" and not list(tmp_path.rglob("*.job"))


@pytest.mark.slow
def test_an_interrupted_story_resumes(storyboard: Any, controls: Controls, tmp_path: Path) -> None:
    interruption = controls.interruption
    story = STORY.replace("00:02", "00:04")
    all_checks = _count_checks(storyboard, story, interruption)
    (file,) = tmp_path.rglob("*.mp4")
    expected = Video.open(file)
    file.unlink()
    interruption.at = interruption.checks + int(0.8 * all_checks)
    with pytest.raises(Interrupted):
        render_story(storyboard, story)
    assert list(tmp_path.rglob("*.job"))
    again = _count_checks(storyboard, story, interruption, resumed=True)
    assert again < all_checks and Video.open(file) == expected


def _count_checks(storyboard: Any, story: str, interruption: Any, *, resumed: bool = False) -> int:
    before = interruption.checks
    report = render_story(storyboard, story).result[3]
    assert ("segments were done by an earlier run" in report) == resumed
    return int(interruption.checks - before)


def _request(**values: Any) -> Any:
    from videogen import RenderRequest

    return RenderRequest(story=STORY, width=32, height=32, steps=2, seed=3, **values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"story": ""}, "the story is empty", id="nothing"),
        pytest.param({"story": "a red ball"}, "line 1", id="a line without a time"),
        pytest.param({"continuity": "replay", "policy_settings": "overlap=x"}, "overlap", id="a policy's setting"),
        pytest.param({"width": 40}, "width=40 is not a multiple of 16", id="a size of another model"),
        pytest.param({"file": "gone.txt"}, "gone.txt", id="a file that is not there"),
        pytest.param({}, None, id="a valid one"),
    ],
)
def test_a_story_is_refused_before_the_run(storyboard: Any, values: Any, message: str | None) -> None:
    inputs = {"engine": ["1", 0], "story": STORY, **values}
    loader = {"class_type": "VideogenLoadModel", "inputs": {"model": "embedded"}}
    note_workflow({"prompt": {"1": loader, "2": {"class_type": "any", "inputs": inputs}}})
    storyboard.hidden = SimpleNamespace(unique_id="2")
    found = storyboard.validate_inputs()
    assert found is True if message is None else message in found


def test_a_story_s_file_is_watched_and_names_stay_in_the_output_folder(storyboard: Any, tmp_path: Path) -> None:
    assert storyboard.fingerprint_inputs(story=STORY, file="") == ""
    (tmp_path / "story.txt").write_text(STORY)
    before = storyboard.fingerprint_inputs(file="story.txt")
    (tmp_path / "story.txt").write_text(f"{STORY}\n")
    assert before and storyboard.fingerprint_inputs(file="story.txt") != before
    with pytest.raises(InputError, match="not below ComfyUI's output folder"):
        render_story(storyboard, filename_prefix="../elsewhere/story")


@pytest.mark.parametrize("form", ["parent", "absolute", "link", "motion", "motion in TOML", "motion in a file", "mask"])
def test_a_story_reads_no_file_outside_of_the_input_folder(
    storyboard: Any, controls: Controls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    secret, folder = tmp_path / "secret.txt", tmp_path / "input"
    folder.mkdir()
    secret.write_text("password = 'hunter2'")
    (folder / "link.txt").symlink_to(secret)
    (folder / "plan.toml").write_text("[[layer]]\nkind = 'drag'\nmask = '../secret.txt'\npath = [[0, 0], [8, 8]]\n")
    (folder / "story.txt").write_text(f"[00:00-00:01, motion={secret}] a red ball\n")
    monkeypatch.setattr(controls.folders, "get_input_directory", lambda: str(folder))
    values: dict[str, Any] = {
        "parent": {"file": "../secret.txt"},
        "absolute": {"file": str(secret)},
        "link": {"file": "link.txt"},
        "motion": {"story": "[00:00-00:01, motion=../secret.txt] a red ball"},
        "motion in TOML": {"story": f"[[shot]]\nprompt = 'a red ball'\nseconds = 1\nmotion = '{secret}'"},
        "motion in a file": {"file": "story.txt"},
        "mask": {"story": "[00:00-00:01, motion=plan.toml] a red ball"},
    }[form]
    note_workflow({"prompt": {"2": {"class_type": "any", "inputs": {"story": STORY, **values}}}})
    storyboard.hidden = SimpleNamespace(unique_id="2")
    found = storyboard.validate_inputs()
    assert "is not in the folder 'input'" in found and "password" not in found and "hunter2" not in found
    assert storyboard.fingerprint_inputs(**{"file": "", **values}) == "" or values["file"] == "story.txt"
    with pytest.raises(InputError, match="is not in the folder 'input'"):
        render_story(storyboard, **values)
