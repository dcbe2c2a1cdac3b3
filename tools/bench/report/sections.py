"""Sections of docs/figures.md: which report files belong to each, what reads them, and how to read their figures."""

from __future__ import annotations

from dataclasses import dataclass

from tools.bench.report import (
    attention,
    comfyui,
    long,
    lora,
    motion,
    noise,
    plan,
    propagation,
    quantization,
    render,
    validation,
)
from tools.bench.report.table import Reader


@dataclass(frozen=True)
class Source:
    """Files that are read alike: a pattern over their names (`*` and `?`). The first source that fits takes a file."""

    files: str
    reader: Reader


@dataclass(frozen=True)
class Section:
    """A heading of docs/figures.md, how to read its figures, and where they come from, in order."""

    title: str
    reading: str
    sources: tuple[Source, ...]


SECTIONS = (
    Section(
        "Rendering",
        "Render times are the median of renders after one to warm up. The first clip and the memory are those of a "
        "process of its own. Time against diffusers is the same clip by both pipelines, alternating: above 1 the "
        "engine is slower.",
        (Source("render*.json", render.render_tables),),
    ),
    Section(
        "Hosted pipelines",
        "The same clip by diffusers' own call, by the host, which asks the engine for each step, and by the family "
        "written here. The least CPU time of several clips counts.",
        (Source("hosting.json", render.hosting_tables),),
    ),
    Section(
        "Previews",
        "Mean absolute error of previews at latent resolution, in levels of 255: of encoded clips, and of renders at a "
        "fraction of their steps, against the finished frames (early steps have not settled the content yet). The map "
        "to colours is fitted once per VAE and cached on disk.",
        (Source("preview.json", render.preview_tables),),
    ),
    Section(
        "Stopping a render",
        "Each render gets one Ctrl-C or SIGTERM at a random instant while it starts, loads or renders. A fault is a "
        "signal without effect, another exit code or a traceback.",
        (Source("stops.json", render.stop_tables),),
    ),
    Section(
        "Quality of the embedded models",
        "A classical judge, validated on clips of known content, checks for each clip whether colour, shape and motion "
        "are the prompt's. The VAE's figure is the PSNR of clips that it encodes and decodes.",
        (Source("embedded-quality.json", render.quality_tables),),
    ),
    Section(
        "Sparse attention: kernels",
        "Each call alternates with PyTorch's fastest dense attention over random block maps; the fastest round of each "
        "counts. Efficiency is speedup times density; 1 means that sparsity costs the kernel nothing.",
        (Source("attention-kernels.json", attention.kernel_tables),),
    ),
    Section(
        "Sparse attention: a render and its recall",
        "Density is the fraction of key blocks that are computed, speedup that of the denoising, and recall the "
        "fraction of full attention's softmax mass that the worst head retains.",
        (Source("attention-render.json", attention.render_tables),),
    ),
    Section(
        "Sparse attention on a GPU",
        "The kernels, and models of real shapes with random weights.",
        (Source("attention-*.json", attention.gpu_tables),),
    ),
    Section(
        "Propagation: fidelity",
        "Speedup is that of the denoising (median of the paired ratios), PSNR that of the frames against the plain "
        "render of the same seed, and accuracy how often the judge finds the prompt's colour, shape and motion.",
        (
            Source("propagation-fidelity-embedded.json", propagation.fidelity_tables),
            Source("propagation-fidelity-*.json", propagation.fidelity_tables),
        ),
    ),
    Section(
        "Presets",
        "Presets, a fixed interval of key steps and fewer steps, at the models' default settings. Evaluations are the "
        "steps at which the model runs, speedup is that of the denoising (median of the paired ratios), PSNR that of "
        "the frames against the plain render of the same seed. More steps than the default give other frames too, so "
        "that their PSNR says how far the default is from them.",
        (
            Source("presets-embedded.json", propagation.preset_tables),
            Source("presets-*.json", propagation.preset_tables),
        ),
    ),
    Section(
        "Propagation: its promise",
        "A promise is met where the final latents lie within max_error of the plain run's (relative L2). Key steps run "
        "the full model; their number is an average.",
        (
            Source("propagation-promise-embedded.json", propagation.promise_tables),
            Source("propagation-promise-*.json", propagation.promise_tables),
        ),
    ),
    Section(
        "Propagation and sparse attention together",
        "Speedup is that of the denoising, PSNR that of the frames against the plain render, with each technique alone "
        "and with both.",
        (Source("propagation-together-*.json", propagation.together_tables),),
    ),
    Section(
        "Propagation on models of real shapes",
        "Random weights: only the times and the memory of the cached features mean anything.",
        (Source("propagation-models.json", propagation.model_tables),),
    ),
    Section(
        "Quantization",
        "Size is that of the denoiser's weights, PSNR that of decoded clips against full precision, with seeds that "
        "calibration did not see. Uniform formats first, then ways to make and choose them.",
        (
            Source("quantization-embedded.json", quantization.format_tables),
            Source("quantization-*.json", quantization.format_tables),
        ),
    ),
    Section(
        "Kernel validation",
        "CPU time within the comparisons of sampled rows, of the first render of an engine and of the next one, in "
        "which no shape is new. The checks of a shape cost about the same however long the render is.",
        (Source("validation.json", validation.cost_tables),),
    ),
    Section(
        "LoRAs",
        "Time to put a LoRA on the model from the cache and to take it off, and a step's time relative to one without: "
        "next to the layers, as videogen applies it, and added to the weights, as diffusers fuses it.",
        (Source("lora.json", lora.swap_tables),),
    ),
    Section(
        "Memory plans",
        "Peaks are of the weights and the tensors that operators hand out, on a CPU; times are the least CPU time of "
        "several calls, against the sum of each operator's time on the same machine. Published shapes are planned from "
        "configurations alone, with guidance and the default number of steps; 600 MB and 4 % of the memory are left to "
        "what is not counted.",
        (Source("plan.json", plan.format_tables),),
    ),
    Section(
        "Motion control",
        "The prompt does not describe the motion, so only the control can cause it. The object's centre is measured "
        "against the drawn path; a model without a target position chooses where the object starts, which the last two "
        "columns leave out. Less is better throughout.",
        (
            Source("motion-control-embedded.json", motion.control_tables),
            Source("motion-control-*.json", motion.control_tables),
            Source("motion-camera-embedded.json", motion.camera_tables),
            Source("motion-camera-*.json", motion.camera_tables),
            Source("motion-composed-*.json", motion.composed_tables),
            Source("motion-transfer-*.json", motion.transfer_tables),
        ),
    ),
    Section(
        "Warped noise",
        "Warped noise must remain white Gaussian noise (no test of whiteness rejects it, while the same tests reject "
        "resampled noise) and retain its values along the motion (correlation 1, or as much as the motion leaves).",
        (Source("motion-noise.json", noise.noise_tables),),
    ),
    Section(
        "Long videos: continuity policies",
        "The seam ratio is how far the step at a join stands out from the steps around it (median; 1 is invisible, "
        "above 1.25 it is visible as a jump). Against a single clip of the same prompt: motion is the change from "
        "frame to frame, flow the speed of the fastest parts. Dynamic is the fraction of stretches that move by "
        "VBench's criterion, frozen the fraction of frozen frames, drift how far the mean colour wanders over the "
        "video, similarity 1 where the video repeats itself, and cost how many latent frames the model evaluates per "
        "latent frame of the video.",
        (
            Source("long-policies-embedded.json", long.policy_tables),
            Source("long-policies-embedded-unet.json", long.policy_tables),
            Source("long-policies-*.json", long.policy_tables),
        ),
    ),
    Section(
        "Clips longer than the native length",
        "The prompt's colour in the first frame, and the fraction of all frames that have it, in one pass "
        "(`continuity='off'`) and by default settings, which make several segments where one pass would be worse.",
        (
            Source("long-first-frame-embedded.json", long.first_frame_tables),
            Source("long-first-frame-*.json", long.first_frame_tables),
        ),
    ),
    Section(
        "Long videos: memory and time",
        "Peak memory is that of the entire process, the least of its runs. It is constant if nothing grows with the "
        "video's length.",
        (
            Source("long-length-embedded.json", long.length_tables),
            Source("long-length-*.json", long.length_tables),
        ),
    ),
    Section(
        "Long videos: kills",
        "Renders are killed without warning at random instants and restarted until they finish. A fault is a file that "
        "is partial, or whose frames differ from an uninterrupted run's in any bit.",
        (Source("long-kills.json", long.kill_tables),),
    ),
    Section(
        "Long videos: stories",
        "The prompts request another colour, then rest, at given seconds. The figures are the median frames until the "
        "change is visible, and how often the shape, which should stay, is correct.",
        (
            Source("long-story-embedded.json", long.story_tables),
            Source("long-story-*.json", long.story_tables),
        ),
    ),
    Section(
        "ComfyUI nodes",
        "On a real ComfyUI with its own samplers and the embedded model. Overhead is the median ratio of CPU time to "
        "runs without the node, in turns. Errors are relative L2 distances of the final latents to the plain run's, "
        "on prompts that the calibration did not use; next to them is a run of half the steps, which is another clip.",
        (
            Source("comfyui-overhead.json", comfyui.overhead_tables),
            Source("comfyui-promise.json", comfyui.promise_tables),
        ),
    ),
)
