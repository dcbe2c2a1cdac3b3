"""Graphs of the engine's nodes."""

from __future__ import annotations

from .graphs import FRAMES, Api, Example, Graph


def render(example: Example) -> Api:
    graph = Graph()
    engine = graph.add("VideogenLoadModel", model="embedded")
    clip = graph.add("VideogenRender", engine=engine, prompt=example.prompt, length=FRAMES, seed=2)
    graph.add("SaveVideo", video=clip, filename_prefix=f"videogen/{example.name}", format="mp4", codec="h264")
    graph.add("PreviewAny", "Report", source=[clip[0], 4])
    return graph.api
