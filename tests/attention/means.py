"""Means that change a model and are not techniques of videogen's: LoRAs, storage, offloading, quantization, compiling.

Each is one row of the table in docs/guide/gpu.md, which `test_means` generates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

_RANK = 4


@dataclass(frozen=True)
class Means:
    """A change of a model. refused: the techniques that cannot be attached after it; remove: takes it off again, after
    which the model has the bits that it had before; package: what it needs and the tested set of packages lacks;
    slow: cells that take seconds, by (technique, order)."""

    name: str
    apply: Callable[[Any], None]
    refused: tuple[str, ...] = ()
    remove: Callable[[Any], None] | None = None
    package: str = ""
    slow: tuple[tuple[str, str], ...] = ()

    @property
    def is_measured(self) -> bool:
        """Whether what it needs is installed."""
        return not self.package or find_spec(self.package) is not None


def _add_lora(model: Any) -> None:
    """As `load_lora_weights` of a pipeline puts one on its denoiser."""
    generator = torch.Generator().manual_seed(7)
    state = {}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear) and name.startswith("blocks."):
            state[f"{name}.lora_A.weight"] = torch.randn(_RANK, layer.in_features, generator=generator)
            state[f"{name}.lora_B.weight"] = 0.05 * torch.randn(layer.out_features, _RANK, generator=generator)
    model.load_lora_adapter(state, prefix=None, adapter_name="style")


def _remove_lora(model: Any) -> None:
    model.unload_lora()


def _fuse_lora(model: Any) -> None:
    _add_lora(model)
    model.fuse_lora()
    model.unload_lora()  # leaves the sum in the weights


def _add_lora_and_compile(model: Any) -> None:
    _add_lora(model)
    _compile_blocks(model)


def _fuse(model: Any) -> None:
    model.fuse_qkv_projections()


def _store_in_fp8(model: Any) -> None:
    model.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)


def _offload(kind: str) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        options = {"num_blocks_per_group": 1} if kind == "block_level" else {}
        model.enable_group_offload(torch.device("cpu"), torch.device("cpu"), offload_type=kind, **options)

    return apply


def _compile_blocks(model: Any) -> None:
    for block in model.blocks:
        block.compile(backend="eager")


def _compile_feed_forward(model: Any) -> None:
    for block in model.blocks:
        block.ffn.compile(backend="eager")


def _quantize(name: str) -> Callable[[Any], None]:
    """videogen's own formats, as `precision=` applies them."""

    def apply(model: Any) -> None:
        from videogen.backbones.precision.quantizing import quantize
        from videogen.backbones.precision.weight_format import parse_format

        quantize(model, parse_format(name))

    return apply


def _pack_as_gguf(model: Any) -> None:
    """The linear layers of the blocks as diffusers has them after it has read a GGUF file of Q8_0."""
    import gguf
    from diffusers.quantizers.gguf.utils import GGUFLinear, GGUFParameter

    kind = gguf.GGMLQuantizationType.Q8_0
    for name, layer in list(model.blocks.named_modules()):
        if not isinstance(layer, nn.Linear):
            continue
        packed = torch.from_numpy(gguf.quantize(layer.weight.float().numpy(), kind))
        with torch.device("meta"):
            new = GGUFLinear(layer.in_features, layer.out_features, layer.bias is not None, torch.float32)
        new.weight, new.bias = GGUFParameter(packed, quant_type=kind), layer.bias
        model.blocks.set_submodule(name, new)


def _quantize_by_torchao(model: Any) -> None:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    quantize_(model.blocks, Int8WeightOnlyConfig())


MEANS = (
    Means("LoRA (`load_lora_weights`)", _add_lora, remove=_remove_lora),
    Means("LoRA, fused into the weights", _fuse_lora),
    Means("fused QKV projections", _fuse),
    Means("fp8 storage (layerwise casting)", _store_in_fp8),
    Means("group offload, blocks", _offload("block_level")),
    Means("group offload, leaves", _offload("leaf_level")),
    Means("`precision=\"int8\"`", _quantize("int8")),
    Means("`precision=\"int4-svd\"`", _quantize("int4-svd4")),
    Means("GGUF (Q8_0)", _pack_as_gguf),
    Means("torchao, int8 weights", _quantize_by_torchao, package="torchao"),
    Means("compiled blocks", _compile_blocks, refused=("sparse attention",),
          slow=(("sparse attention", "applied while attached"),)),
    Means("compiled blocks with a LoRA", _add_lora_and_compile, refused=("sparse attention",),
          slow=tuple((technique, order) for technique in ("sparse attention", "propagation")
                     for order in ("applied before", "applied while attached"))),
    Means("compiled feed-forward layers alone", _compile_feed_forward),
)  # fmt: skip
