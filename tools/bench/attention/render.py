"""A render under each sparse-attention policy against the same render with dense attention."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from tools.bench.files import show_progress
from videogen.attention import SparseAttention

PROMPT = "a red ball moves right on a striped background"
RECALL = 0.95


def measure_renders(options: argparse.Namespace) -> dict[str, Any]:
    """The same clip dense and under each policy, one after another; then once more under a full audit of the recall."""
    from videogen import Engine

    engine = Engine.load(options.model, device="cpu")
    clip: dict[str, Any] = {"frames": options.frames, "size": (options.side, options.side), "steps": options.steps}
    clip |= {"seed": 1, "continuity": "off"}

    def render(attention: SparseAttention | str) -> Any:
        return engine.generate(PROMPT, attention=attention, **clip)

    dense = render("dense")
    dense_s = dense.manifest["timings_s"]["denoise"]
    rows: dict[str, Any] = {}
    for name, config in policies():
        rows[name] = _row(render(config), dense)
        show_progress({name: rows[name]})
    audited = render(SparseAttention(audit="full")).manifest["measured"]["attention"]
    density = rows["recall"]["mean_density"]  # a window of the same density, for comparison
    window = render(SparseAttention.from_policy("window", min(0.95, max(0.0, 1 - density))))
    rows["window at the density of `recall`"] = {
        "mean_density": window.manifest["measured"]["attention"]["mean_density"],
        **fidelity(window.frames, dense.frames),
    }
    return {
        "clip": {**clip, "tokens": audited["tokens"], "prompt": PROMPT, "model": options.model},
        "dense_denoise_s": round(dense_s, 2),
        "policies": rows,
        "full_audit": _audit_summary(audited),
    }


def _row(video: Any, dense: Any) -> dict[str, Any]:
    measured, denoise_s = video.manifest["measured"]["attention"], video.manifest["timings_s"]["denoise"]
    return {
        "mean_density": measured["mean_density"],
        "least_recall": measured["least_recall"],
        "dense_calls": measured["dense"],
        "denoise_s": round(denoise_s, 2),
        "speedup": round(dense.manifest["timings_s"]["denoise"] / denoise_s, 3),
        **fidelity(video.frames, dense.frames),
    }


def _audit_summary(audited: dict[str, Any]) -> dict[str, Any]:
    """Recall of the worst head at every audited step and layer, and how many are below the target."""
    recalls = [value for row in audited["exact"] for value in row if value is not None]
    return {
        "target": RECALL,
        "least": min(recalls, default=None),
        "measured": len(recalls),
        "below": sum(value < RECALL for value in recalls),
        "dense_calls": audited["dense"],
    }


def fidelity(frames: Any, reference: Any) -> dict[str, float | None]:
    """PSNR in dB (None: equal frames) and SSIM."""
    from videogen.metrics.fidelity import psnr_db, ssim

    decibels = psnr_db(frames, reference)
    return {
        "psnr_db": None if decibels == float("inf") else round(decibels, 2),
        "ssim": round(ssim(frames, reference), 4),
    }


def policies() -> Iterator[tuple[str, SparseAttention]]:
    yield "recall", SparseAttention()
    yield "recall, tile order", SparseAttention(order="tile")
    yield "recall 0.9 with tail", SparseAttention(recall=0.9, tail=True)
    yield "adaspa 0.8", SparseAttention.adaspa(0.8)
