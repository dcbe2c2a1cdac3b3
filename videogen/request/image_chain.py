"""Image chain: a long video made of clips that each begin with an image, for image-to-video pipelines.

A clip's first image is the last frame of the clip before, or a keyframe (`images` by frame); between two keyframes the
later one is the clip's last image (first and last frame to video). A clip's first frame is left out where the clip
before has it already. Shots that change the prompt begin a clip of their own. No torch here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from videogen.core.errors import InputError, UnsupportedError
from videogen.core.frame_latent_map import FrameLatentMap

from .continuity import OFF, Continuity
from .continuity_policies import FIRST_FRAME_POLICY, PIPELINE_GUIDANCE

if TYPE_CHECKING:
    from videogen.backbones.resolvable import ResolvableModel
    from videogen.timeline import Shot

    from .conditions import Conditions
    from .request import RenderRequest
    from .resolved import ResolvedRequest


@dataclass(frozen=True)
class ChainClip:
    """One clip of a chain. begin: the frame of the video that its first frame is; start, stop: those that it adds to
    the video; frames: how many it has, of which those from `stop` on are left out; last: the frame of the keyframe with
    which it ends, None where it ends freely; cut: whether it begins a scene."""

    index: int
    begin: int
    start: int
    stop: int
    frames: int
    prompt: str
    seed: int
    last: int | None = None
    cut: bool = False


def is_image_chain(request: ResolvedRequest) -> bool:
    """Whether a resolved request is rendered as a chain: only pipelines that do their own guidance are."""
    policy = request.continuity
    is_chain = isinstance(policy, Continuity) and policy.policy == FIRST_FRAME_POLICY
    return is_chain and request.guidance_mode == PIPELINE_GUIDANCE


def takes_keyframes(backbone: ResolvableModel) -> bool:
    """Whether `images` can be the first and last images of clips of a chain."""
    return {"image", "last_image"} <= set(backbone.accepts) and backbone.refusal("keyframes", ("image",)) is None


def chooses_chain(request: RenderRequest, backbone: ResolvableModel, *, is_longer: bool) -> bool:
    """Whether a request that names no policy is rendered as a chain. is_longer: than the model generates at once."""
    given = request.given.keys()
    if (
        not given
        or request.moves
        or request.continuity == OFF
        or backbone.refusal(FIRST_FRAME_POLICY, given) is not None
    ):
        return False
    if "images" in given and "images" not in backbone.accepts:
        return True
    return (is_longer or request.story is not None) and not backbone.in_sections and "images" not in given


def find_keyframes(conditions: Conditions, frames: int) -> dict[int, Any]:
    """Frame -> image of all images that stand at a frame of a video of so many. InputError where two stand at one."""
    found: dict[int, Any] = {}
    single = ((0, conditions.image), (frames - 1, conditions.last_image))
    for frame, value in (*((at, one) for at, one in single if one is not None), *conditions.images.items()):
        at = frame if frame >= 0 else frames + frame
        if at in found:
            raise InputError(f"frame {at} has two images; leave out one of image, last_image and images")
        found[at] = value
    return dict(sorted(found.items()))


def divide_chain(request: ResolvedRequest, frame_map: FrameLatentMap) -> tuple[ChainClip, ...]:
    """The clips of a request, in order. InputError for keyframes at a distance that no clip can have."""
    return tuple(_Division(request, frame_map).clips())


def check_chain(request: ResolvedRequest, backbone: ResolvableModel) -> None:
    """InputError or UnsupportedError for what a chain cannot be: prompts that blend, scenes and keyframes that the
    model cannot begin or end with, a motion, retries."""
    if request.motion is not None or request.clip_continuity.noise != request.clip_continuity.row.noises[0]:
        raise UnsupportedError(
            f"a motion and its noise are of one clip for {request.model!r}, and the clips of {FIRST_FRAME_POLICY} have "
            "noise of their own; render a single clip: continuity='off'"
        )
    if request.retries:
        raise UnsupportedError(
            f"retries={request.retries}: {FIRST_FRAME_POLICY} on {request.model!r} renders each clip once; leave it out"
        )
    _check_prompts(request)
    keyframes = find_keyframes(request.conditions, request.frames)
    for clip in divide_chain(request, backbone.geometry.frame_map):
        if clip.begin == clip.start and clip.begin not in keyframes and "image" in backbone.needs:
            where = f"a cut at frame {clip.begin}" if clip.begin else "frame 0"
            raise InputError(
                f"{request.model!r} needs an image for {where}, which no clip before can give; set "
                f"images={{{clip.begin}: FILE}}{' or let the shot begin with hold' if clip.begin else ''}"
            )
        if clip.last is None and "last_image" in backbone.needs:
            end = min(clip.begin + request.window, request.frames) - 1
            raise InputError(
                f"{request.model!r} needs an image at the end of each clip of at most {request.window} frames, and has "
                f"none in frames {clip.start} to {end}; add one to images"
            )
        if clip.last is not None and not takes_keyframes(backbone):
            raise UnsupportedError(
                f"an image is given at frame {clip.last}, but {request.model!r} takes none as a clip's last frame; "
                "leave it out, or choose a model with last_image (videogen models --table)"
            )


def _check_prompts(request: ResolvedRequest) -> None:
    for number, shot in enumerate(request.timeline.shots[1:], 2):
        if shot.transition.kind == "blend":
            raise UnsupportedError(
                f"shot {number} blends with the one before, but the pipeline of {request.model!r} takes one prompt for "
                "an entire clip; let the shot begin with hold or cut"
            )


class _Division:
    """The way through a request, clip by clip."""

    def __init__(self, request: ResolvedRequest, frame_map: FrameLatentMap) -> None:
        self.request, self.frame_map = request, frame_map
        self.keyframes = find_keyframes(request.conditions, request.frames)
        timeline, rate = request.timeline, request.exact_fps
        self.shots: list[Shot] = list(timeline.shots)
        self.starts = [timeline.frame(shot.start, rate) for shot in self.shots]
        self.cuts = {
            at for at, shot in zip(self.starts, self.shots, strict=True) if not at or shot.transition.kind == "cut"
        }

    def clips(self) -> Iterator[ChainClip]:
        start, index = 0, 0
        while start < self.request.frames:
            clip = self._clip(index, start)
            yield clip
            start, index = clip.stop, index + 1

    def _clip(self, index: int, start: int) -> ChainClip:
        shot = self.shots[bisect_right(self.starts, start) - 1]
        cut = start in self.cuts
        begin = start if cut else start - 1
        frames, stop, last = self._extent(begin, start)
        seed = (self.request.seed if shot.seed is None else shot.seed) + index
        return ChainClip(index, begin, start, stop, frames, shot.prompt, seed, last, cut)

    def _extent(self, begin: int, start: int) -> tuple[int, int, int | None]:
        """(frames of a clip, the frame with which it stops, its last keyframe)."""
        window, limit = self.request.window, self._shot_end(start)
        ahead = next((frame for frame in self.keyframes if frame > begin), None)
        if ahead is None or ahead >= limit:
            return window, min(begin + window, limit), None
        gap = ahead - begin
        count = -(-gap // (window - 1))
        if count > 1:  # clips of about one length, of which the last ends with the keyframe
            frames = min(window, self.frame_map.round_up(-(-gap // count) + 1))
            return frames, begin + frames, None
        if not self.frame_map.fits(gap + 1):
            near = " or ".join(str(begin + count - 1) for count in self.frame_map.nearest_counts(gap + 1) if count > 1)
            raise InputError(
                f"from frame {begin} to the image at frame {ahead} there are {gap + 1} frames, which do not fill the "
                f"latents of {self.request.model!r}; put it at frame {near}"
            )
        return gap + 1, ahead + 1, ahead

    def _shot_end(self, start: int) -> int:
        """The frame before which a clip has to stop: that of the next shot, or after its keyframe where it has one and
        continues this shot."""
        at = next((at for at in self.starts if at > start), self.request.frames)
        return at + 1 if at in self.keyframes and at not in self.cuts else at


def clip_conditions(request: ResolvedRequest, clip: ChainClip, keyframes: Mapping[int, Any], before: Any) -> Conditions:
    """What a clip is made from. before: the last frame of the clip before, used where no keyframe stands there."""
    first = keyframes.get(clip.begin, before if clip.begin < clip.start else None)
    last = None if clip.last is None else keyframes[clip.last]
    return replace(request.conditions, image=first, last_image=last, images={})
