"""Graphs of motion control: warped noise, and dual clock."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .graphs import (
    FRAMES,
    SIDE_PX,
    Api,
    Example,
    Graph,
    Link,
    Parts,
    decode_and_save,
    empty_latents,
    load_parts,
    report,
    sample,
    sample_from_noise,
)


def drag(example: Example) -> Api:
    graph = Graph()
    parts = load_parts(graph, example.prompt)
    return _warp_noise(example, graph, parts, _add_drag(graph), seed=3)


def combine(example: Example) -> Api:
    graph = Graph()
    parts = load_parts(graph, example.prompt)
    camera = graph.add(
        "VideogenMotionCamera", pan=0.0, tilt=0.0, roll=0.0, zoom=1.5, truck=0.0, dolly=0.0, orbit=0.0, ease="in_out"
    )
    motions: dict[str, Any] = {"motions.motion0": _add_drag(graph), "motions.motion1": camera}
    both = graph.add("VideogenMotionCombine", **motions)
    return _warp_noise(example, graph, parts, both, seed=3)


def tracks(example: Example) -> Api:
    graph = Graph()
    parts = load_parts(graph, example.prompt)
    path = graph.add(
        "GenerateTracks", width=SIDE_PX, height=SIDE_PX, start_x=0.2, start_y=0.7, end_x=0.8, end_y=0.7,
        num_frames=FRAMES, num_tracks=3, track_spread=0.1, bezier=True, mid_x=0.5, mid_y=0.0, interpolation="linear",
    )  # fmt: skip
    box = graph.add("PrimitiveBoundingBox", x=5, y=37, width=16, height=16)
    motion = graph.add("VideogenMotionTracks", tracks=path, region=box, width=0, height=0)
    return _warp_noise(example, graph, parts, motion, seed=3)


def cut_and_drag(example: Example) -> Api:
    graph = Graph()
    parts = load_parts(graph, example.prompt)
    latents = empty_latents(graph)
    plain = graph.add("VAEDecode", samples=sample(graph, parts, parts.model, seed=1, latents=latents), vae=parts.vae)
    first = graph.add("ImageFromBatch", "First frame", image=plain, batch_index=0, length=1)
    box = graph.add("PrimitiveBoundingBox", x=17, y=9, width=30, height=30)
    cut = graph.add(
        "VideogenMotionCutAndDrag", image=first, region=box, move_x=-14.0, move_y=22.0, scale=1.0, rotate=0.0,
        ease="linear", length=FRAMES, outline="object",
    )  # fmt: skip
    reference = graph.add("VAEEncode", pixels=[cut[0], 1], vae=parts.vae)
    model = graph.add(
        "VideogenDualClockMotion", model=parts.model, reference=reference, mask=[cut[0], 2], weak=0.85, strong=0.45,
        strength=1.0,
    )  # fmt: skip
    moved = sample(graph, parts, model, seed=1, latents=latents)
    decode_and_save(graph, parts, report(graph, model, moved), example.name)
    return graph.api


def transfer(example: Example) -> Api:
    graph = Graph()
    parts = load_parts(graph, example.prompt)
    text = graph.add(
        "CLIPTextEncode", "Prompt of the driving video", clip=parts.text_encoder,
        text="a red ball moves right on a black background",
    )  # fmt: skip
    driving = sample(graph, replace(parts, positive=text), parts.model, seed=3, latents=empty_latents(graph))
    flow = graph.add(
        "VideogenOpticalFlow", images=graph.add("VAEDecode", samples=driving, vae=parts.vae), method="fine"
    )
    graph.add("PreviewImage", "Flow in colours", images=[flow[0], 1])
    motion = graph.add("VideogenMotionTransfer", video=flow, fit="crop", timing="frame by frame", fps=0.0)
    return _warp_noise(example, graph, parts, motion, seed=8)


def _add_drag(graph: Graph) -> Link:
    return graph.add("VideogenMotionDrag", from_x=14.0, from_y=48.0, to_x=48.0, to_y=16.0, radius=0.0, ease="linear",
                     scale=1.0, rotate=0.0)  # fmt: skip


def _warp_noise(example: Example, graph: Graph, parts: Parts, motion: Link, seed: int) -> Api:
    """Sample from noise that is warped along a motion, and preview the motion."""
    plain = graph.add("RandomNoise", noise_seed=seed)
    noise = graph.add("VideogenWarpedNoise", noise=plain, motion=motion, model=parts.model, strength=0.9)
    decode_and_save(graph, parts, sample_from_noise(graph, parts, parts.model, noise), example.name)
    graph.add("VideogenMotionPreview", motion=motion, width=SIDE_PX, height=SIDE_PX, length=FRAMES)
    return graph.api
