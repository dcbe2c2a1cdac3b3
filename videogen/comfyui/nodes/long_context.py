"""Long Context: clips longer than the model's own, by look-back; and their continuation with another sampler."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from comfy_api.latest import io

from videogen.core.errors import InputError

from ..hooks.latent_scale import latent_scale
from ..hooks.model_runs import find_opener, with_runs
from ..native.look_back import KEY, LookBackRuns, LookBackSettings, Recording
from ..native.tied_plans import METHODS, REPLAY
from ..schema import CATEGORY

_ALIASES = ["videogen", "cono", "long video", "extend video", "context windows", "freenoise", "look back"]


class LongContext(io.ComfyNode):
    """A long clip in one sampler."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenLongContext",
            display_name="Long Context (videogen)",
            category=CATEGORY,
            description="Clips longer than the model was trained for: make the empty latent as long as you "
            "like, and the model sees clips of clip_length that look back at the frames before (CoNo). Memory does not "
            "grow with the length. For text-to-video, with one sampler that runs all steps.",
            search_aliases=_ALIASES,
            inputs=[
                io.Model.Input("model", tooltip="A text-to-video model, after its LoRAs."),
                io.Int.Input(
                    "clip_length", default=81, min=9, max=4096, step=4,
                    tooltip="Frames that the model handles well at once, such as 81 for Wan. Latents up to this length "
                    "are sampled as without the node, bit for bit.",
                ),
                io.Combo.Input(
                    "method", options=list(METHODS), default=REPLAY,
                    tooltip="replay: each clip begins with the last frames of the one before; about 1.8 times the work "
                    "per frame. look-back: also a clip between them that is tied on both sides, all from the same "
                    "noise (CoNo as published); about 2.6 times the work, and content that returns.",
                ),
                io.Int.Input(
                    "overlap", default=0, min=0, max=4096, step=4, advanced=True,
                    tooltip="Frames that a clip takes over from the one before; 0: about 4/9 of clip_length for "
                    "replay, 6/16 for look-back. More: motion continues more closely, at more work.",
                ),
                io.Float.Input(
                    "release", default=1.0, min=0.0, max=1.0, step=0.05, advanced=True,
                    tooltip="Part of the steps in which overlapping frames are the same in both clips. 1: they end "
                    "equal; lower: each clip is freer in its last steps. CoNo was published with 0.8.",
                ),
                io.Boolean.Input(
                    "record", default=False,
                    tooltip="Keep what Long Context: Continue needs, in main memory: a few hundred MB for 81 frames of "
                    "480p. Does not change the clip.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model for a sampler. The input model stays as it is.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model: Any, clip_length: int, method: str = REPLAY, overlap: int = 0, release: float = 1.0,
        record: bool = False,
    ) -> Any:  # fmt: skip
        scale = latent_scale(model)[1]
        clip = (clip_length - 1) // scale + 1
        used = (clip - 1) * scale + 1
        rounded = (
            f"clip_length={clip_length} is {used} frames: latents hold {scale} frames each, after the first"
            if used != clip_length
            else ""
        )
        settings = LookBackSettings(clip, method, release, -(-overlap // scale), rounded=rounded)
        return io.NodeOutput(with_runs(model, KEY, LookBackRuns(settings, record=record)))


class LongContextContinue(io.ComfyNode):
    """A clip that was sampled before becomes longer."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenLongContextContinue",
            display_name="Long Context: Continue (videogen)",
            category=CATEGORY,
            description="Continues a clip that another sampler made with Long Context and record on, also with another "
            "prompt or LoRA. Give both outputs to a second sampler with the same sampler, scheduler, steps and size; "
            "the result is the earlier clip and the new frames. With look-back, its seed has no effect.",
            search_aliases=_ALIASES,
            inputs=[
                io.Model.Input("model", tooltip="The model for the new frames, after its LoRAs."),
                io.Model.Input("earlier", tooltip="The model of the first sampler, with Long Context, record on."),
                io.Latent.Input("latent", tooltip="The first sampler's result."),
                io.Int.Input(
                    "frames", default=40, min=4, max=4096, step=4,
                    tooltip="Frames to add. They are sampled in clips of clip_length.",
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="The model for the second sampler. It can be continued again."),
                io.Latent.Output(tooltip="The empty latent for the second sampler, as long as both parts."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, model: Any, earlier: Any, latent: Any, frames: int) -> Any:
        if frames < 1:
            raise InputError(f"frames={frames} must be at least 1")
        opener = find_opener(earlier, KEY)
        runs = None if opener is None else opener.open_run
        if not isinstance(runs, LookBackRuns) or not runs.recordings:
            raise InputError("the model at earlier has no recording; add Long Context to it, with record on")
        samples = latent["samples"]
        _check_recordings(runs.recordings, samples)
        scale = latent_scale(model)[1]
        longer = samples.shape[2] + -(-frames // scale)
        settings = replace(runs.settings, earlier=runs.recordings)
        empty = torch.zeros(*samples.shape[:2], longer, *samples.shape[3:])
        return io.NodeOutput(with_runs(model, KEY, LookBackRuns(settings, record=True)), {"samples": empty})


def _check_recordings(recordings: tuple[Recording, ...], samples: torch.Tensor) -> None:
    """InputError where the latent is not the recorded run's result: one MODEL may have fed two samplers."""
    recorded = torch.cat([one.result for one in recordings])
    if recorded.shape != samples.shape or not torch.equal(recorded.to(samples), samples):
        raise InputError(
            "the latent is not the result that Long Context recorded; give that of the sampler with this model, as it "
            "left it, and use one model for one sampler"
        )
