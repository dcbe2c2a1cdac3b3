"""Feature caches of diffusers by name, each with one number: one row per cache. `library` attaches them.

Importing this loads no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from videogen.core.errors import InputError, UnsupportedError, unknown
from videogen.core.keywords import suggest_keywords
from videogen.core.text import shortest


@dataclass(frozen=True)
class CacheKind:
    """One cache.

    default, unit: of its number, which is a `threshold` above 0 or an `interval`, a whole number of steps. config: its
    settings class in the library. builder: `module:function` in this package, which builds the settings. needs: those
    of `steps`, `mag_ratios`, `timestep` and `sigma` that it must be given. skips_blocks: it skips full blocks, at
    least `least_blocks`, whose argument positions the library must know, under `fixed_arguments` or their registered
    names. filters_latents: it reads the latents of the model's input. pairs_branches: it takes both guidance halves in
    one batch, unless a call is of one branch. counts_steps: it counts the model's calls as steps. compares_batches:
    what it reuses depends on the content of all clips of a batch together.
    """

    default: float
    unit: str
    config: str
    builder: str
    description: str
    needs: frozenset[str] = field(default=frozenset())
    skips_blocks: bool = False
    least_blocks: int = 1
    fixed_arguments: tuple[str, ...] = ()
    filters_latents: bool = False
    pairs_branches: bool = False
    counts_steps: bool = False
    compares_batches: bool = False

    @property
    def is_interval(self) -> bool:
        return self.unit == "interval"

    @property
    def letter(self) -> str:
        return "N" if self.is_interval else "T"

    @property
    def needs_from_user(self) -> tuple[str, ...]:
        """The needs that neither the loop nor a default provides."""
        return tuple(self.needs & {"mag_ratios"})


CACHES: dict[str, CacheKind] = {
    "first-block": CacheKind(
        0.08, "threshold", "FirstBlockCacheConfig", "library_configs:build_first_block",
        "the blocks' change is reused while the first block's is similar (after TeaCache, arXiv 2411.19108)",
        skips_blocks=True, least_blocks=2, fixed_arguments=("hidden_states", "encoder_hidden_states"),
        compares_batches=True,
    ),
    "magcache": CacheKind(
        0.06, "threshold", "MagCacheConfig", "library_configs:build_magcache",
        "reuses while the product of measured magnitude ratios stays near 1 (MagCache, arXiv 2506.09045)",
        needs=frozenset({"steps", "mag_ratios"}), skips_blocks=True,
        fixed_arguments=("encoder_hidden_states",), counts_steps=True,
    ),
    "taylorseer": CacheKind(
        3, "interval", "TaylorSeerCacheConfig", "library_configs:build_taylorseer",
        "attention and feed-forward outputs are extrapolated (TaylorSeer, arXiv 2503.06923)",
    ),
    "fastercache": CacheKind(
        2, "interval", "FasterCacheConfig", "library_configs:build_fastercache",
        "attention outputs are extrapolated, the unconditional half is made from the other (arXiv 2410.19355)",
        needs=frozenset({"timestep"}), pairs_branches=True,
    ),
    "pab": CacheKind(
        2, "interval", "PyramidAttentionBroadcastConfig", "library_configs:build_pab",
        "attention outputs are reused (Pyramid Attention Broadcast, arXiv 2408.12588)", needs=frozenset({"timestep"}),
    ),
    "seacache": CacheKind(
        0.25, "threshold", "SeaCacheConfig", "library_configs:build_seacache",
        "reuses while the spectrally filtered latents are similar (SeaCache, arXiv 2602.18993)",
        needs=frozenset({"steps", "sigma"}), skips_blocks=True, filters_latents=True, compares_batches=True,
    ),
}  # fmt: skip


@suggest_keywords
@dataclass(frozen=True)
class LibraryCache:
    """One of the library's caches and its number; None: the default. Raises InputError.

    value: for `first-block`, `magcache` and `seacache` a threshold above 0, larger is faster; for `taylorseer`, `pab`
    and `fastercache` the interval in steps at which everything is computed; 1 is the plain model. `fastercache:N`
    computes the unconditional half every 2N+1 steps.
    """

    name: str
    value: float | None = None

    def __post_init__(self) -> None:
        if self.name not in CACHES:
            raise unknown("cache", str(self.name), CACHES)
        kind = self.kind
        value = kind.default if self.value is None else self.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise InputError(f"{self.name}:{value} needs a {kind.unit} above 0, such as {self.name}:{kind.default:g}")
        if kind.is_interval and value != int(value):
            raise InputError(
                f"{self.name}:{value:g} needs a whole number of steps, such as {self.name}:{kind.default:g}"
            )
        object.__setattr__(self, "value", int(value) if kind.is_interval else float(value))

    @property
    def kind(self) -> CacheKind:
        return CACHES[self.name]

    @property
    def compares_batches(self) -> bool:
        """Whether what is reused depends on the content of all clips of a batch together."""
        return self.kind.compares_batches

    @classmethod
    def parse(cls, spec: str) -> LibraryCache | None:
        """The cache of a spec such as `first-block:0.08` or `pab`; None if there is no such cache. InputError for a bad
        number."""
        name, colon, number = spec.strip().partition(":")
        if name not in CACHES:
            return None
        try:
            value = float(number) if colon else None
        except ValueError:
            raise InputError(f"{spec!r} needs a number after ':', such as {name}:{CACHES[name].default:g}") from None
        return cls(name, value)

    def __str__(self) -> str:
        """The spec that `parse` reads back."""
        return f"{self.name}:{shortest(self.value or 0)}"


@dataclass(frozen=True)
class CacheRequest:
    """One cache with the properties of the run that it needs. Raises InputError, UnsupportedError.

    mag_ratios: with magcache, None means that they are to be measured.
    """

    cache: LibraryCache
    steps: int | None
    mag_ratios: tuple[float, ...] | None
    is_guidance_distilled: bool

    def __post_init__(self) -> None:
        if self.steps is None and "steps" in self.kind.needs:
            raise UnsupportedError(f"{self.name} must know how many steps a run has; give attach_library(..., steps=N)")
        if self.steps is not None and (
            isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1
        ):
            raise InputError(f"steps={self.steps!r} must be a whole number above 0")
        if self.mag_ratios is not None:
            self._check_ratios(self.mag_ratios)

    def _check_ratios(self, ratios: tuple[float, ...]) -> None:
        if "mag_ratios" not in self.kind.needs:
            raise InputError(f"mag_ratios are magcache's; {self.cache} takes none")
        if not ratios or not all(isinstance(r, int | float) and math.isfinite(r) and r > 0 for r in ratios):
            raise InputError(
                f"mag_ratios={list(ratios)} must be numbers above 0, one per step; measure them with calibrate_magcache"
            )

    @property
    def name(self) -> str:
        return self.cache.name

    @property
    def kind(self) -> CacheKind:
        return self.cache.kind

    @property
    def measures_ratios(self) -> bool:
        return "mag_ratios" in self.kind.needs and self.mag_ratios is None

    @property
    def pairs_branches(self) -> bool:
        """Whether both guidance halves come in one batch."""
        return self.kind.pairs_branches and not self.is_guidance_distilled
