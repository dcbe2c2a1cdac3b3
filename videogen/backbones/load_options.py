"""Load options: how a model is loaded, besides its name. No torch here.

A new one is a field here, a field of the same name in `RenderRequest` (so that a manifest repeats it), a keyword of
`Engine.load`, and an option of the command line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from videogen.core.byte_sizes import parse_bytes
from videogen.core.errors import InputError, unknown

from .precision.table import dtype_of

DEVICES = ("cpu", "cuda", "mps", "xpu")
DTYPES = ("float32", "bfloat16", "float16")
OFFLOADS = ("model", "sequential")
#: values of `compile` besides True and False
CUDA_GRAPHS = "cuda-graphs"
#: components of a pipeline that may come from another source than the rest
COMPONENTS = ("transformer", "transformer_2", "unet", "vae", "text_encoder", "motion_adapter")
_DEVICE = re.compile(r"[a-z]+(:\d+)?")


@dataclass(frozen=True)
class LoadOptions:
    """How a model is loaded. InputError for a value that no model can be loaded with.

    dtype: of `DTYPES` (None: fp32 on a CPU, bf16 elsewhere); device: of `DEVICES`, optionally with a number, such as
    `cuda:1` (None: the best that is present); offload: of `OFFLOADS`, through accelerate, on machines with an
    accelerator; local_files_only: load a hub id from the local cache, without asking the hub. compile: compile the
    denoiser's repeated blocks at their first call; `cuda-graphs` also replays them as CUDA graphs. channels_last: the
    VAE's weights and activations in channels-last memory, whose convolutions are faster on a GPU and may round
    differently. memory: bytes of the device that a render may take, such as `12GB`: what stays on the device and how
    the VAE decodes are then planned for each render. precision: how the denoiser's weights are stored, a name of
    `precision.table` such as `int8`, or `COMPONENT=NAME,...` (None: in the dtype).

    base: where the rest of the pipeline of a single file is, a folder or hub id (None: the library's own for the model
    that the file is of); revision: branch, tag or commit of a model on the hub; transformer, transformer_2, unet, vae,
    text_encoder, motion_adapter: where this component comes from instead, a file, a folder or a hub id.
    """

    dtype: str | None = None
    device: str | None = None
    offload: str | None = None
    local_files_only: bool = False
    compile: bool | str = False
    channels_last: bool = False
    memory: str | int | None = None
    base: str | None = None
    revision: str | None = None
    transformer: str | None = None
    transformer_2: str | None = None
    unet: str | None = None
    vae: str | None = None
    text_encoder: str | None = None
    motion_adapter: str | None = None
    precision: str | None = None

    def __post_init__(self) -> None:
        _check_choice("dtype", self.dtype, DTYPES)
        if self.device is not None and not is_device(self.device):
            raise unknown("device", self.device, DEVICES)
        _check_choice("offload", self.offload, OFFLOADS)
        if not isinstance(self.compile, bool) and self.compile != CUDA_GRAPHS:
            raise InputError(f"compile={self.compile!r} must be True, False or {CUDA_GRAPHS!r}")
        if not isinstance(self.channels_last, bool):
            raise InputError(f"channels_last={self.channels_last!r} must be True or False")
        self._check_memory()
        self._check_precision()

    @property
    def chosen_dtype(self) -> str | None:
        """`dtype`, or the one that `precision` sets."""
        return self.dtype or dtype_of(self.precision)

    def _check_precision(self) -> None:
        set_by_precision = dtype_of(self.precision)
        if set_by_precision not in (None, self.dtype or set_by_precision):
            raise InputError(
                f"precision={self.precision!r} sets dtype {set_by_precision!r}, but dtype={self.dtype!r} is given; "
                "give one of them"
            )

    def _check_memory(self) -> None:
        if self.memory is None:
            return
        parse_bytes(self.memory, "memory")
        if self.offload is not None:
            raise InputError(
                f"memory={self.memory!r} and offload={self.offload!r} both say what is offloaded; leave offload out: "
                "the plan for the memory chooses it"
            )

    @property
    def components(self) -> dict[str, str]:
        """The components that come from another source -> that source."""
        given = {name: getattr(self, name) for name in COMPONENTS}
        return {name: source for name, source in given.items() if source is not None}


def is_device(name: str) -> bool:
    """Whether a name is of the form of a device's, such as `cuda` or `cuda:1`."""
    return bool(_DEVICE.fullmatch(name)) and name.partition(":")[0] in DEVICES


def _check_choice(kind: str, value: str | None, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        raise unknown(kind, value, choices)
