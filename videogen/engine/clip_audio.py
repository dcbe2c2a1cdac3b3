"""Audio of a clip: what the model generated with the frames, or else the source video's own."""

from __future__ import annotations

import numpy as np

from videogen.backbones.base import Backbone
from videogen.backbones.clip import Clip
from videogen.media.audio import Audio, read_audio
from videogen.media.source_info import probe_source
from videogen.media.video import Video
from videogen.request.resolved import ResolvedRequest
from videogen.request.source_fitting import retains_audio


def read_audio_of(clip: Clip | None, index: int, request: ResolvedRequest, backbone: Backbone) -> Audio | None:
    """The audio of one clip of a batch, trimmed to its frames; None where there is none."""
    generated = None if clip is None else clip.audio
    if generated is not None:
        samples = np.ascontiguousarray(generated.samples[index].float().cpu().numpy())
        return _trim(Audio(samples, generated.rate), request)
    source = request.conditions.video
    if source is None:
        return None
    info = probe_source(source, "video")
    if not info.has_audio or not retains_audio(info, request.exact_fps, backbone):
        return None
    audio = source.audio if isinstance(source, Video) else read_audio(source)
    return None if audio is None else _trim(audio, request)


def _trim(audio: Audio, request: ResolvedRequest) -> Audio:
    """At most as long as the frames."""
    longest = int(request.frames * audio.rate / request.exact_fps)
    return audio if audio.samples.shape[1] <= longest else Audio(audio.samples[:, :longest].copy(), audio.rate)
