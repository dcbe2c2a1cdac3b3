"""Text and JSON of an engine's render, from its manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from videogen.metrics.seams import least, seam

from ..reports.promises import describe_missed_error, describe_missed_recall

Manifest = dict[str, Any]


def describe_render(manifest: Manifest, notes: Sequence[str] = ()) -> str:
    """A few lines: the clip, what each technique measured, and what the user should know."""
    measured = manifest["measured"]
    lines = [_describe_clip(manifest)]
    for section, describe in _SECTIONS.items():
        if section in measured:
            lines += describe(measured[section])
    lines += [f"{name} had no effect: {reason}" for name, reason in measured.get("no_effect", {}).items()]
    lines.append("seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in manifest["timings_s"].items()))
    return "\n".join([*lines, *_describe_notes(notes)])


def describe_extension(
    frames: np.ndarray, joins: Sequence[int], way: str, frames_per_latent: int, notes: Sequence[str] = ()
) -> str:
    """Where clips meet, how visible that is, and what the user should know. way: how the model continues a clip, as a
    clause; frames_per_latent: of its VAE."""
    places = f"frame {joins[0]}" if len(joins) == 1 else f"frames {', '.join(map(str, joins))}"
    lines = [f"{len(frames)} frames; clips meet at {places}, where {way}"]
    for at in joins:
        room = least(frames_per_latent)
        if room <= at <= len(frames) - room:
            found = seam(frames, at, frames_per_latent)
            faults = ", ".join(found.faults()) or "not visible"
            lines.append(f"seam at {at}: ratio {found.ratio:.2f} ({faults})")
    return "\n".join([*lines, *_describe_notes(notes)])


def to_json(manifest: Manifest) -> str:
    """The manifest, as videogen's files have it."""
    return json.dumps(manifest, ensure_ascii=False)


def _describe_notes(notes: Sequence[str]) -> Iterator[str]:
    """Each note once."""
    return (f"note: {note}" for note in dict.fromkeys(notes))


def _describe_clip(manifest: Manifest) -> str:
    request = manifest["request"]
    return (
        f"{manifest['model']['name']}: {request['frames']} frames of {request['width']}x{request['height']} at "
        f"{float(request['fps']):g} fps, {request['steps']} steps, guidance {request['guidance_scale']:g}, "
        f"seed {request['seed']}"
    )


def _describe_attention(report: Manifest) -> Iterator[str]:
    recall = report.get("least_recall")
    if report.get("mean_density") is None:
        return
    measured = "" if recall is None else f", recall at least {recall:.3f}"
    yield f"sparse attention: {report['mean_density']:.0%} computed{measured}"
    yield from describe_missed_recall(report)


def _describe_propagation(report: Manifest) -> Iterator[str]:
    if "evaluated" in report:
        yield f"propagation: the model was evaluated at {report['evaluated']}"
    yield from describe_missed_error(report)


def _describe_motion(report: Manifest) -> Iterator[str]:
    if "error_px" in report:
        yield f"motion: error {report['error_px']:.2f} px per frame"
    for note in report.get("notes", ()):
        yield f"note: {note}"


def _describe_long(report: Manifest) -> Iterator[str]:
    found = report["report"] or {}
    ratio = found.get("median_ratio")
    seams = "" if ratio is None else f", median seam ratio {ratio:.2f}"
    yield f"{len(report['segments'])} segments joined by {report['continuity']['policy']}{seams}"
    yield f"faults: {', '.join(found.get('faults', ())) or 'none'}"


_SECTIONS = {
    "attention": _describe_attention,
    "propagation": _describe_propagation,
    "motion": _describe_motion,
    "long": _describe_long,
}
