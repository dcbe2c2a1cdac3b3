"""A long video cut into segments: which latent frames each one makes, which clips the model sees for it, who copies whom.

A *scene* is what hangs together, between cuts. A causal VAE takes a clip's first latent for a single picture, so a
scene that begins after a cut has one latent more, its *lead*, whose only frame is not shown. Latents are counted over
the whole job, leads included. A *segment* is what is made in one go and kept in the journal: it emits latents start to
stop of its scene.

Clips are described as CoNo's are (`schedulers.cono.Clip`): slots, guides, emitted slots. The chain policies have one
clip a segment, look_back three, the sectioned policies one long clip that the model sees through windows. Importing this
loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from videogen.core.errors import InputError
from videogen.request.continuity import Continuity
from videogen.schedulers.cono.look_back import SOURCE, Clip, Guide, LookBack, look_back
from videogen.schedulers.windows import Windows
from videogen.timeline.latent_timeline import LatentTimeline

SECTIONED = ("co_denoise", "window_attention")


@dataclass(frozen=True)
class Scene:
    """Job latents start to stop, of which the first `lead` are not shown; shown: the video's latent at start + lead."""

    index: int
    start: int
    stop: int
    lead: int
    shown: int

    def video_latent(self, job: int) -> int:
        """Which latent of the video a job latent is; a lead counts as the one that it leads."""
        return self.shown + max(0, job - self.start - self.lead)


@dataclass(frozen=True)
class Segment:
    """What is made in one go. start, stop: job latents that it emits.

    clips: what the model sees, in order; spans: where each lies, job latents; windows: how the model sees a clip longer
    than its own; fade: its first emitted latents that are cross-faded with what the segment before had there. first: of
    its scene.
    """

    index: int
    scene: Scene
    start: int
    stop: int
    clips: tuple[Clip, ...]
    spans: tuple[range, ...]
    windows: Windows | None
    fade: int
    first: bool

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
        """Job latents before which a seam could show: where it begins, all along its cross-fade, where clips meet in
        it."""
        clips = [number for number, _ in self.emitted]
        met = [self.start + i for i in range(1, len(clips)) if clips[i] != clips[i - 1]]
        faded = range(self.start + 1, self.start + min(self.fade, len(clips) - 1) + 1)
        return sorted({*([] if self.first else [self.start]), *faded, *met})


def scenes(shown: LatentTimeline) -> list[Scene]:
    """The scenes of a timeline, in job latents."""
    found: list[Scene] = []
    for index, (start, stop) in enumerate(shown.scenes()):
        lead = int(index > 0 and shown.latent_map.single_first)
        begin = found[-1].stop if found else 0
        found.append(Scene(index, begin, begin + lead + stop - start, lead, start))
    return found


def segments(shown: LatentTimeline, continuity: Continuity, clip: int, steps: int) -> list[Segment]:
    """All segments, in order. clip: latent frames that the model makes at once; continuity: as `for_clip` gave it."""
    cutter = _Cutter(continuity, clip, steps, shown.latent_map.single_first)
    made: list[Segment] = []
    for scene in scenes(shown):
        made += [replace(segment, index=len(made) + i) for i, segment in enumerate(cutter.cut(scene))]
    return made


def look_back_of(continuity: Continuity, clip: int, steps: int, anchor: int) -> LookBack:
    """CoNo's schedule for clips of so many latent frames."""
    usual = look_back(clip, steps, continuity.release or 0)
    n1 = continuity.overlap or usual.n1
    if n1 > clip - 2:
        raise InputError(
            f"continuity: overlap={n1} leaves look_back nothing of a clip's {clip} latent frames; use at most {clip - 2}"
        )
    return replace(usual, n1=n1, n2=min(usual.n2, clip - n1 - 1), anchor=anchor)


class _Cutter:
    """Cuts scenes. single_first: the first latent of a clip is a picture."""

    def __init__(self, continuity: Continuity, clip: int, steps: int, single_first: bool) -> None:
        self.continuity, self.clip, self.anchor = continuity, clip, int(single_first)
        self.overlap = continuity.overlap or 0
        self.release = round((continuity.release or 0) * steps)
        self.look_back = (
            look_back_of(continuity, clip, steps, self.anchor) if continuity.policy == "look_back" else None
        )

    def cut(self, scene: Scene) -> Iterator[Segment]:
        if self.look_back is not None:
            yield from self._extensions(scene, self.look_back)
        elif self.continuity.policy in SECTIONED:
            yield from self._chain(scene, self._section_frames, fade=0)
        else:
            yield from self._chain(scene, lambda left: self.clip, self.continuity.fade or 0)

    def _chain(self, scene: Scene, frames_for: Callable[[int], int], fade: int) -> Iterator[Segment]:
        """One clip after another, each sharing `overlap` latents with the one before. frames_for: a clip's, of so many
        left."""
        start = scene.start
        while start < scene.stop:
            first = start == scene.start
            shared = (
                0 if first else self.overlap or self.anchor
            )  # independent clips leave out the picture that they begin with
            begin = start - max(0, shared - fade)  # the clip before kept back what is cross-faded
            frames = frames_for(scene.stop - begin)
            stop = begin + frames
            stop = scene.stop if stop >= scene.stop else stop - fade
            span = range(begin, begin + frames)
            clip = self._clip(frames, shared, emitted=range(start - begin, stop - begin))
            yield Segment(0, scene, start, stop, (clip,), (span,), self._windows(frames), 0 if first else fade, first)
            start = stop

    def _clip(self, frames: int, shared: int, emitted: range) -> Clip:
        copies = shared and self.continuity.policy in ("replay", *SECTIONED)
        guides = (Guide(range(shared), SOURCE, range(-shared, 0), self.release),) if copies else ()
        return Clip("clip", SOURCE, tuple(range(frames)), guides, SOURCE, emitted)

    def _section_frames(self, left: int) -> int:
        """A section's length: so many windows, or fewer where the scene ends."""
        stride = self.clip - self.overlap - (self.anchor if self.continuity.policy == "co_denoise" else 0)
        whole = self.clip + (self.continuity.windows - 1) * max(1, stride)
        return max(self.clip, min(whole, left))

    def _windows(self, frames: int) -> Windows | None:
        if self.continuity.policy != "co_denoise" or frames == self.clip:
            return None
        return Windows(frames, self.clip, min(self.overlap, self.clip - 1 - self.anchor), anchor=bool(self.anchor))

    def _extensions(self, scene: Scene, plan: LookBack) -> Iterator[Segment]:
        stop = min(scene.start + plan.frames, scene.stop)
        whole = tuple(range(plan.frames))
        clip = Clip("D", SOURCE, whole, (), SOURCE, range(plan.frames))
        yield Segment(
            0, scene, scene.start, stop, (clip,), (range(scene.start, scene.start + plan.frames),), None, 0, True
        )
        for number in range(plan.extensions_for(scene.stop - scene.start)):
            start, stop = stop, min(scene.start + plan.length(number + 1), scene.stop)
            spans = (plan.span(clip.name, number) for clip in plan.clips)
            lying = tuple(range(scene.start + s.start, scene.start + s.stop) for s in spans)
            yield Segment(0, scene, start, stop, plan.clips, lying, None, 0, False)
