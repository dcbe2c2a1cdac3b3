"""Graphs of the engine's nodes."""

from __future__ import annotations

from .graphs import FRAMES, Api, Example, Graph

NEXT = "a red ball moves left on a black background"  # of the second part of a clip


def render(example: Example) -> Api:
    graph = Graph()
    engine = graph.add("VideogenLoadModel", model="embedded")
    clip = graph.add("VideogenRender", engine=engine, prompt=example.prompt, length=FRAMES, seed=2)
    graph.add("SaveVideo", video=clip, filename_prefix=f"videogen/{example.name}", format="mp4", codec="h264")
    graph.add("PreviewAny", "Report", source=[clip[0], 4])
    return graph.api


def extend(example: Example) -> Api:
    graph = Graph()
    engine = graph.add("VideogenLoadModel", model="embedded")
    first = graph.add("VideogenRender", engine=engine, prompt=example.prompt, length=FRAMES, seed=4)
    longer = graph.add(
        "VideogenExtend", engine=engine, images=[first[0], 1], latent=[first[0], 3], prompt=NEXT, length=32, seed=4
    )
    graph.add("SaveVideo", video=longer, filename_prefix=f"videogen/{example.name}", format="mp4", codec="h264")
    graph.add("PreviewAny", "Report", source=[longer[0], 4])
    return graph.api


def storyboard(example: Example) -> Api:
    graph = Graph()
    engine = graph.add("VideogenLoadModel", model="embedded")
    story = f"[00:00-00:02] {example.prompt}\n[00:02-00:04] {NEXT}"
    video = graph.add(
        "VideogenStoryboard", engine=engine, story=story, seed=3, filename_prefix=f"videogen/{example.name}"
    )
    graph.add("PreviewAny", "Report", source=[video[0], 3])
    return graph.api
