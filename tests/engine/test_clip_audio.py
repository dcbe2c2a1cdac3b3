"""Audio of a clip: the model's own or its source video's, in the video and in the written file."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tiny import parts
from tests.tiny.table import TinyCall, load_rows
from videogen import Engine, RenderRequest, Video
from videogen.backbones.hosting.backbone import HostedBackbone
from videogen.backbones.hosting.outputs import audio_rate
from videogen.media.audio import Audio, add_audio, read_audio

EDITS = "WanVideoToVideoPipeline"


@cache
def engine(name: str) -> Engine:
    return Engine(HostedBackbone(load_rows()[name].build(), name, "tiny"))


def sine(seconds: float, rate: int = 44100) -> Audio:
    return Audio(0.3 * np.sin(np.arange(int(seconds * rate)) * 0.06)[None].astype(np.float32), rate)


def with_sound(folder: Path, frames: int = 5, fps: int = 8, seconds: float = 3) -> Path:
    path = folder / "source.mp4"
    Video(np.stack([np.asarray(image) for image in parts.clip(frames, 32, 32)]), fps).save(path)
    add_audio(path, sine(seconds))
    return path


def edit(video: Any, **options: Any) -> Video:
    return engine(EDITS).generate("a red ball", video=video, size=(32, 32), steps=2, **options)


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        pytest.param("LTX2Pipeline", "output_sampling_rate", id="LTX-2: of its vocoder"),
        pytest.param("Kandinsky6TI2VAPipeline", "sample_rate", id="Kandinsky 6: of its audio VAE"),
    ],
)
def test_generated_audio_has_the_rate_of_the_checkpoint(name: str, rate: str, tmp_path: Path) -> None:
    row = load_rows()[name]
    frames, width, height = row.sizes[0]
    options = {key: row.call(TinyCall(frames, width, height))[key] for key in row.options if key not in ("fps",)}
    options = {key: value for key, value in options.items() if key in engine(name).backbone.option_names}
    video = engine(name).generate("a red ball", frames=frames, size=(width, height), steps=2, options=options or None)
    pipeline = engine(name).backbone.pipeline
    component = pipeline.vocoder if rate == "output_sampling_rate" else pipeline.audio_vae
    assert video.audio is not None
    assert video.audio.rate == audio_rate(pipeline) == component.config[rate]
    assert video.audio.seconds == pytest.approx(frames / float(video.fps), abs=0.2)
    assert video.manifest is not None
    assert video.manifest["measured"]["audio"] == {"channels": len(video.audio.samples), "rate": video.audio.rate}


def test_audio_is_written_and_the_manifest_stays(tmp_path: Path) -> None:
    frames = np.stack([np.asarray(image) for image in parts.clip(8, 32, 32)])
    video = Video(frames, 8, {"schema": 1, "request": {}}, audio=sine(2))
    for name in ("a.mp4", "a.webm"):
        video.save(tmp_path / name)
        assert read_audio(tmp_path / name).seconds == pytest.approx(1, abs=0.05)
        found = Video.open(tmp_path / name)
        assert len(found) == 8 and found.manifest == video.manifest


@pytest.mark.parametrize("name", ["a.gif", "folder"])
def test_formats_without_sound_say_so(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = np.stack([np.asarray(image) for image in parts.clip(3, 32, 32)])
    with caplog.at_level(logging.INFO, "videogen"):
        Video(frames, 8, audio=sine(1)).save(tmp_path / name)
    assert any("is silent" in record.getMessage() and ".mp4" in record.getMessage() for record in caplog.records)


def test_a_source_s_sound_is_retained_as_long_as_the_frames(tmp_path: Path) -> None:
    video = edit(with_sound(tmp_path))
    assert video.audio is not None and video.fps == 8
    assert video.audio.seconds == pytest.approx(5 / 8, abs=0.01)
    assert np.abs(video.audio.samples).max() > 0.1
    again = edit(Video(video.frames, 8, audio=sine(9)))
    assert again.audio is not None and again.audio.seconds == pytest.approx(5 / 8, abs=0.01)


def test_a_source_s_sound_at_another_rate_is_left_out_with_a_note(tmp_path: Path) -> None:
    source = with_sound(tmp_path)
    video = edit(source, fps=16)
    assert video.audio is None
    notes = RenderRequest("", conditions={"video": source}, fps=16).resolve(engine(EDITS).backbone).notes
    assert any("the sound of video is not retained: it has 8 frames per second and the clip 16" in n for n in notes)


def test_sound_of_a_video_in_memory_is_left_out_where_a_file_s_is() -> None:
    frames = np.stack([np.asarray(image) for image in parts.clip(9, 64, 32)])
    source = Video(frames, 8, audio=sine(9))
    assert edit(source, fps=16).audio is None
    notes = RenderRequest("", conditions={"video": source}, fps=16).resolve(engine(EDITS).backbone).notes
    assert any("the sound of video is not retained: it has 8 frames per second" in note for note in notes)
    continued = engine("LTXConditionPipeline").generate(
        "a red ball", video=source, size=(64, 32), frames=17, steps=2, options={"max_sequence_length": 16}
    )
    assert continued.audio is None


def test_a_silent_source_makes_a_silent_clip() -> None:
    assert edit(parts.clip(5, 32, 32)).audio is None


def test_a_part_of_a_clip_has_its_part_of_the_audio() -> None:
    clip = Video(np.zeros((8, 32, 32, 3), np.uint8), 8, audio=sine(1, 8000))
    part = clip[2:4]
    assert part.audio is not None and clip.audio is not None
    assert np.array_equal(part.audio.samples, clip.audio.samples[:, 2000:4000])
    assert clip[::2].audio is None and clip[::-1].audio is None
