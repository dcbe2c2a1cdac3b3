"""Outputs of a hosted pipeline: frames, and audio where it makes some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from videogen.core.errors import UnsupportedError

from ..given import Audio

_UNNAMED_RATE = 24000
_FRAMES = ("frames", "videos", "video", "images")
_AUDIO = ("audio", "audios", "sound")
#: component -> the entry of its configuration that is the rate of the audio that it writes, the last stage first
_RATES = {
    "vocoder": "output_sampling_rate",
    "sound_tokenizer": "sampling_rate",
    "audio_vae": "sample_rate",
}


@dataclass(frozen=True)
class Outputs:
    """frames [b, f, h, w, 3], fp32 in 0..1; audio: of each clip, or None."""

    frames: torch.Tensor
    audio: Audio | None = None


def read_outputs(result: Any, name: str, pipeline: Any = None) -> Outputs:
    """The outputs of a pipeline's call with `output_type="np"`. name: of the pipeline, for errors; pipeline: names the
    rate of its audio (None: 24000)."""
    frames = next((getattr(result, key) for key in _FRAMES if getattr(result, key, None) is not None), None)
    if frames is None and isinstance(result, tuple) and result:
        frames = result[0]
    if frames is None:
        raise UnsupportedError(f"{name} returned {type(result).__name__}, which has no frames")
    pixels = _as_pixels(frames)
    return Outputs(pixels, _read_audio(result, pipeline, len(pixels)))


def audio_rate(pipeline: Any) -> int:
    """Samples per second of the audio that a pipeline generates: that of its vocoder, or else of its audio decoder.

    LTX-2: 24000 (16000 in its latents); Kandinsky 6: 48000; Cosmos 3: 48000, each as the checkpoint configures it.
    """
    for name, entry in _RATES.items():
        config = getattr(getattr(pipeline, name, None), "config", {})
        if config.get(entry):
            return int(config[entry])
    raise UnsupportedError(f"{type(pipeline).__name__} returned audio of an unknown rate; its vocoder names none")


def _read_audio(result: Any, pipeline: Any, clips: int) -> Audio | None:
    """[clip, channel, sample] of whatever the pipeline returns as audio for so many clips."""
    audio = next((getattr(result, key) for key in _AUDIO if getattr(result, key, None) is not None), None)
    if audio is None:
        return None
    if isinstance(audio, list):
        audio = torch.stack([torch.as_tensor(clip) for clip in audio])
    samples = torch.as_tensor(audio).detach().float().cpu()
    if samples.ndim == 2:  # of one clip [channel, sample], or of mono clips
        samples = samples[None] if clips == 1 else samples[:, None]
    elif samples.ndim == 1:
        samples = samples[None, None]
    rate = getattr(result, "sampling_rate", None) or (_UNNAMED_RATE if pipeline is None else audio_rate(pipeline))
    return Audio(samples, int(rate))


def _as_pixels(frames: Any) -> torch.Tensor:
    """[b, f, h, w, 3] of an array, a tensor, or a list of clips or of images."""
    if isinstance(frames, list):
        frames = np.stack([np.asarray(clip) for clip in frames])
    pixels = torch.as_tensor(frames)
    if pixels.dtype == torch.uint8:
        pixels = pixels.float() / 255
    if pixels.ndim == 4:
        pixels = pixels[None]
    if pixels.shape[-1] != 3 and pixels.shape[2] == 3:
        pixels = pixels.permute(0, 1, 3, 4, 2)
    return pixels.float()
