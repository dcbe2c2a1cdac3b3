"""Options of a quantization: what it must reach, which formats it may choose, and how the model is observed."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from videogen.backbones.precision.weight_format import WeightFormat, parse_format
from videogen.core.byte_sizes import parse_bytes
from videogen.core.errors import InputError

#: steps from which inputs are taken: every few steps (Q-Diffusion), drawn around a point of the run
#: (PTQ4DM; `normal:0.4` is 40 % before its end), or by how different steps are (EDA-DM)
SAMPLINGS = ("spread", "normal:WHERE", "density")
_NORMAL = re.compile(r"normal:([01]?\.?\d+)")
_DEFAULT_FORMATS = ("int3", "int4", "int4-svd16", "int4-svd32", "int6", "int8")
#: what observes the model where no prompts are given; the embedded models know these words too
_DEFAULT_PROMPTS = (
    "a red ball moves right on a black background",
    "a blue star spins on a gray background",
    "a green square moves up on a white background",
    "a yellow ball moves left on a black background",
)


@dataclass(frozen=True)
class QuantizeOptions:
    """InputError for what no model can be quantized with.

    Exactly one of: target, bytes of the denoiser's weights, as `8GB`; psnr, dB of the decoded clips to full precision;
    to, one format for all layers. formats: those to choose from, where there is a choice (None: int3 to int8).
    time_format: of the layers that compute with the timestep, None: full precision (TFMQ-DM). sampling: of `SAMPLINGS`;
    samples: model calls at which layers are tried; search: whether ranges are searched; weighted: whether errors count
    as the inputs are large. prompts: of the clips that are observed; the same ones with other seeds measure the result.
    frames, size, steps: of the clips, None: the model's defaults.
    """

    target: str | int | None = None
    psnr: float | None = None
    to: str | None = None
    formats: tuple[str, ...] | None = None
    time_format: str | None = None
    sampling: str = "spread"
    samples: int = 4
    search: bool = True
    weighted: bool = True
    prompts: tuple[str, ...] = _DEFAULT_PROMPTS
    frames: int | None = None
    size: tuple[int, int] | None = None
    steps: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        given = {"target": self.target, "psnr": self.psnr, "to": self.to}
        stated = [name for name, value in given.items() if value is not None]
        if len(stated) != 1:
            have = f"{' and '.join(stated)} are given" if stated else "none is given"
            raise InputError(f"{have}; give one of target (a size), psnr (dB) and to (a weight format)")
        if self.psnr is not None and not (math.isfinite(self.psnr) and self.psnr > 0):
            raise InputError(f"psnr={self.psnr} must be a positive number of dB")
        if self.to is not None and self.formats is not None:
            raise InputError(
                f"formats={','.join(self.formats)} is a choice, and to={self.to!r} leaves none; give one of them, or a "
                "target or psnr"
            )
        for name in (*(self.formats or ()), *filter(None, (self.to, self.time_format))):
            parse_format(name)
        if self.formats == () or not self.prompts or self.samples < 1:
            raise InputError("formats, prompts and samples must each be at least one")
        _ = self.target_bytes, self.normal_point

    @property
    def target_bytes(self) -> int | None:
        return None if self.target is None else parse_bytes(self.target, "target")

    @property
    def normal_point(self) -> float | None:
        """Where samples are drawn around, as a fraction before the end of the run; None for the other samplings."""
        match = _NORMAL.fullmatch(self.sampling)
        if match and 0 <= float(match[1]) <= 1:
            return float(match[1])
        if self.sampling not in SAMPLINGS or self.sampling == SAMPLINGS[1]:
            raise InputError(
                f"sampling={self.sampling!r} is unknown; give spread, density, or normal:0.4 (drawn around 40 % before "
                "the end)"
            )
        return None

    @property
    def candidates(self) -> list[WeightFormat]:
        return [parse_format(name) for name in ((self.to,) if self.to else self.formats or _DEFAULT_FORMATS)]
