"""Golden cases: small renders of both embedded models, which together use each technique and continuity policy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.golden.stories import STORY, STORY_UNET, TWO_SHOTS

DIT, UNET = "embedded", "embedded-unet"
#: Files that `rendering` creates for each case, under the names by which options refer to them.
FIRST_FRAME, DRIVING = "first_frame.png", "driving"

PROMPT = "a red ball moves right on a black background"
_CLIP: dict[str, dict[str, Any]] = {
    DIT: {"prompt": PROMPT, "frames": 17, "size": [48, 48], "steps": 4, "seed": 3},
    UNET: {"prompt": PROMPT, "frames": 8, "size": [48, 48], "steps": 4, "seed": 3},
}
_LONG: dict[str, dict[str, Any]] = {
    DIT: {"prompt": PROMPT, "frames": 37, "window": 13, "width": 48, "height": 48, "steps": 3, "seed": 3},
    UNET: {"prompt": PROMPT, "frames": 19, "window": 8, "width": 48, "height": 48, "steps": 3, "seed": 3},
}
_QUICK = {
    "dit-plain", "unet-plain", "dit-attention-recall", "dit-propagate-every", "unet-propagate-fd", "dit-drag-warped",
    "dit-long-clean_prefix", "unet-long-overlap", "dit-long-story-replay",
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One render.

    kind: `clip`, `long` (into a file, with the job kept) or `resumed` (killed after `kill_after` segments, then
    resumed). options: keyword arguments of the engine's entry point for that kind. arguments: command line arguments,
    used instead of options. redo: a segment that is regenerated afterwards. quick: whether the case runs in the normal
    suite.
    """

    name: str
    model: str
    kind: str = "clip"
    options: dict[str, Any] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    redo: int | None = None
    kill_after: int | None = None
    quick: bool = False


def _clip(name: str, model: str, **options: Any) -> Case:
    return Case(name, model, "clip", {**_CLIP[model], **options}, quick=name in _QUICK)


def _long(name: str, model: str, *, redo: int | None = None, kill_after: int | None = None, **options: Any) -> Case:
    kind = "long" if kill_after is None else "resumed"
    given = {**_LONG[model], **options}
    if "story" in options:
        given = {**{key: value for key, value in given.items() if key not in ("prompt", "frames")}, **options}
    return Case(name, model, kind, given, redo=redo, kill_after=kill_after, quick=name in _QUICK)


def _command(name: str, model: str, *arguments: str) -> Case:
    return Case(name, model, "clip", arguments=arguments)


# --- plain ------------------------------------------------------------------------------------------------------

PLAIN = [
    _clip("dit-plain", DIT),
    _clip("dit-own-size", DIT, size=[64, 64], frames=33, steps=3),
    _clip("dit-unguided", DIT, guidance_scale=1.0),
    _clip("dit-strong-guidance-negative", DIT, guidance_scale=6.0, negative_prompt="a blue square", seed=11),
    _clip("dit-sequential-guidance", DIT, guidance_mode="sequential"),
    _clip("dit-several-clips", DIT, prompt=[PROMPT, "a blue star spins on a gray background"], steps=3),
    _clip("dit-noise-diffusers", DIT, noise="diffusers"),
    _clip("dit-tiling", DIT, vae_tiling=True, size=[64, 64], steps=3),
    _clip("dit-one-frame", DIT, frames=1),
    *[_clip(f"dit-solver-{name}", DIT, solver=name) for name in ("euler", "dpm++2m", "heun")],
    _clip("unet-plain", UNET),
    _clip("unet-unguided", UNET, guidance_scale=1.0),
    _clip("unet-negative", UNET, negative_prompt="a blue square", seed=11),
    _clip("unet-sequential-guidance", UNET, guidance_mode="sequential"),
    _clip("unet-several-clips", UNET, prompt=[PROMPT, "a blue star spins on a gray background"], steps=3),
    _clip("unet-noise-diffusers", UNET, noise="diffusers"),
    *[
        _clip(f"unet-solver-{name}", UNET, solver=name)
        for name in ("ddim", "deis", "euler-a", "unipc", "dpm++2m", "dpm++2m-sde")
    ],
    _command("dit-command-draft", DIT, PROMPT, "--preset", "draft", "--frames", "17", "--size", "48x48", "--seed", "5"),
    _command(
        "dit-command-techniques", DIT, PROMPT, "--frames", "17", "--size", "48x48", "--steps", "5",
        "--propagate", "every:2", "--drag", "12,24>36,24;radius=8", "--camera", "zoom=1.2", "--motion-strength", "0.7",
    ),
    _command(
        "unet-command-long", UNET, PROMPT, "--frames", "19", "--window", "8", "--size", "48x48", "--steps", "3",
        "--guidance", "5", "--negative", "a blue square", "--continuity", "replay:overlap=3,release=0.7", "--keep-job",
    ),
]  # fmt: skip

# --- attention --------------------------------------------------------------------------------------------------

_BLOCKS: dict[str, Any] = {"min_length": 8, "query_block": 4, "key_block": 2, "rows": None, "audit_rows": 16}
_SPARSE = {"recall": 0.3, **_BLOCKS}
_SPATIAL = {"recall": 0.3, "min_length": 32, "query_block": 4, "key_block": 2, "rows": None, "audit_rows": 16}
_FIXED_SPARSITY: dict[str, Any] = {
    "recall": None, "sparsity": 0.5, "min_length": 8, "query_block": 8, "key_block": 8, "rows": None, "audit": "off",
}  # fmt: skip
_ATTENTION: dict[str, dict[str, Any]] = {
    "recall": _SPARSE,
    "audited": {**_SPARSE, "audit": "full"},
    "tail": {**_SPARSE, "tail": True},
    "first-frame": {**_SPARSE, "first_frame": True},
    "adaspa": {**_FIXED_SPARSITY, "dense_steps": 0.2},
    "window": {**_FIXED_SPARSITY, "window": True},
}
ATTENTION = [
    *[_clip(f"dit-attention-{name}", DIT, attention=setting, steps=5) for name, setting in _ATTENTION.items()],
    # a token grid wider than a tile: smaller ones are in raster order
    _clip("dit-attention-tile", DIT, attention={**_SPARSE, "order": "tile"}, size=[96, 96], frames=9, steps=3),
    _clip("unet-attention-recall", UNET, attention=_SPATIAL, steps=5),
    _clip("unet-attention-adaspa", UNET, attention=_ATTENTION["adaspa"], steps=5),
    _clip("unet-attention-window", UNET, attention={**_ATTENTION["window"], "min_length": 32}, steps=5),
]

# --- propagation ------------------------------------------------------------------------------------------------

_BOTH: dict[str, Any] = {
    "every": "every:2", "keys": {"keys": [0, 2, 3]},
    "hold": {"keys": "every:2", "predictor": "hold"}, "linear": {"keys": "every:2", "predictor": "linear"},
    "sigma": {"keys": "every:2", "predictor": "sigma"}, "prior-noise": {"keys": "every:2", "prior_noise": 0.01},
}  # fmt: skip
_DIT: dict[str, Any] = {
    "blocks": {"keys": "every:2", "boundary": "blocks:1,1"}, "probe": {"keys": "every:3", "predictor": "probe"},
    "frames": {"keys": "every:2", "boundary": "blocks:1,1", "frames": 2, "frames_gate": 0.0},
    "first-block": "first-block:0.5", "pab": "pab:2",
    "taylorseer": "taylorseer:2", "fastercache": "fastercache:2", "seacache": "seacache:0.5",
}  # fmt: skip
_UNET: dict[str, Any] = {
    "fd": "fd", "fd-one-by-one": {"keys": "fd", "boundary": "fd", "micro_batch": 1},
    "deepcache": "deepcache:2", "cut": {"keys": "every:2", "boundary": "cut:1,1"},
    "frames": {"keys": "every:2", "boundary": "fd", "frames": 2, "frames_gate": 0.0},
}  # fmt: skip
PROPAGATION = [
    *[_clip(f"dit-propagate-{name}", DIT, propagate=setting, steps=6) for name, setting in {**_BOTH, **_DIT}.items()],
    *[
        _clip(f"unet-propagate-{name}", UNET, propagate=setting, steps=6)
        for name, setting in {**_BOTH, **_UNET}.items()
    ],
    _clip("unet-propagate-fd-dpm", UNET, propagate="fd-dpm", steps=12),
    # 12 key steps of 20, and one step rolled back
    _clip(
        "dit-propagate-max_error-20", DIT, propagate={"max_error": 0.9, "first": 2}, steps=20, size=[32, 32], frames=9
    ),
    _clip("unet-propagate-max_error-20", UNET, propagate="max_error:0.1", steps=20, size=[32, 32]),
]

# --- motion -----------------------------------------------------------------------------------------------------

_DRAG = {"kind": "drag", "disc": [12, 24, 8], "path": [[12, 24], [36, 20]]}
_CAMERA = {"kind": "camera", "pan": 8, "zoom": 1.2, "ease": "in_out"}
_CUT = {"kind": "cut_drag", "sprites": [{"disc": [12, 24, 8], "path": [[12, 24], [36, 30]], "scale": 1.3}]}
_TRANSFER = {"kind": "transfer", "video": DRIVING}
MOTION = [
    _clip("dit-drag-warped", DIT, motion=[_DRAG]),
    _clip("dit-drag-warped-weak", DIT, motion=[_DRAG], motion_strength=0.4),
    _clip("dit-drag-bipartite", DIT, motion=[_DRAG], motion_backend="warped_noise:bipartite"),
    _clip("dit-drag-compat", DIT, motion=[_DRAG], motion_backend="warped_noise:compat"),
    _clip("dit-drag-texture", DIT, motion=[_DRAG], motion_backend="warped_noise:texture,cutoff=0.2"),
    _clip("dit-drag-dual_clock", DIT, motion=[_DRAG], motion_backend="dual_clock", steps=6),
    _clip("dit-camera", DIT, motion=[_CAMERA], steps=6),
    _clip("dit-camera-warped", DIT, motion=[_CAMERA], motion_backend="warped_noise"),
    _clip("dit-first-frame", DIT, motion=[_DRAG], motion_picture=FIRST_FRAME, motion_strength=0.8, steps=6),
    _clip("dit-drag-and-camera", DIT, motion=[_DRAG, _CAMERA]),
    _clip("dit-cut-drag", DIT, motion=[_CUT], motion_backend="dual_clock", steps=6),
    _clip("dit-transfer", DIT, motion=[_TRANSFER]),
    _clip("dit-orbit", DIT, motion=[{"kind": "camera", "orbit": 15, "dolly": 0.1, "roll": 10, "fov": 50}], steps=6),
    _clip("unet-drag-dual_clock", UNET, motion=[_DRAG], steps=6),
    _clip("unet-camera", UNET, motion=[_CAMERA], steps=6),
    _clip("unet-first-frame", UNET, motion=[_DRAG], motion_picture=FIRST_FRAME, steps=6),
    _clip("unet-drag-warped", UNET, motion=[_DRAG], motion_backend="warped_noise"),
]
TOGETHER = [
    _clip("dit-attention-propagate", DIT, attention={**_SPARSE, "dense_steps": 0.5}, propagate=_DIT["blocks"], steps=6),
    _clip("dit-attention-propagate-drag", DIT, attention=_SPARSE, propagate="every:2", motion=[_DRAG], steps=6),
    _clip("dit-propagate-camera", DIT, propagate="every:2", motion=[_CAMERA], steps=6),
    _clip("unet-attention-propagate", UNET, attention=_SPATIAL, propagate="fd", steps=6),
    _clip("unet-propagate-drag", UNET, propagate="deepcache:2", motion=[_DRAG], steps=6),
]

# --- long videos ------------------------------------------------------------------------------------------------

_POLICIES = {
    **{name: name for name in ("independent", "overlap", "replay", "look_back", "cono", "cono_v", "co_denoise")},
    "clean_prefix": "clean_prefix", "measured": "measured", "replay-released": "replay:release=0.6,pull=0.3",
    "co_denoise_shuffled": "co_denoise_shuffled",
    "cono_v-refreshed": "cono_v:refresh=0.5",
    "look_back-all": "look_back:n2=1,handover=2,right_release=0.4,mean_of=first,mean_regularisation=0.2,mean_space=x0",
    "co_denoise-sections": "co_denoise:windows=2",
}  # fmt: skip
_UNET_POLICIES = {
    "freenoise": "freenoise",
    "window_attention": "window_attention",
    "window_attention-sections": "window_attention:windows=2",
}
#: Policies that denoise several windows as one segment need more frames for three segments.
_LENGTHS: dict[str, dict[str, int]] = {
    DIT: {"co_denoise": 61, "co_denoise_shuffled": 61},
    UNET: {
        "co_denoise": 41, "co_denoise_shuffled": 41, "co_denoise-sections": 27, "window_attention": 27,
        "window_attention-sections": 27,
    },
}  # fmt: skip


def _by_policy(prefix: str, model: str, policies: dict[str, str]) -> list[Case]:
    lengths = {name: {"frames": frames} for name, frames in _LENGTHS[model].items()}
    return [
        _long(f"{prefix}-long-{name}", model, continuity=policy, **lengths.get(name, {}))
        for name, policy in policies.items()
    ]


LONG = [
    *_by_policy("dit", DIT, _POLICIES),
    *_by_policy("unet", UNET, {**_POLICIES, **_UNET_POLICIES}),
    *[
        _long(f"dit-long-story-{name}", DIT, story=STORY, continuity=name)
        for name in ("replay", "clean_prefix", "co_denoise", "cono_v")
    ],
    *[
        _long(f"unet-long-story-{name}", UNET, story=STORY_UNET, continuity=name)
        for name in ("overlap", "clean_prefix", "window_attention")
    ],
    _long("dit-long-story-moving", DIT, story=TWO_SHOTS),
    _long("dit-long-drag", DIT, motion=[_DRAG]),
    _long("dit-long-solver", DIT, continuity="replay", solver="dpm++2m", guidance_scale=1.0),
    _long("unet-long-stochastic", UNET, continuity="overlap", solver="euler-a"),
    _long("dit-long-retries", DIT, continuity="independent", retries=2),
    _long("unet-long-retries", UNET, continuity="independent", frames=24, retries=2),
    _long("dit-long-propagate", DIT, continuity="replay", propagate="every:2", steps=5),
    _long("dit-long-all-together", DIT, continuity="clean_prefix", propagate="every:2", attention=_SPARSE, steps=5),
    _long(
        "unet-long-all-together",
        UNET,
        continuity="co_denoise:windows=2",
        frames=27,
        propagate="fd",
        attention=_SPATIAL,
        steps=5,
    ),
    _long("dit-redo", DIT, continuity="clean_prefix", redo=1),
    _long("dit-redo-story", DIT, story=STORY, continuity="replay", redo=2),
    _long("unet-redo", UNET, continuity="overlap", redo=1),
    _long("dit-resumed-clean_prefix", DIT, continuity="clean_prefix", kill_after=1),
    _long("dit-resumed-cono_v-story", DIT, story=STORY, continuity="cono_v", kill_after=2),
    _long("unet-resumed-overlap", UNET, continuity="overlap", kill_after=2),
    _long("dit-memory-long", DIT, continuity="replay:overlap=1", window=9, frames=85, width=32, height=32, steps=2),
]

CASES: list[Case] = [*PLAIN, *ATTENTION, *PROPAGATION, *MOTION, *TOGETHER, *LONG]
