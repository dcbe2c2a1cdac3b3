"""Modules that stay in fp32: by the parts of their names, as in a folder that diffusers loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny.table import load_rows
from videogen.backbones.precision.fp32_modules import fp32_modules, stays_in_fp32
from videogen.backbones.precision.quantizing import load_quantized, quantize, save_quantized
from videogen.backbones.precision.selection import find_quantizable
from videogen.backbones.precision.weight_format import parse_format


@pytest.mark.parametrize(
    ("name", "stays"),
    [
        ("blocks.0.norm2.weight", True),
        ("norm2.weight", True),
        ("blocks.0.norm22.weight", False),
        ("blocks.0.my_norm2.bias", False),
        ("blocks.0.attn1.to_q.weight", False),
    ],
)
def test_a_part_of_the_dotted_name_decides(name: str, stays: bool) -> None:
    assert stays_in_fp32(name, ("norm2", "scale_shift_table")) is stays


def test_a_quantized_copy_has_the_dtypes_of_the_librarys_folder(tmp_path: Path) -> None:
    model = load_rows()["WanPipeline"].build().transformer
    model.save_pretrained(tmp_path / "plain")
    kind = type(model)
    kind_with_part: Any = type(kind.__name__, (kind,), {"_keep_in_fp32_modules": ["norm2", "to_q", "time"]})
    plain = kind_with_part.from_pretrained(tmp_path / "plain", torch_dtype=torch.bfloat16)
    formats = dict.fromkeys(find_quantizable(model), parse_format("int8"))
    quantize(model, formats)
    save_quantized(model, tmp_path / "copy", formats)
    copy = load_quantized(kind_with_part, tmp_path / "copy", torch.bfloat16)
    expected = {name: value.dtype for name, value in plain.named_parameters()}
    found = {name: value.dtype for name, value in copy.named_parameters()}
    assert found and {name: expected[name] for name in found} == found
    assert fp32_modules(kind_with_part) == ("norm2", "to_q", "time") and fp32_modules(torch.nn.Linear(1, 1)) == ()
