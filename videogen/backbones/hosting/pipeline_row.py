"""A row of the table of hosted pipelines: what cannot be read from the class itself. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SESSION, DRIVEN = "session", "driven"


@dataclass(frozen=True)
class PipelineRow:
    """One pipeline class of diffusers.

    inputs: condition (`image`, `control:pose`, ...) -> the pipeline's argument; needs: those it cannot do without, each
    one condition or alternatives joined by `|`. adapter: a function that makes arguments of conditions where names do
    not suffice, as `module:function` of this package. continues: whether the video is the beginning of the clip, or a
    reference, and not as long as the clip; own_size: conditions that are given as large as they are.
    latents, noise: layouts, in einops' form, of the loop's latents and of the initial noise where it is drawn;
    noise_draw: which of its draws the noise is, from 0; extras_behind: whether frames or tokens of conditions follow
    the video's. mode: `session`, any step at any time, or `driven`, each step once and in order; method: which loops.
    temporal: frames per latent frame where the pipeline does not state it; causal: whether the first latent frame holds
    one frame; latent_step: further latent frames come in groups of so many; vae_segments: latent frames of each segment
    and of the last, of a VAE that encodes a clip in segments; pads_latents: whether their count is padded to the
    denoiser's temporal patch. fps, steps, frames, width, height: defaults where the call's signature has none.
    audio: whether sound is generated. negative_text: whether the call fails without a negative prompt, an empty one at
    least. sections: whether a clip is made in several loops, each with steps of its own. requires: what must be
    installed or given besides diffusers, for the user; packages: modules without which a checkpoint cannot be loaded.
    since: the first version of diffusers that has the class, where that is not the oldest one supported.
    """

    name: str
    lineage: str
    description: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    adapter: str = ""
    continues: bool = False
    own_size: tuple[str, ...] = ("references",)
    latents: str = "b c f h w"
    noise: str = "b c f h w"
    noise_draw: int = 0
    extras_behind: bool = False
    mode: str = SESSION
    method: str = "__call__"
    temporal: int | None = None
    causal: bool = True
    latent_step: int = 1
    vae_segments: tuple[int, int] = (1, 1)
    pads_latents: bool = True
    multiple: int | None = None
    fps: int = 16
    steps: int | None = None
    frames: int | None = None
    width: int | None = None
    height: int | None = None
    guidance_scale: float | None = None
    audio: bool = False
    batches: bool = True
    batched_inputs: tuple[str, ...] = ()
    negative_text: bool = False
    sections: bool = False
    requires: str = ""
    packages: tuple[str, ...] = ()
    since: str = ""

    @property
    def conditions(self) -> tuple[str, ...]:
        """What a clip can be made from besides its prompt."""
        return tuple(self.inputs)
