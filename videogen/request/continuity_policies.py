"""Table of continuity policies: how the clips of a long video can be joined, one row per policy.

A policy is one file in `videogen.longvideo.policies` and one row here; configuration, the command line, the measured
trial, the benchmark and the contract tests read this table. A preset is a policy with settings of its own that has a
name. Importing this loads no torch: `home` is imported when a video is rendered.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from videogen.backbones.resolvable import ResolvableModel

#: of `windows`, in a spec: one clip for an entire scene
ALL = "all"
_POLICIES = "videogen.longvideo.policies"
#: the policy that continues the last frame
FIRST_FRAME_POLICY = "i2v_prefix"
#: `guidance_mode` of a pipeline that combines the guidance branches itself
PIPELINE_GUIDANCE = "pipeline"
#: the settings of the mean regularisation
_MEANS = ("mean_regularisation", "mean_space", "mean_power")


@dataclass(frozen=True)
class ModelNeed:
    """What a policy requires of a model. lacking: what other models do not take, as messages say it."""

    lacking: str
    is_met: Callable[[ResolvableModel], bool]


def takes_first_frame(model: ResolvableModel) -> bool:
    """Whether a clip can begin with a given image, by the model's own code or its pipeline's."""
    return model.capabilities.first_frame or (model.capabilities.own_guidance and "image" in model.accepts)


NEEDS: dict[str, ModelNeed] = {
    "clean_prefix": ModelNeed("a timestep for each frame", lambda model: model.takes_clean_prefix),
    "first_frame": ModelNeed("a first frame", takes_first_frame),
    "temporal_blocks": ModelNeed("temporal layers", lambda model: model.has_temporal_blocks),
}


def needs_met(backbone: ResolvableModel) -> frozenset[str]:
    """The keys of `NEEDS` that a model meets."""
    return frozenset(name for name, need in NEEDS.items() if need.is_met(backbone))


@dataclass(frozen=True)
class AutomaticChoice:
    """When a policy is chosen for a request that names none: the lowest rank wins among those that apply.

    model: the key of `NEEDS` that the model must meet ("": any model); with_motion: also for videos with a motion.
    """

    rank: int
    model: str = ""
    with_motion: bool = True


@dataclass(frozen=True)
class PolicyRow:
    """One policy.

    home: module and class, a `videogen.longvideo.policies.base.ContinuityPolicy`. need: what the model must meet, a
    key of `NEEDS`. overlap: default overlap of a clip with what precedes it, as a fraction of the clip's latent
    frames; None: the overlap is not configurable and is `fixed_overlap` latent frames. release: default fraction of
    the steps in which frames copy predictions. cross_fade: where clips cross-fade their shared frames by default.
    noises: what their noise may be, rows of `continuity_noise.NOISES`, the default first. configurable: the settings of
    `Continuity` that have an effect, apart from `noise`; others are refused. automatic: when it is chosen where no
    policy is named. trial_order: place in the trial of `measured` (cheaper ones first); None: not tried. is_baseline:
    whether nothing ties its clips, so that others are compared with it. in_benchmark: whether `tools` compares it.
    """

    name: str
    description: str
    home: str
    need: str = ""
    overlap: float | None = None
    fixed_overlap: int | None = None
    release: float = 0.8
    cross_fade: Literal["never", "always", "after release"] = "never"
    noises: tuple[str, ...] = ("iid", "freenoise", "warped")
    configurable: tuple[str, ...] = ()
    automatic: AutomaticChoice | None = None
    trial_order: int | None = None
    is_baseline: bool = False
    in_benchmark: bool = True

    @property
    def settings(self) -> dict[str, Any]:
        """The fields of a `Continuity` that the name stands for."""
        return {"policy": self.name, "noise": self.noises[0]}


@dataclass(frozen=True)
class PresetRow:
    """A name for a policy with some settings. policy: a row of `POLICIES`; options: fields of `Continuity`."""

    name: str
    description: str
    policy: str
    options: Mapping[str, Any] = field(default_factory=dict)
    trial_order: int | None = None
    in_benchmark: bool = True

    @property
    def settings(self) -> dict[str, Any]:
        """The fields of a `Continuity` that the name stands for."""
        return {"policy": self.policy, **self.options}

    @property
    def need(self) -> str:
        return POLICIES[self.policy].need

    @property
    def spec(self) -> str:
        """The preset as one would write it out, `POLICY:name=value,...`."""
        values = {name: ALL if value is None else value for name, value in self.options.items()}
        return f"{self.policy}:{','.join(f'{name}={value}' for name, value in values.items())}"


POLICIES: dict[str, PolicyRow] = {
    row.name: row
    for row in (
        PolicyRow(
            "independent",
            "each clip on its own: the baseline, with a cut wherever two clips meet",
            f"{_POLICIES}.independent:Independent",
            is_baseline=True,
        ),
        PolicyRow(
            "overlap",
            "clips use the same noise for the frames they share, and cross-fade them",
            f"{_POLICIES}.overlap:Overlap",
            overlap=3 / 8,
            cross_fade="always",
            configurable=("overlap", "fade", *_MEANS),
            automatic=AutomaticChoice(2, "temporal_blocks"),
            trial_order=2,
        ),
        PolicyRow(
            "replay",
            "a clip's first frames copy the predictions of the last clip's end (CoNo's replacement, 2406.05082)",
            f"{_POLICIES}.replay:Replay",
            overlap=4 / 9,
            release=1.0,
            cross_fade="after release",
            configurable=("overlap", "fade", "release", *_MEANS),
            automatic=AutomaticChoice(3),
            trial_order=1,
        ),
        PolicyRow(
            "look_back",
            "three clips per extension in lock-step, the middle one tied on both sides (CoNo, 2406.05082)",
            f"{_POLICIES}.look_back:LookBackExtensions",
            overlap=3 / 8,
            noises=("cono",),
            configurable=("overlap", "release", *_MEANS, "refresh", "n2", "handover", "right_release", "mean_of"),
            in_benchmark=False,
        ),
        PolicyRow(
            "co_denoise",
            "overlapping windows of one longer clip, averaged at each step (Gen-L-Video, 2305.18264)",
            f"{_POLICIES}.co_denoise:CoDenoise",
            overlap=1 / 2,
            configurable=("overlap", "release", *_MEANS, "windows", "weights"),
            trial_order=5,
        ),
        PolicyRow(
            "window_attention",
            "one longer clip whose temporal attention sees windows (as FreeNoise's, 2310.15169): for UNets",
            f"{_POLICIES}.window_attention:WindowedTemporalAttention",
            need="temporal_blocks",
            overlap=3 / 4,
            configurable=("overlap", "release", *_MEANS, "windows", "weights", "fusion"),
            trial_order=4,
        ),
        PolicyRow(
            "clean_prefix",
            "a clip continues finished frames, given without noise: for models with a timestep per frame",
            f"{_POLICIES}.clean_prefix:CleanLatentPrefix",
            need="clean_prefix",
            overlap=1 / 4,
            configurable=("overlap",),
            # where noise is to follow a motion, frames are copied: no model is known to be trained for both
            automatic=AutomaticChoice(1, "clean_prefix", with_motion=False),
            trial_order=3,
        ),
        PolicyRow(
            FIRST_FRAME_POLICY,
            "a clip continues the last frame, given as its first: for models that take a first frame",
            f"{_POLICIES}.i2v_prefix:FirstFramePrefix",
            need="first_frame",
            fixed_overlap=1,
        ),
    )
}

PRESETS: dict[str, PresetRow] = {
    row.name: row
    for row in (
        PresetRow(
            "cono",
            "CoNo as published: look_back with its noise, and a constant regularisation of the model's predictions",
            "look_back",
            {"noise": "cono", "mean_regularisation": 0.2, "mean_space": "prediction", "mean_power": 0},
        ),
        PresetRow(
            "cono_v",
            "a variant of CoNo for v and flow models: the regularisation acts on v, less at low noise",
            "look_back",
            {"noise": "cono", "mean_regularisation": 0.2},
            trial_order=6,
        ),
        PresetRow(
            "freenoise",
            "FreeNoise (2310.15169): window attention with its noise and weights, each scene as one clip: for UNets",
            "window_attention",
            {"noise": "freenoise", "weights": "pyramid", "fusion": "attention", "windows": None},
        ),
        PresetRow(
            "co_denoise_shuffled",
            "a variant of FreeNoise for any model: co_denoise on its shuffled noise",
            "co_denoise",
            {"noise": "freenoise"},
        ),
    )
}

#: every name that a request may give, with its row
ROWS: Mapping[str, PolicyRow | PresetRow] = ChainMap(PRESETS, POLICIES)  # type: ignore[arg-type]


def baseline_policy() -> str:
    """The policy that the others are compared with: nothing ties its clips."""
    return next(name for name, row in POLICIES.items() if row.is_baseline)


def general_policy() -> str:
    """The automatic choice that suits every model and video, also those of one segment."""
    return automatic_policy(frozenset(), with_motion=True)


def trial_names() -> tuple[str, ...]:
    """The names that the trial of `measured` compares, the cheaper ones first."""
    tried = [(row.trial_order, name) for name, row in ROWS.items() if row.trial_order is not None]
    return tuple(name for _, name in sorted(tried))


def benchmark_names(needs: frozenset[str]) -> tuple[str, ...]:
    """The names that the benchmark compares on a model that meets these needs."""
    return tuple(name for name, row in ROWS.items() if row.in_benchmark and (not row.need or row.need in needs))


def _automatic_rows() -> list[tuple[AutomaticChoice, str]]:
    """What may be chosen where no policy is named, the preferred ones first."""
    choices = [(row.automatic, row.name) for row in POLICIES.values() if row.automatic is not None]
    return sorted(choices, key=lambda choice: choice[0].rank)


def describe_automatic() -> str:
    """The automatic choice in one sentence, for the command line."""
    return ", else ".join(
        f"{name} for models with {NEEDS[choice.model].lacking}" if choice.model else name
        for choice, name in _automatic_rows()
    )


def suggested_policy() -> str:
    """The policy that messages suggest: the automatic choice for a model that meets no need, so any model takes it."""
    return automatic_policy(frozenset(), with_motion=True)


def names_where(applies: Callable[[PolicyRow], bool], separator: str = ", ") -> str:
    """The names of the policies to which something applies, for messages and help."""
    return separator.join(name for name, row in POLICIES.items() if applies(row))


def automatic_policy(needs: frozenset[str], *, with_motion: bool) -> str:
    """The policy of a request that names none. needs: the keys of `NEEDS` that the model meets.

    The ranks follow `tools`' comparison on the embedded models. A model trained to continue clean frames has the least
    visible seams at the lowest cost. Of the others, a UNet's motion modules hardly carry copied frames over to the
    next ones (seam ratio 5), so that a cross-fade shows least; a transformer's replay has few seams and keeps its
    motion.
    """
    return next(
        name
        for choice, name in _automatic_rows()
        if (not choice.model or choice.model in needs) and (choice.with_motion or not with_motion)
    )
