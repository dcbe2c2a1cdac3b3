"""Audio tracks: read as samples, added to a written video, copied from another file.

Video packets are copied as they are, so frames do not change; the manifest in the comment is retained.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from videogen.core.errors import InputError, MediaError
from videogen.core.files import atomic_path

from .excerpt import Budget
from .formats import DEMUXERS
from .metadata import container_options
from .probe import MediaLimits, describe, open_container

#: FFmpeg's names of the audio formats that are read, next to the video formats
_AUDIO_DEMUXERS = f"{DEMUXERS},wav,mp3,flac,aac"
_OPUS_RATE = 48000
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_SAME_TIME_S = 0.01
_BLOCK = 1024  # samples per frame given to the encoder
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}


@dataclass(frozen=True)
class _Track:
    """encoder: of new audio; copied: codecs whose packets the container takes as they are. Those with an encoder delay
    that it cannot store are left out, since they would sound late."""

    encoder: str
    copied: tuple[str, ...]


#: by the suffix of the file
_TRACKS = {
    ".mp4": _Track("aac", ("aac", "ac3", "eac3", "alac")),
    ".webm": _Track("libopus", ("opus", "vorbis")),
    ".mkv": _Track("libopus", ("opus", "vorbis", "flac", "ac3", "eac3", "pcm_s16le")),
}


@dataclass(frozen=True, eq=False)
class Audio:
    """samples: float32 [channels, samples], nominally -1 to 1; rate: samples per second. InputError for other shapes,
    values that are not finite, and rates that are not above 0."""

    samples: np.ndarray
    rate: int

    def __post_init__(self) -> None:
        samples = self.samples
        if (
            not isinstance(samples, np.ndarray)
            or samples.dtype != np.float32
            or samples.ndim != 2
            or 0 in samples.shape
        ):
            kind = getattr(samples, "dtype", type(samples).__name__)
            raise InputError(f"samples must be float32 [channels, samples], not {kind} {list(np.shape(samples))}")
        if not np.isfinite(samples).all():
            raise InputError("samples must be finite; these have NaN or Inf")
        if samples.shape[0] not in _LAYOUTS:
            raise InputError(f"samples have {samples.shape[0]} channels; give {', '.join(map(str, _LAYOUTS))}")
        if isinstance(self.rate, bool) or not isinstance(self.rate, int | np.integer) or self.rate < 1:
            raise InputError(f"rate={self.rate!r} must be a whole number of samples per second")

    @property
    def seconds(self) -> float:
        return self.samples.shape[1] / self.rate


def read_audio(path: str | os.PathLike[str], *, rate: int | None = None, limits: MediaLimits | None = None) -> Audio:
    """The first audio track of a video or of a wav, mp3, flac, ogg or m4a file. rate: to resample to (None: its own).

    In a video, sample 0 is at the time of the first frame: a track that begins later is preceded by silence. MediaError
    where there is no audio, or where it is damaged.
    """
    import av

    with open_container(path, demuxers=_AUDIO_DEMUXERS) as container:
        if not container.streams.audio:
            raise MediaError(f"{path} has no audio track")
        budget, blocks, begins = Budget(Path(path), limits or MediaLimits()), [], None
        try:
            stream = container.streams.audio[0]
            rate = rate or stream.rate
            resampler = av.AudioResampler(format="fltp", layout=stream.layout.name, rate=rate)
            for frame in _decode(container, stream, resampler):
                if begins is None:
                    begins = frame.time or 0.0
                block = frame.to_ndarray()
                budget.spend(block)
                blocks.append(block)
        except (av.FFmpegError, ValueError) as error:
            raise MediaError(f"the audio of {path} cannot be decoded ({str(error)[:160]}); is it damaged?") from error
        offset_s = _offset(container, begins or 0.0)
    if not blocks:
        raise MediaError(f"the audio track of {path} is empty")
    samples = np.concatenate(blocks, axis=1).astype(np.float32, copy=False)
    offset = round(offset_s * rate)
    samples = np.pad(samples, ((0, 0), (offset, 0))) if offset >= 0 else samples[:, -offset:]
    return Audio(np.ascontiguousarray(samples), int(rate))


def add_audio(video: str | os.PathLike[str], audio: Audio) -> None:
    """Add generated audio to a written .mp4, .mkv or .webm, in place of the audio that it has. The file is complete at
    any time.

    Audio longer than the frames is trimmed. It is encoded as AAC in mp4, as Opus (48 kHz) in mkv and webm. InputError
    for other files.
    """
    _remux(Path(video), lambda target, seconds: _Encoded(target, Path(video), audio, seconds))


def copy_audio(source: str | os.PathLike[str], video: str | os.PathLike[str]) -> bool:
    """Add the audio of another file to a written video, trimmed to its frames; False where the source has none.

    Packets are copied where the container takes their codec and their track begins with the frames; otherwise the
    audio is encoded again, as by `add_audio`.
    """
    with open_container(source, demuxers=_AUDIO_DEMUXERS) as container:
        if not container.streams.audio:
            return False
        stream = container.streams.audio[0]
        offset_s = _offset(container, float((stream.start_time or 0) * stream.time_base))
        is_copied = abs(offset_s) < _SAME_TIME_S and stream.codec_context.name in _track(Path(video)).copied
    if is_copied:
        _remux(Path(video), lambda target, seconds: _Copied(target, source, seconds))
    else:
        add_audio(video, read_audio(source))
    return True


class _Encoded:
    """Samples as packets of a new audio track."""

    def __init__(self, target: Any, path: Path, audio: Audio, seconds: Fraction) -> None:
        import av

        track = _track(path)
        rate = _OPUS_RATE if track.encoder == "libopus" or audio.rate not in _AAC_RATES else audio.rate
        layout = _LAYOUTS[len(audio.samples)]
        self._audio, self._seconds, self._layout = audio, seconds, layout
        self._stream = target.add_stream(track.encoder, rate=rate, layout=layout)
        self._resampler = av.AudioResampler(format=self._stream.format.name, layout=layout, rate=rate)

    def packets(self) -> Iterator[Any]:
        import av

        samples = np.clip(self._audio.samples[:, : int(self._seconds * self._audio.rate)], -1, 1)
        for start in range(0, samples.shape[1], _BLOCK):
            block = np.ascontiguousarray(samples[:, start : start + _BLOCK])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=self._layout)
            frame.sample_rate, frame.pts, frame.time_base = self._audio.rate, start, Fraction(1, self._audio.rate)
            for resampled in self._resampler.resample(frame):
                yield from self._stream.encode(resampled)
        for resampled in self._resampler.resample(None):
            yield from self._stream.encode(resampled)
        yield from self._stream.encode(None)


class _Copied:
    """The packets of another file's audio track, up to the end of the frames."""

    def __init__(self, target: Any, source: str | os.PathLike[str], seconds: Fraction) -> None:
        self._stack = ExitStack()
        self._container = self._stack.enter_context(open_container(source, demuxers=_AUDIO_DEMUXERS))
        self._source, self._seconds = self._container.streams.audio[0], seconds
        self._track = target.add_stream_from_template(self._source)

    def packets(self) -> Iterator[Any]:
        with self._stack:
            start = self._start()
            for packet in self._container.demux(self._source):
                if packet.pts is None or (packet.pts - start) * packet.time_base >= self._seconds:
                    continue
                packet.stream, packet.pts = self._track, packet.pts - start
                packet.dts = packet.pts
                yield packet

    def _start(self) -> int:
        """Time of the first frame, or of the first sample where there are no frames, in the track's time base."""
        if self._container.streams.video:
            stream = self._container.streams.video[0]
            return round((stream.start_time or 0) * stream.time_base / self._source.time_base)
        return max(0, self._source.start_time or 0)


def _remux(path: Path, build: Any) -> None:
    """Write a video again with the audio track that `build(container, seconds of the frames)` gives."""
    import av

    _track(path)
    with open_container(path) as source, atomic_path(path, overwrite=True) as partial:
        info, stream = describe(source, path), source.streams.video[0]
        with av.open(str(partial), "w", options=container_options(path)) as target:
            target.metadata.update(source.metadata)
            track = target.add_stream_from_template(stream, framerate=info.fps)
            frames = [packet for packet in source.demux(stream) if packet.size]
            audio = build(target, len(frames) / info.fps)
            for packet in frames:
                packet.stream, packet.duration = track, round(1 / (info.fps * packet.time_base))
                target.mux(packet)
            for packet in audio.packets():
                target.mux(packet)


def _track(path: Path) -> _Track:
    track = _TRACKS.get(path.suffix.lower())
    if track is None:
        raise InputError(f"{path.suffix or path.name!r} files have no audio; write {', '.join(_TRACKS)}")
    return track


def _decode(container: Any, stream: Any, resampler: Any) -> Iterator[Any]:
    for frame in container.decode(stream):
        yield from resampler.resample(frame)
    yield from resampler.resample(None)


def _offset(container: Any, begins_s: float) -> float:
    """Seconds from the first frame of a video to the beginning of its audio; 0 without a video track."""
    if not container.streams.video:
        return 0.0
    stream = container.streams.video[0]
    return begins_s - float((stream.start_time or 0) * stream.time_base)
