"""Audio tracks: read, added and copied; frames and manifest stay as they are."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from videogen import InputError, MediaError, Video
from videogen.media.audio import Audio, add_audio, copy_audio, read_audio
from videogen.media.metadata import read_manifest

from .test_foreign_videos import remux, write
from .test_round_trips import MANIFEST, clip


def tones(seconds: float = 2.0, rate: int = 48000, channels: int = 2) -> Audio:
    """A rising tone per channel, so that every shift is measurable."""
    times = np.arange(round(seconds * rate)) / rate
    rows = [0.5 * np.sin(2 * np.pi * (300 * (c + 1) + 200 * times) * times) for c in range(channels)]
    return Audio(np.asarray(rows, np.float32), rate)


def write_audio(path: Path, audio: Audio, codec: str) -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(
            codec, rate=audio.rate, layout="stereo" if len(audio.samples) == 2 else "mono"
        )
        resampler = av.AudioResampler(format=stream.format.name, layout=stream.layout.name, rate=audio.rate)
        for start in range(0, audio.samples.shape[1], 1024):
            block = np.ascontiguousarray(audio.samples[:, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=stream.layout.name)
            frame.sample_rate, frame.pts, frame.time_base = audio.rate, start, Fraction(1, audio.rate)
            for part in resampler.resample(frame):
                container.mux(stream.encode(part))
        container.mux(stream.encode())
    return path


def error(found: Audio, expected: Audio, shift: int = 0) -> float:
    """RMS difference over the common part, relative to the expected one."""
    count = min(found.samples.shape[1], expected.samples.shape[1]) - 4096
    difference = found.samples[:, 2048:count] - expected.samples[:, 2048 - shift : count - shift]
    return float(np.sqrt((difference**2).mean()) / np.sqrt((expected.samples**2).mean()))


@pytest.mark.parametrize(
    ("name", "codec", "worst"),
    [("a.wav", "pcm_s16le", 1e-3), ("a.flac", "flac", 1e-3), ("a.mp3", "libmp3lame", 0.1), ("a.ogg", "libopus", 0.1)],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_audio_files_are_read(tmp_path: Path, name: str, codec: str, worst: float, channels: int) -> None:
    expected = tones(channels=channels)
    found = read_audio(write_audio(tmp_path / name, expected, codec))
    assert found.rate == 48000 and found.samples.shape[0] == channels and found.samples.dtype == np.float32
    assert found.seconds == pytest.approx(2, abs=0.06) and error(found, expected) < worst
    assert read_audio(tmp_path / name, rate=16000).seconds == pytest.approx(2, abs=0.06)


def written(path: Path, frames: np.ndarray) -> Path:
    """A video of ours; mkv is not written by `Video.save`."""
    if path.suffix != ".mkv":
        return Video(frames, 10, MANIFEST).save(path)
    return remux(Video(frames, 10).save(path.with_suffix(".mp4")), path)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv"])
@pytest.mark.parametrize(("rate", "channels"), [(48000, 2), (44100, 1), (24000, 1), (16000, 2)])
def test_generated_audio_is_written(tmp_path: Path, suffix: str, rate: int, channels: int) -> None:
    path, expected = written(tmp_path / f"a{suffix}", clip(20)), tones(3, rate, channels)
    before = Video.open(path)
    add_audio(path, expected)
    after, found = Video.open(path), read_audio(path, rate=rate)
    assert np.array_equal(after.frames, before.frames) and after.fps == before.fps == 10
    assert after.times_s is not None and before.times_s is not None and np.allclose(after.times_s, before.times_s)
    assert read_manifest(path) == (None if suffix == ".mkv" else MANIFEST) and len(after.notes) == 1
    assert found.samples.shape[0] == channels and found.seconds == pytest.approx(2, abs=0.06), "trimmed to the frames"
    assert error(found, expected) < 0.15
    add_audio(path, tones(1, rate, channels))
    assert read_audio(path).seconds == pytest.approx(1, abs=0.06), "replaced"


def transport_stream(path: Path, audio: Audio) -> Path:
    add_audio(written(path.with_name("s.mp4"), clip(30)), audio)
    with av.open(str(path.with_name("s.mp4"))) as reading, av.open(str(path), "w") as writing:
        tracks = {stream.index: writing.add_stream_from_template(stream) for stream in reading.streams}
        for packet in reading.demux():
            if packet.size:
                packet.stream = tracks[packet.stream_index]
                writing.mux(packet)
    return path


@pytest.mark.parametrize("target", [".mp4", ".webm", ".mkv"])
@pytest.mark.parametrize("source", ["a.mp4", "a.webm", "a.ts", "a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_audio_of_a_source_is_copied(tmp_path: Path, source: str, target: str) -> None:
    expected = tones(3)
    codecs = {"a.wav": "pcm_s16le", "a.flac": "flac", "a.ogg": "libopus", "a.mp3": "libmp3lame"}
    if source in codecs:
        origin = write_audio(tmp_path / source, expected, codecs[source])
    elif source == "a.ts":  # begins at 1.4 s
        origin = transport_stream(tmp_path / source, expected)
    else:
        origin = written(tmp_path / source, clip(30))
        add_audio(origin, expected)
    path = written(tmp_path / f"b{target}", clip(20))
    before = Video.open(path)
    assert copy_audio(origin, path)
    found = read_audio(path)
    after = Video.open(path)
    assert np.array_equal(after.frames, before.frames)
    assert after.times_s is not None and before.times_s is not None and np.allclose(after.times_s, before.times_s)
    assert found.seconds == pytest.approx(2, abs=0.06) and error(found, expected) < 0.2


def test_what_has_no_audio(tmp_path: Path) -> None:
    silent = Video(clip(5), 10).save(tmp_path / "a.mp4")
    content = silent.read_bytes()
    assert not copy_audio(silent, silent) and silent.read_bytes() == content
    with pytest.raises(MediaError, match="has no audio track"):
        read_audio(silent)
    with pytest.raises(MediaError, match="not a readable"):
        read_audio(Path(__file__))
    for name in ("a.gif", "b"):
        with pytest.raises(InputError, match="have no audio"):
            add_audio(Video(clip(2), 10).save(tmp_path / name), tones())


def test_silence_of_other_programs_is_read(tmp_path: Path) -> None:
    found = read_audio(write(tmp_path / "a.mkv", clip(10), sound_s=1))
    assert found.seconds == pytest.approx(1, abs=0.03) and not found.samples.any()


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros((2, 9)), 48000, "must be float32"),
        (np.zeros(9, np.float32), 48000, r"\[channels, samples\]"),
        (np.full((1, 9), np.nan, np.float32), 48000, "must be finite"),
        (np.zeros((3, 9), np.float32), 48000, "3 channels"),
        (np.zeros((1, 9), np.float32), 0, "rate=0"),
    ],
)
def test_samples_are_checked(samples: np.ndarray, rate: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Audio(samples, rate)
