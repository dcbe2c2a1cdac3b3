"""Graphs of techniques on the model: sparse attention, propagation and look-back."""

from __future__ import annotations

from dataclasses import replace

from .graphs import FPS, FRAMES, Api, Example, Graph, decode_and_save, empty_latents, load_parts, report, sample, save

LARGE_PX = 96  # of a clip whose attention can be sparse: at 64 px it has two blocks
CONTINUED = "a red ball moves left on a black background"  # of the second half of a long clip


def sparse_attention(example: Example) -> Api:
    graph = Graph()
    parts = load_parts(graph, example.prompt)
    model = graph.add(
        "VideogenSparseAttention", model=parts.model, mode="recall", recall=0.8, sparsity=0.8, min_tokens=256,
        audit="sampled",
    )  # fmt: skip
    latents = sample(graph, parts, model, seed=1, latents=empty_latents(graph, LARGE_PX))
    decode_and_save(graph, parts, report(graph, model, latents), example.name)
    return graph.api


def propagation(example: Example) -> Api:
    graph = Graph()
    parts = load_parts(graph, example.prompt)
    model = graph.add("VideogenPropagation", model=parts.model, rule="every:2")
    latents = sample(graph, parts, model, seed=5, latents=empty_latents(graph))
    decode_and_save(graph, parts, report(graph, model, latents), example.name)
    return graph.api


def long_context(example: Example) -> Api:
    """A long clip, and its continuation with another prompt."""
    graph = Graph()
    parts = load_parts(graph, example.prompt)
    first = graph.add(
        "VideogenLongContext", model=parts.model, clip_length=FRAMES, method="replay", overlap=0, release=1.0,
        record=True,
    )  # fmt: skip
    clip = sample(graph, parts, first, seed=4, latents=empty_latents(graph))
    more = graph.add("VideogenLongContextContinue", model=parts.model, earlier=first, latent=clip, frames=32)
    text = graph.add("CLIPTextEncode", "Next prompt", clip=parts.text_encoder, text=CONTINUED)
    longer = sample(graph, replace(parts, positive=text), more, seed=4, latents=[more[0], 1])
    decode_and_save(graph, parts, report(graph, more, longer), example.name)
    return graph.api


def kernel_guard(example: Example) -> Api:
    graph = Graph()
    parts = load_parts(graph, example.prompt)
    model = graph.add("VideogenKernelGuard", model=parts.model, when_wrong="stop")
    latents = sample(graph, parts, model, seed=2, latents=empty_latents(graph))
    decode_and_save(graph, parts, report(graph, model, latents), example.name)
    return graph.api


def metrics(example: Example) -> Api:
    """The same clip with and without Propagation, compared."""
    graph = Graph()
    parts = load_parts(graph, example.prompt)
    latents = empty_latents(graph)
    model = graph.add("VideogenPropagation", model=parts.model, rule="every:2")
    found = [
        graph.add("VAEDecode", samples=sample(graph, parts, one, seed=6, latents=latents), vae=parts.vae)
        for one in (model, parts.model)
    ]
    measured = graph.add(
        "VideogenVideoMetrics", images=found[0], reference_images=found[1], fps=FPS, joins="", window=0,
        frames_per_latent=4,
    )  # fmt: skip
    graph.add("PreviewAny", "What propagation changes", source=measured)
    save(graph, found[0], example.name)
    return graph.api
