"""Graphs of the example workflows, in the form that ComfyUI's API takes.

All sample the embedded model with ComfyUI's own samplers, so that they run offline on a CPU in about a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Link = list[Any]  # [id of a node, number of its output]
Api = dict[str, dict[str, Any]]

SIDE_PX, FRAMES, STEPS, GUIDANCE, FPS = 64, 33, 20, 5.0, 16.0


@dataclass
class Graph:
    """A graph under construction."""

    api: Api = field(default_factory=dict)

    def add(self, kind: str, title: str = "", **inputs: Any) -> Link:
        """Add a node; returns the link to its first output."""
        name = str(len(self.api) + 1)
        self.api[name] = {"class_type": kind, "inputs": inputs}
        if title:
            self.api[name]["_meta"] = {"title": title}
        return [name, 0]


@dataclass(frozen=True)
class Example:
    """An example workflow. name: of its files; prompt: what the clip shows, as the judge reads it; checks: which of
    the prompt's colour, shape and motion the judge must find."""

    name: str
    description: str
    build: Callable[[Example], Api]
    prompt: str
    checks: tuple[str, ...] = ("colour", "shape", "motion")


@dataclass(frozen=True)
class Parts:
    """The embedded model's parts, and the conditions of a prompt."""

    model: Link
    text_encoder: Link
    vae: Link
    positive: Link
    negative: Link


def load_parts(graph: Graph, prompt: str) -> Parts:
    """Loaders and prompts."""
    model = graph.add("VideogenLoadEmbeddedModel")
    text_encoder = graph.add("VideogenLoadEmbeddedTextEncoder")
    vae = graph.add("VideogenLoadEmbeddedVAE")
    positive = graph.add("CLIPTextEncode", "Positive prompt", clip=text_encoder, text=prompt)
    negative = graph.add("CLIPTextEncode", "Negative prompt", clip=text_encoder, text="")
    return Parts(model, text_encoder, vae, positive, negative)


def empty_latents(graph: Graph, side_px: int = SIDE_PX) -> Link:
    return graph.add("EmptyHunyuanLatentVideo", width=side_px, height=side_px, length=FRAMES, batch_size=1)


def sample(graph: Graph, parts: Parts, model: Link, *, seed: int, latents: Link | None = None) -> Link:
    """KSampler."""
    return graph.add(
        "KSampler", model=model, positive=parts.positive, negative=parts.negative,
        latent_image=latents or empty_latents(graph), seed=seed, steps=STEPS, cfg=GUIDANCE, sampler_name="euler",
        scheduler="simple", denoise=1.0,
    )  # fmt: skip


def sample_from_noise(graph: Graph, parts: Parts, model: Link, noise: Link) -> Link:
    """SamplerCustomAdvanced, which takes NOISE."""
    guider = graph.add("CFGGuider", model=model, positive=parts.positive, negative=parts.negative, cfg=GUIDANCE)
    sampler = graph.add("KSamplerSelect", sampler_name="euler")
    sigmas = graph.add("BasicScheduler", model=model, scheduler="simple", steps=STEPS, denoise=1.0)
    return graph.add(
        "SamplerCustomAdvanced", noise=noise, guider=guider, sampler=sampler, sigmas=sigmas,
        latent_image=empty_latents(graph),
    )  # fmt: skip


def save(graph: Graph, images: Link, name: str) -> None:
    """Save images as a video."""
    video = graph.add("CreateVideo", images=images, fps=FPS)
    graph.add("SaveVideo", video=video, filename_prefix=f"videogen/{name}", format="mp4", codec="h264")


def decode_and_save(graph: Graph, parts: Parts, latents: Link, name: str) -> None:
    save(graph, graph.add("VAEDecode", samples=latents, vae=parts.vae), name)


def report(graph: Graph, model: Link, latents: Link) -> Link:
    return graph.add("VideogenRunReport", model=model, latent=latents)
