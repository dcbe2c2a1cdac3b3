"""The example workflows, one row each."""

from __future__ import annotations

from .graphs import (
    FRAMES,
    SIDE_PX,
    Api,
    Example,
    Graph,
    decode_and_save,
    empty_latents,
    load_parts,
    report,
    sample,
    sample_from_noise,
)


def _sparse_attention(example: Example) -> Api:
    graph = Graph()
    parts = load_parts(graph, example.prompt)
    model = graph.add(
        "VideogenSparseAttention", model=parts.model, mode="recall", recall=0.9, sparsity=0.8, min_tokens=64,
        audit="sampled",
    )  # fmt: skip
    latents = sample(graph, parts, model, seed=3, latents=empty_latents(graph))
    decode_and_save(graph, parts, report(graph, model, latents), example.name)
    return graph.api


def _propagation(example: Example) -> Api:
    graph = Graph()
    parts = load_parts(graph, example.prompt)
    model = graph.add("VideogenPropagation", model=parts.model, rule="every:2")
    decode_and_save(graph, parts, report(graph, model, sample(graph, parts, model, seed=5)), example.name)
    return graph.api


def _warped_noise(example: Example, graph: Graph, motion: list[object], seed: int) -> Api:
    parts = load_parts(graph, example.prompt)
    plain = graph.add("RandomNoise", noise_seed=seed)
    noise = graph.add("VideogenWarpedNoise", noise=plain, motion=motion, model=parts.model, strength=0.9)
    decode_and_save(graph, parts, sample_from_noise(graph, parts, parts.model, noise), example.name)
    preview = graph.add("VideogenMotionPreview", motion=motion, width=SIDE_PX, height=SIDE_PX, length=FRAMES)
    graph.add("PreviewImage", images=preview)
    return graph.api


def _drag(example: Example) -> Api:
    graph = Graph()
    motion = graph.add("VideogenMotionDrag", from_x=14.0, from_y=48.0, to_x=48.0, to_y=16.0, radius=0.0, ease="linear")
    return _warped_noise(example, graph, motion, seed=3)


EXAMPLES = (
    Example(
        "sparse_attention", "Adaptive Sparse Attention holds its recall; Run Report shows what was computed",
        _sparse_attention, "a red ball moves right on a black background",
    ),
    Example(
        "propagation", "every second step is continued instead of evaluated",
        _propagation, "a blue star spins on a gray background",
    ),
    Example(
        "drag", "noise that is warped along a drag moves the object",
        _drag, "a white ball on a black background", ("colour", "shape"),
    ),
)  # fmt: skip
