"""Continuity configuration: which policy joins a long video's clips, and its settings.

    Continuity.parse("replay")                          Continuity.parse("cono:mean_regularisation=0.1")
    Continuity.parse("co_denoise:overlap=4,noise=freenoise")

The policies and presets are the rows of `continuity_policies`; what they do is in `videogen.longvideo.policies`.
Importing this loads no torch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from videogen.core.errors import InputError, UnsupportedError, unknown
from videogen.core.keywords import suggest_keywords, with_earlier_keywords
from videogen.core.stored_keys import CONTINUITY_KEYS, with_current_keys

from .continuity_noise import INDEPENDENT, NOISES, NoiseRow
from .continuity_policies import ALL, NEEDS, POLICIES, ROWS, PolicyRow, names_where, suggested_policy
from .continuity_settings import RECORDED, check_settings

#: what a request may give instead of a policy's name: one clip however long, the automatic choice, the trial's choice
OFF, AUTO, MEASURED = "off", "auto", "measured"


@with_earlier_keywords(CONTINUITY_KEYS)
@suggest_keywords
@dataclass(frozen=True)
class Continuity:
    """How clips are joined. InputError for values that do not fit.

    overlap: latent frames that a clip shares with what precedes it (None: the policy's fraction of a clip). fade: how
    many of these, the last ones, are cross-faded from the clip before to this one (None: the policy's default).
    release: fraction of the steps in which frames copy predictions (None: all in replay, so that a copied frame ends
    where its source ended; 0.8 elsewhere, as published for CoNo). mean_regularisation: strength of CoNo's, 0 (off) to 1
    (`schedulers.cono.mean_regularisation`); not across a cut. noise: `iid`, `freenoise`, `cono` (for look_back) or
    `warped` (follows a motion). refresh: fraction of new noise in cono's permutations, 0 to 1. windows: how many
    windows of a section are denoised together; None (`all` in a spec): all of a scene, as one clip, whose memory grows
    with its length. weights: how these windows are averaged, one of `schedulers.windows.WEIGHTS` (None: `triangular`).
    fusion: of window_attention, what is averaged: `block` (None) or `attention`, as published.

    Of the mean regularisation: mean_space: the regularised quantity, `prediction`, `v`, `x0` or `eps` (None: `v` for
    models that predict noise, else the prediction); mean_power: its strength is multiplied by this power of the noise
    level (None: 1; 0: constant, as published).
    Of look_back (`schedulers.cono.look_back`): n2: latent frames that the middle clip copies on the right (None: half a
    clip); handover: how many of its last ones the next clip copies (None: n2); right_release: as release, for the right
    side (None: the same); mean_of: whose mean a clip is regularised to, the `adjacent` clip's (None) or that of the
    scene's `first`.
    """

    policy: str = "replay"
    overlap: int | None = None
    fade: int | None = None
    release: float | None = None
    mean_regularisation: float = 0.0
    noise: str = INDEPENDENT
    refresh: float = 0.0
    windows: int | None = 4
    weights: str | None = None
    fusion: str | None = None
    mean_space: str | None = None
    mean_power: float | None = None
    n2: int | None = None
    handover: int | None = None
    right_release: float | None = None
    mean_of: str | None = None

    def __post_init__(self) -> None:
        for kind, name, known in (("continuity", self.policy, POLICIES), ("noise", self.noise, NOISES)):
            if name not in known:
                raise unknown(kind, str(name), tuple(known))
        check_settings(asdict(self))
        self._check_combination()

    @property
    def row(self) -> PolicyRow:
        """The policy's row."""
        return POLICIES[self.policy]

    @property
    def noise_row(self) -> NoiseRow:
        """The noise kind's row."""
        return NOISES[self.noise]

    def _check_combination(self) -> None:
        if self.noise not in self.row.noises:
            raise InputError(
                f"continuity: {self.policy} does not go with noise={self.noise}; "
                f"use noise={' or '.join(self.row.noises)}"
            )
        for name, unset in _unset_values(self.row).items():
            if name not in self.row.configurable and getattr(self, name) not in unset:
                raise InputError(_not_a_setting(name, getattr(self, name), self.row))
        if self.refresh and not self.noise_row.refreshes:
            refreshing = " and ".join(row.name for row in NOISES.values() if row.refreshes)
            raise InputError(
                f"continuity: refresh={self.refresh} is a setting of noise={refreshing}, not of {self.noise}; "
                "leave it out"
            )

    @classmethod
    def parse(cls, spec: str) -> Continuity:
        """`POLICY` or `POLICY:name=value,...`; POLICY may be a preset's name. InputError for any other
        spec."""
        name, _, settings = spec.strip().partition(":")
        if name in (AUTO, OFF, MEASURED) and settings:
            raise InputError(
                f"continuity {spec!r}: {name} takes no settings; name a policy, such as {suggested_policy()}:{settings}"
            )
        if name not in ROWS:
            raise unknown("continuity", name, (AUTO, OFF, MEASURED, *ROWS))
        values = dict(ROWS[name].settings)
        row = POLICIES[values["policy"]]
        for setting in filter(None, (part.strip() for part in settings.split(","))):
            key, sign, value = setting.partition("=")
            if not sign:
                raise InputError(f"continuity {spec!r}: {setting!r} is not name=value, such as {name}:overlap=4")
            key = CONTINUITY_KEYS.get(key.strip(), key.strip())
            if key in _unset_values(row) and key not in row.configurable:
                raise InputError(_not_a_setting(key, value.strip(), row))
            values[key] = None if (key, value.strip()) == ("windows", ALL) else _number(value.strip())
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Continuity:
        """From the fields as plain data, also of an earlier version. InputError for an unknown field or a value that
        does not fit."""
        values = with_current_keys(dict(values), CONTINUITY_KEYS)
        known = [field.name for field in fields(cls)]
        values = without_unused_settings(values)
        for key in values:
            if key not in known:
                raise unknown("setting of continuity", str(key), known)
        return cls(**{key: value.item() if hasattr(value, "item") else value for key, value in values.items()})

    @classmethod
    def from_value(cls, value: str | Mapping[str, Any] | Continuity) -> Continuity:
        """From any form that a request may give."""
        if isinstance(value, Continuity):
            return value
        return cls.parse(value) if isinstance(value, str) else cls.from_dict(value)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain data; those that few policies have only where they are set."""
        return {name: value for name, value in asdict(self).items() if name in RECORDED or value is not None}

    def for_clip(self, frames: int) -> Continuity:
        """With every setting filled in for clips of so many latent frames; InputError where none fits."""
        row = self.row
        if row.overlap is None:
            return replace(self, overlap=row.fixed_overlap, fade=0, release=row.release)
        if frames < 3:
            raise InputError(
                f"a clip of {frames} latent frames is too short for continuity {self.policy}, "
                "which needs 3; use longer windows"
            )
        overlap = self.overlap or max(1, round(frames * row.overlap))
        if overlap >= frames:
            raise InputError(
                f"continuity: overlap={overlap} leaves nothing of a clip's {frames} latent frames; "
                f"use at most {frames - 1}"
            )
        release = row.release if self.release is None else self.release
        # only where the two clips differ in the frames they share is there anything to fade
        fades = row.cross_fade == "always" or (row.cross_fade == "after release" and release < 1)
        fade = overlap * fades if self.fade is None else self.fade
        if fade > overlap:
            raise InputError(
                f"continuity: fade={fade} is more than the overlap={overlap} latent frames that clips share; "
                f"use at most {overlap}"
            )
        return replace(self, overlap=overlap, fade=fade, release=release)

    def check_model(self, needs: Collection[str], name: str) -> None:
        """UnsupportedError where the model cannot do it.

        needs: the keys of `NEEDS` that it meets; name: the model's.
        """
        if self.row.need and self.row.need not in needs:
            raise UnsupportedError(
                f"continuity {self.policy}: {name!r} does not take {NEEDS[self.row.need].lacking}; "
                f"use one of {names_where(lambda row: not row.need)}"
            )


def without_unused_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `Continuity` as plain data; if they are all there, as they are stored, without settings that have
    no effect on their policy, which earlier versions accepted and recorded."""
    row = POLICIES.get(str(values.get("policy")))
    stored = set(values) >= RECORDED
    unset = _unset_values(row) if row and stored else {}
    unused = {
        name
        for name in unset
        if row and name not in row.configurable and name in values and values[name] not in unset[name]
    }
    return {name: unset[name][0] if name in unused else value for name, value in values.items()}


def _unset_values(row: PolicyRow) -> dict[str, tuple[Any, ...]]:
    """The values of each setting that leave it unset: the field's default, and what `for_clip` fills in where the
    policy has no such option."""
    return {
        "overlap": (None, row.fixed_overlap),
        "fade": (None, 0),
        "release": (None, row.release),
        "mean_regularisation": (0,),
        "refresh": (0,),
        "windows": (4,),
        **{field.name: (None,) for field in fields(Continuity) if field.name not in RECORDED},
    }


def _not_a_setting(name: str, value: object, row: PolicyRow) -> str:
    takers = [other.name for other in POLICIES.values() if name in other.configurable]
    return f"continuity: {name}={value} is a setting of {' and '.join(takers)}, not of {row.name}; leave it out"


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
