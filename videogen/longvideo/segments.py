"""Scenes and segments of a long video: which latents are denoised in one go, and which clips the model sees for them.

A *scene* is the part of a video between two cuts, whose clips are joined to each other. A causal VAE decodes a clip's
first latent to a single frame, so a scene after a cut has one latent more, its *warm-up latent*, whose frame is not
part of the video. Latents are counted over the job, warm-up latents included. A *segment* is what is denoised in one go
and stored in the journal: it emits the latents start to stop of its scene.

Clips are described as CoNo's are (`schedulers.cono.look_back.Clip`): slots, which of them copy, which are emitted. How
a scene is divided: `policies`. Importing this loads no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from videogen.schedulers.cono.look_back import Clip
from videogen.schedulers.windows import Windows
from videogen.timeline.latent_timeline import LatentTimeline


@dataclass(frozen=True)
class Scene:
    """Job latents start to stop. warmup: how many of them, the first ones, are not part of the video; video_start: the
    video's latent that follows these."""

    index: int
    start: int
    stop: int
    warmup: int
    video_start: int

    def video_latent(self, latent: int) -> int:
        """The video's latent that a job latent is; a warm-up latent counts as the one after it."""
        return self.video_start + max(0, latent - self.start - self.warmup)


@dataclass(frozen=True)
class Segment:
    """What is denoised in one go. start, stop: the job latents that it emits.

    clips: what the model denoises as one batch; spans: the job latents where each lies; windows: how the model sees a
    clip longer than it can denoise at once; fade: how many of its first emitted latents are cross-faded with those of
    the segment before; first: whether it begins its scene.
    """

    index: int
    scene: Scene
    start: int
    stop: int
    clips: tuple[Clip, ...]
    spans: tuple[range, ...]
    windows: Windows | None = None
    fade: int = 0
    first: bool = False

    @property
    def frames(self) -> int:
        """Latent frames of each clip."""
        return len(self.spans[0])

    @property
    def emitted(self) -> list[tuple[int, int]]:
        """(clip, slot) of each latent that it emits, in order."""
        found = [(number, slot) for number, clip in enumerate(self.clips) for slot in clip.emitted]
        return found[: self.stop - self.start]

    @property
    def joins(self) -> list[int]:
        """Job latents before which a seam could be visible: at its start, within its cross-fade, between its clips."""
        clips = [number for number, _ in self.emitted]
        between = [self.start + i for i in range(1, len(clips)) if clips[i] != clips[i - 1]]
        cross_fades = range(self.start + 1, self.start + min(self.fade, len(clips) - 1) + 1)
        return sorted({*([] if self.first else [self.start]), *cross_fades, *between})


def find_scenes(timeline: LatentTimeline) -> list[Scene]:
    """The scenes of a timeline, in job latents."""
    found: list[Scene] = []
    for index, (start, stop) in enumerate(timeline.scenes()):
        warmup = int(index > 0 and timeline.latent_map.single_first)
        begin = found[-1].stop if found else 0
        found.append(Scene(index, begin, begin + warmup + stop - start, warmup, start))
    return found
