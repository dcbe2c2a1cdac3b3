"""A long video's motion: one warped noise over all of it, or one for each shot that moves."""

from __future__ import annotations

from collections.abc import Callable

from videogen.backbones.base import Backbone
from videogen.core.randomness import address
from videogen.longvideo.latent_timeline import LatentTimeline
from videogen.media.video import Video
from videogen.motion import compile
from videogen.schedulers.noise_stream import IidNoise, NoiseStream, WarpedStream
from videogen.schedulers.warped import WarpedNoise

from .request import RenderRequest


def warped_streams(request: RenderRequest, shown: LatentTimeline, backbone: Backbone) -> Callable[[int], NoiseStream] | None:
    """A shot's noise by its number; None for a video without motion. A shot's own motion goes before the whole video's."""
    whole = request.motion_spec()
    if whole is None and all(shot.motion is None for shot in shown.shots):
        return None
    control, geometry = request.motion_control(), backbone.geometry
    strength = request.motion_strength
    assert control is not None and request.height and request.width and strength is not None

    def stream(motion: object, start: int, stop: int, seed: int) -> NoiseStream:
        frames = shown.clock.frames(stop - start)
        plan = compile(motion, frames, request.height, request.width, fps=request.fps, read_video=Video.open)  # type: ignore[arg-type]
        noise = WarpedNoise(
            plan, seed, spatial=geometry.spatial, temporal=geometry.temporal, causal=geometry.single_first,
            **control.warping, strength=strength, device=backbone.device,
        )  # fmt: skip
        return WarpedStream(noise, start)

    over_all = None if whole is None else stream(whole, 0, shown.latents, request.seed)

    def of(index: int) -> NoiseStream:
        shot = shown.shots[index]
        if shot.motion is None:
            return over_all or IidNoise(shot.seed)
        return stream(shot.motion, shot.start, shot.stop, address(shot.seed, "shot", index))

    return of
