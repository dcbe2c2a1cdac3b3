"""Formats of weights and ways to choose them: bits against PSNR on an embedded model.

Each row loads the model again, quantizes it, and measures decoded clips against full precision, with seeds that
calibration did not see. Writes benchmarks/quantization-MODEL.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tools.bench.files import BENCHMARKS, ResumableRows, changed_options, show_progress, write_report
from videogen import Engine
from videogen.quantization.options import QuantizeOptions
from videogen.quantization.quantizer import Quantizer

TARGETS = {"psnr_db_of_int4_with_low_rank": 31.0}
DEFAULTS = {"steps": 8}
UNIFORM = ("int8", "fp8", "int6", "fp6", "int5", "int4", "fp4", "int3", "int4-svd16", "int4-svd32", "fp4-svd32")
_MIXED = ("int3", "int4", "int5", "int6", "int8")


def rows(bytes_of_int4: int, bytes_of_svd: int) -> dict[str, dict[str, Any]]:
    """Name -> options. bytes_of_int4, bytes_of_svd: sizes of uniform `int4` and `int4-svd32`, which choices match."""
    mixed: dict[str, Any] = {"target": bytes_of_int4, "formats": _MIXED}
    return {
        "int4, range of all values": {"to": "int4", "search": False},
        "int4, unweighted": {"to": "int4", "weighted": False},
        "int4, calibrated around 40 % before the end": {"to": "int4", "sampling": "normal:0.4"},
        "int4, calibrated by density": {"to": "int4", "sampling": "density"},
        "int4, time layers int4": {"to": "int4", "time_format": "int4"},
        "chosen per layer, size of int4, spread": mixed,
        "chosen per layer, size of int4, normal": {**mixed, "sampling": "normal:0.4"},
        "chosen per layer, size of int4, density": {**mixed, "sampling": "density"},
        "chosen per layer, size of int4-svd32": {"target": bytes_of_svd, "formats": (*_MIXED, "int4-svd16")},
        "chosen per layer, PSNR 35 dB": {"psnr": 35.0, "formats": _MIXED},
    }


def measure(model: str, steps: int, report: Path) -> dict[str, Any]:
    stored = ResumableRows(report, {"hash": Engine.load(model, device="cpu").backbone.digest, "steps": steps})
    found = {row["name"]: row for row in stored.rows}

    def add(name: str, options: dict[str, Any]) -> dict[str, Any]:
        if name not in found:
            found[name] = {"name": name, **_measure_row(model, QuantizeOptions(**options, steps=steps))}
            stored.add(found[name])
            show_progress(found[name])
        return found[name]

    uniform = {name: add(name, {"to": name}) for name in UNIFORM}
    sizes = uniform["int4"]["bytes"], uniform["int4-svd32"]["bytes"]
    has_time_layers = model == "embedded-unet"  # a DiT computes with the timestep outside its blocks
    for name, options in rows(*sizes).items():
        if has_time_layers or "time_format" not in options:
            add(name, options)
    return {"steps": steps, "rows": list(found.values())}


def _measure_row(model: str, options: QuantizeOptions) -> dict[str, Any]:
    report = Quantizer(Engine.load(model, device="cpu"), options).run()
    return {
        "bytes": report.bytes_after,
        "fraction": round(report.bytes_after / report.bytes_before, 4),
        "psnr_db": round(report.mean_psnr_db, 2),
        "least_psnr_db": round(report.worst_psnr_db, 2),
        "clips": len(report.psnr_db),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="embedded", help="embedded or embedded-unet")
    parser.add_argument("--steps", type=int, default=DEFAULTS["steps"], help="denoising steps of each clip")
    parser.add_argument("--out", type=Path, default=BENCHMARKS, help="folder of the report")


def run(options: argparse.Namespace) -> int:
    path = options.out / f"quantization-{options.model}.json"
    figures = {"targets": TARGETS, **measure(options.model, options.steps, path)}
    command = f"quantization --model {options.model}{changed_options(options, DEFAULTS, ['steps'])}"
    write_report(path, command, figures, device="cpu", model=options.model)
    return 0
