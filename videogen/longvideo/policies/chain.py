"""Chain of clips: each segment is one clip that shares its first frames with the one before. Base of most policies."""

from __future__ import annotations

from collections.abc import Iterator

from videogen.longvideo.segments import Scene, Segment
from videogen.schedulers.cono.look_back import SOURCE, Clip, CopyFrom
from videogen.schedulers.windows import Windows

from .base import ContinuityPolicy


class ClipChain(ContinuityPolicy):
    """Clips that overlap by `Continuity.overlap` latents, of which the last `Continuity.fade` are cross-faded."""

    def divide_scene(self, scene: Scene) -> Iterator[Segment]:
        start = scene.start
        while start < scene.stop:
            first = start == scene.start
            # clips that share nothing still leave out the single frame that a causal VAE's clip begins with
            shared = 0 if first else self.overlap or self.anchor
            fade = self.continuity.fade or 0
            begin = start - max(0, shared - fade)  # the clip before did not emit what is cross-faded
            frames = self.clip_frames(scene.stop - begin)
            stop = begin + frames
            stop = scene.stop if stop >= scene.stop else stop - fade
            yield Segment(
                index=0,
                scene=scene,
                start=start,
                stop=stop,
                clips=(self._clip(frames, shared, emitted=range(start - begin, stop - begin)),),
                spans=(range(begin, begin + frames),),
                windows=self.windows(frames),
                fade=0 if first else fade,
                first=first,
            )
            start = stop

    def clip_frames(self, left: int) -> int:
        """Latent frames of a clip, of so many left in the scene."""
        return self.clip

    def windows(self, frames: int) -> Windows | None:
        """How the model sees a clip that is longer than it can denoise at once; None: it sees all of it."""
        return None

    def _clip(self, frames: int, shared: int, emitted: range) -> Clip:
        copies: tuple[CopyFrom, ...] = ()
        if shared and self.copies_predictions:
            copies = (CopyFrom(range(shared), SOURCE, range(-shared, 0), self.release),)
        return Clip("clip", SOURCE, tuple(range(frames)), copies, SOURCE, emitted)
