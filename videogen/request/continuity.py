"""How a long video's clips hang together, as one frozen choice: which policy, and its few numbers.

    Continuity.parse("replay")                          Continuity.parse("cono:pull=0.1")
    Continuity.parse("co_denoise:overlap=4,noise=freenoise")

independent        each clip by itself: the baseline, and what a cut does overlap            clips share the noise of
the frames they share, which are cross-faded replay             a clip's first frames copy the predictions of the last
one's last frames until `release` (CoNo's replacement) look_back          CoNo's three clips an extension, in lock-step
(2406.05082; `schedulers.cono`) co_denoise         windows of one longer clip, averaged at each step (Gen-L-Video,
2305.18264), section by section window_attention   one longer clip whose temporal attention sees windows (FreeNoise,
2310.15169), for UNets, section by section clean_prefix       a clip goes on from finished frames, which it is told are
clean (Diffusion Forcing, 2407.01392; Wan 2.2 5B); for models
                   with a timestep a frame
i2v_prefix         a clip goes on from the last frame, given as its first; for models that take a first frame

Two names stand for combinations: `cono` (look_back, its noise, and the pull to the last clip's mean) and `freenoise`
(co_denoise over FreeNoise's noise). Importing this loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from videogen.core.errors import InputError, UnsupportedError, unknown

POLICIES = (
    "independent",
    "overlap",
    "replay",
    "look_back",
    "co_denoise",
    "window_attention",
    "clean_prefix",
    "i2v_prefix",
)
NOISES = ("iid", "freenoise", "cono", "warped")
SECTIONED = ("co_denoise", "window_attention")
FADING = ("overlap", "replay")
COMBINED: dict[str, dict[str, Any]] = {
    "cono": {"policy": "look_back", "noise": "cono", "pull": 0.2},
    "freenoise": {"policy": "co_denoise", "noise": "freenoise"},
}
OFF, AUTO, MEASURED = "off", "auto", "measured"
_RELEASE = 0.8
_SHARES = {  # of a clip's frames that are tied to those before
    "overlap": 3 / 8, "replay": 4 / 9, "look_back": 3 / 8, "co_denoise": 1 / 2, "window_attention": 3 / 4, "clean_prefix": 1 / 4,
}  # fmt: skip


@dataclass(frozen=True)
class Continuity:
    """InputError for values that do not fit.

    overlap: latent frames that a clip shares with what is before it (None: the policy's share of a clip). fade: the
    last of these that are cross-faded from the clip before to this one (None: as the policy has it). release: share of
    the steps in which frames copy (None: all in replay, where what is copied then ends where it ended; 0.8 elsewhere,
    as CoNo published it). pull: how far each step draws a clip to the mean of the one before, 0 (off) to 1
    (`schedulers.pull`); not beyond a cut. noise: `iid`, `freenoise`, `cono` (for look_back) or `warped` (follows a
    motion). refresh: new noise in cono's permutations, 0 to 1. windows: windows of a section that are denoised
    together.
    """

    policy: str = "replay"
    overlap: int | None = None
    fade: int | None = None
    release: float | None = None
    pull: float = 0.0
    noise: str = "iid"
    refresh: float = 0.0
    windows: int = 4

    def __post_init__(self) -> None:
        for kind, name, known in (("continuity", self.policy, POLICIES), ("noise", self.noise, NOISES)):
            if name not in known:
                raise unknown(kind, str(name), known)
        for name in ("release", "pull", "refresh"):
            value = getattr(self, name)
            if value is None and name == "release":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise InputError(f"continuity: {name}={value!r} must be a number from 0 to 1")
        for name, least in (("overlap", 1), ("fade", 0), ("windows", 2)):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < least):
                raise InputError(f"continuity: {name}={value!r} must be a whole number of at least {least}")
        self._check_together()

    def _check_together(self) -> None:
        if (self.policy == "look_back") != (self.noise == "cono"):
            raise InputError(
                f"continuity: {self.policy} with noise={self.noise}; look_back and noise=cono belong together: its clips permute one noise"
            )
        if self.fade and self.policy not in FADING:
            raise InputError(f"continuity: fade={self.fade} is of {' and '.join(FADING)}, not of {self.policy}")
        if self.refresh and self.noise != "cono":
            raise InputError(f"continuity: refresh={self.refresh} is of noise=cono, not of {self.noise}")
        if self.pull and self.policy in ("independent", "clean_prefix", "i2v_prefix"):
            raise InputError(
                f"continuity: pull={self.pull} needs the predictions of a clip before, which {self.policy} does not keep"
            )

    @classmethod
    def parse(cls, words: str) -> Continuity:
        """`POLICY` or `POLICY:name=value,...`."""
        name, _, settings = words.strip().partition(":")
        if name in (AUTO, OFF, MEASURED) and settings:
            raise InputError(
                f"continuity {words!r}: {name} takes no settings; name a policy, such as replay:{settings}"
            )
        values: dict[str, Any] = dict(COMBINED.get(name, {"policy": name}))
        if name == "look_back":
            values["noise"] = "cono"
        if values["policy"] not in POLICIES:
            raise unknown("continuity", name, (AUTO, OFF, MEASURED, *POLICIES, *COMBINED))
        for setting in filter(None, (part.strip() for part in settings.split(","))):
            key, sign, value = setting.partition("=")
            if not sign:
                raise InputError(f"continuity {words!r}: {setting!r} is no name=value, such as {name}:overlap=4")
            values[key.strip()] = _number(value.strip())
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Continuity:
        """From the fields as plain data."""
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                raise unknown("setting of continuity", str(key), known)
        return cls(**{key: value.item() if hasattr(value, "item") else value for key, value in values.items()})

    @classmethod
    def of(cls, asked: str | Mapping[str, Any] | Continuity) -> Continuity:
        """From any form in which a request says it."""
        if isinstance(asked, Continuity):
            return asked
        return cls.parse(asked) if isinstance(asked, str) else cls.from_dict(asked)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def for_clip(self, frames: int) -> Continuity:
        """With an overlap that fits clips of so many latent frames; InputError where none does."""
        if self.policy in ("independent", "i2v_prefix"):
            return replace(self, overlap=1 if self.policy == "i2v_prefix" else None, fade=0, release=_RELEASE)
        if frames < 3:
            raise InputError(
                f"a clip of {frames} latent frames is too short for continuity {self.policy}: it needs 3; use longer windows"
            )
        overlap = self.overlap or max(1, round(frames * _SHARES[self.policy]))
        if overlap >= frames:
            raise InputError(
                f"continuity: overlap={overlap} leaves nothing of a clip's {frames} latent frames; use at most {frames - 1}"
            )
        release = (1.0 if self.policy == "replay" else _RELEASE) if self.release is None else self.release
        differs = self.policy == "overlap" or (
            self.policy == "replay" and release < 1
        )  # what two clips show of the shared frames
        fade = overlap * differs if self.fade is None else self.fade
        if fade > overlap:
            raise InputError(
                f"continuity: fade={fade} is more than the overlap={overlap} latent frames that clips share"
            )
        return replace(self, overlap=overlap, fade=fade, release=release)

    def check_model(self, *, per_frame_timesteps: bool, first_frame: bool, temporal_blocks: bool, name: str) -> None:
        """UnsupportedError where the model cannot do it."""
        wanted = {"clean_prefix": per_frame_timesteps, "i2v_prefix": first_frame, "window_attention": temporal_blocks}
        if not wanted.get(self.policy, True):
            lacks = {
                "clean_prefix": "a timestep for each frame",
                "i2v_prefix": "a first frame",
                "window_attention": "temporal layers",
            }
            raise UnsupportedError(
                f"continuity {self.policy}: {name!r} does not take {lacks[self.policy]}; use replay or co_denoise"
            )


def automatic(*, per_frame_timesteps: bool, temporal_blocks: bool) -> Continuity:
    """What a model gets that nothing was said of, as `tools/bench_long.py policies` ranks what it can.

    A model that takes a timestep a frame goes on from finished frames as it was trained to: the least seams for the
    least work. One that was not has detours: a UNet's motion modules hardly carry copied frames over to the next (seams
    of 5), so that a cross-fade shows least; a transformer's replay keeps seams and motion both. Where noise is to move
    what is seen, frames are copied too: no model is known to be trained for both.
    """
    if per_frame_timesteps:
        return Continuity("clean_prefix")
    return Continuity("overlap" if temporal_blocks else "replay")


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
