"""Graphs of techniques on the model: sparse attention and propagation."""

from __future__ import annotations

from .graphs import Api, Example, Graph, decode_and_save, empty_latents, load_parts, report, sample


def sparse_attention(example: Example) -> Api:
    graph = Graph()
    parts = load_parts(graph, example.prompt)
    model = graph.add(
        "VideogenSparseAttention", model=parts.model, mode="recall", recall=0.9, sparsity=0.8, min_tokens=64,
        audit="sampled",
    )  # fmt: skip
    latents = sample(graph, parts, model, seed=3, latents=empty_latents(graph))
    decode_and_save(graph, parts, report(graph, model, latents), example.name)
    return graph.api


def propagation(example: Example) -> Api:
    graph = Graph()
    parts = load_parts(graph, example.prompt)
    model = graph.add("VideogenPropagation", model=parts.model, rule="every:2")
    latents = sample(graph, parts, model, seed=5, latents=empty_latents(graph))
    decode_and_save(graph, parts, report(graph, model, latents), example.name)
    return graph.api
