"""Quantization configurations of the libraries that diffusers integrates, for one component of a checkpoint.

library: of the component, `diffusers` or `transformers`, which have classes of the same names; dtype: of the run.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch


def torchao_int8(library: str, dtype: torch.dtype) -> Any:
    from torchao.quantization import Int8WeightOnlyConfig

    return _torchao(library, Int8WeightOnlyConfig())


def torchao_int8_dynamic(library: str, dtype: torch.dtype) -> Any:
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig

    return _torchao(library, Int8DynamicActivationInt8WeightConfig())


def torchao_int4(library: str, dtype: torch.dtype) -> Any:
    from torchao.quantization import Int4WeightOnlyConfig

    return _torchao(library, Int4WeightOnlyConfig())


def torchao_fp8(library: str, dtype: torch.dtype) -> Any:
    from torchao.quantization import Float8DynamicActivationFloat8WeightConfig

    return _torchao(library, Float8DynamicActivationFloat8WeightConfig())


def bitsandbytes_int8(library: str, dtype: torch.dtype) -> Any:
    return import_module(library).BitsAndBytesConfig(load_in_8bit=True)


def bitsandbytes_nf4(library: str, dtype: torch.dtype) -> Any:
    return import_module(library).BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
    )


def quanto_int8(library: str, dtype: torch.dtype) -> Any:
    name = "weights" if library == "transformers" else "weights_dtype"
    return import_module(library).QuantoConfig(**{name: "int8"})


def sdnq_int8(library: str, dtype: torch.dtype) -> Any:
    from sdnq import SDNQConfig

    return SDNQConfig(weights_dtype="int8")


def sdnq_uint4_svd(library: str, dtype: torch.dtype) -> Any:
    from sdnq import SDNQConfig

    return SDNQConfig(weights_dtype="uint4", use_svd=True, svd_rank=32)


def _torchao(library: str, config: Any) -> Any:
    return import_module(library).TorchAoConfig(config)
