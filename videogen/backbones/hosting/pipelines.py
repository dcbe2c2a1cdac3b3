"""Table of hosted pipelines: one row per pipeline class of diffusers (docs/extending/pipeline.md). No torch here."""

from __future__ import annotations

from .pipeline_row import DRIVEN, PipelineRow

_PACKED, _FRAMES_FIRST, _CHANNELS_LAST = "b (f h w) c", "b f c h w", "b f h w c"
_IMAGE, _VIDEO, _START_END = {"image": "image"}, {"video": "video"}, {"image": "image", "last_image": "last_image"}
_COSMOS = "the model's safety checker, a package of its publisher (cosmos_guardrail), and torchvision"
_GUARDRAIL = ("cosmos_guardrail", "torchvision")
_CONTROLNET = {"control:": "conditioning_frames"}

_WAN = (
    PipelineRow("WanPipeline", "wan", "Wan 2.1 and 2.2, text to video"),
    PipelineRow("WanImageToVideoPipeline", "wan", "Wan 2.1 and 2.2, image to video", _START_END, ("image",),
                batched_inputs=("image", "last_image")),
    PipelineRow("WanVideoToVideoPipeline", "wan", "Wan 2.1, video to video", _VIDEO, ("video",),
                batched_inputs=("video",)),
    PipelineRow(
        "WanVACEPipeline", "wan", "Wan VACE: control, inpainting, references",
        {"video": "video", "mask": "mask", "references": "reference_images"}, batches=False,
    ),
    PipelineRow(
        "WanAnimatePipeline", "wan", "Wan Animate: a character moves as in a video",
        {"image": "image", "control:pose": "pose_video", "control:face": "face_video",
         "video": "background_video", "mask": "mask_video"},
        ("image", "control:pose", "control:face"), own_size=("control:face",),
        mode=DRIVEN, sections=True, fps=30, frames=77,
    ),
    PipelineRow("LucyEditPipeline", "wan", "Lucy-Edit: a video edited by a prompt", _VIDEO, ("video",), fps=24),
    PipelineRow("ChronoEditPipeline", "wan", "ChronoEdit: an image edited over time", _IMAGE, ("image",)),
    PipelineRow("AnyFlowPipeline", "anyflow", "AnyFlow, few steps", _VIDEO, latents=_FRAMES_FIRST,
                batched_inputs=("video",), continues=True),
    PipelineRow(
        "AnyFlowFARPipeline", "anyflow", "AnyFlow, segment by segment", _VIDEO, latents=_FRAMES_FIRST,
        adapter="frame_conditions:build_tensor",
        mode=DRIVEN, sections=True, batched_inputs=("video",), continues=True,
    ),
    PipelineRow("SkyReelsV2Pipeline", "skyreels", "SkyReels V2, text to video", fps=24),
    PipelineRow("SkyReelsV2ImageToVideoPipeline", "skyreels", "SkyReels V2, image to video", _START_END, ("image",),
                fps=24),
    PipelineRow("SkyReelsV2DiffusionForcingPipeline", "skyreels", "SkyReels V2 diffusion forcing", mode=DRIVEN, fps=24,
                batches=False),
    PipelineRow(
        "SkyReelsV2DiffusionForcingImageToVideoPipeline", "skyreels", "SkyReels V2 diffusion forcing, image to video",
        _START_END, ("image",), mode=DRIVEN, fps=24,
    ),
    PipelineRow(
        "SkyReelsV2DiffusionForcingVideoToVideoPipeline", "skyreels", "SkyReels V2 diffusion forcing, video to video",
        _VIDEO, ("video",), mode=DRIVEN, sections=True, fps=24, continues=True,
    ),
    PipelineRow(
        "HeliosPipeline", "helios", "Helios, segment by segment", _IMAGE | _VIDEO, mode=DRIVEN, sections=True,
        fps=24, frames=129, continues=True,
    ),
    PipelineRow(
        "HeliosPyramidPipeline", "helios", "Helios pyramid, segment by segment", _IMAGE | _VIDEO, mode=DRIVEN,
        sections=True, fps=24, frames=129, batches=False, continues=True,
    ),
)  # fmt: skip

_HUNYUAN = (
    PipelineRow("HunyuanVideoPipeline", "hunyuan", "HunyuanVideo, text to video", fps=24),
    PipelineRow("HunyuanVideoImageToVideoPipeline", "hunyuan", "HunyuanVideo, image to video", _IMAGE, ("image",),
                fps=24),
    PipelineRow("HunyuanSkyreelsImageToVideoPipeline", "hunyuan", "SkyReels V1, image to video", _IMAGE, ("image",),
                noise_draw=1, fps=24),
    PipelineRow("HunyuanVideoFramepackPipeline", "hunyuan", "FramePack: a long video from an image, section by section",
                _START_END, ("image",), mode=DRIVEN, sections=True, fps=30, frames=145),
    PipelineRow("HunyuanVideo15Pipeline", "hunyuan15", "HunyuanVideo 1.5, text to video", fps=24, frames=121,
                batches=False),
    PipelineRow("HunyuanVideo15ImageToVideoPipeline", "hunyuan15", "HunyuanVideo 1.5, image to video", _IMAGE,
                ("image",), fps=24),
    PipelineRow("Kandinsky5T2VPipeline", "kandinsky", "Kandinsky 5, text to video", latents=_CHANNELS_LAST,
                noise=_CHANNELS_LAST, fps=24, batches=False),
    PipelineRow("Kandinsky5I2VPipeline", "kandinsky", "Kandinsky 5, image to video", _IMAGE, ("image",),
                latents=_CHANNELS_LAST, noise=_CHANNELS_LAST, fps=24),
    PipelineRow("Kandinsky6TI2VAPipeline", "kandinsky", "Kandinsky 6, text or image to video with sound", _IMAGE,
                latents=_CHANNELS_LAST, noise=_CHANNELS_LAST, extras_behind=True, fps=24, audio=True,
                since="0.42"),
)  # fmt: skip

_COGVIDEOX = (
    PipelineRow("CogVideoXPipeline", "cogvideox", "CogVideoX, text to video", latents=_FRAMES_FIRST,
                noise=_FRAMES_FIRST, latent_step=2, fps=8, frames=49),
    PipelineRow("CogVideoXImageToVideoPipeline", "cogvideox", "CogVideoX, image to video", _IMAGE, ("image",),
                latents=_FRAMES_FIRST, noise=_FRAMES_FIRST, noise_draw=1, latent_step=2, fps=8),
    PipelineRow("CogVideoXVideoToVideoPipeline", "cogvideox", "CogVideoX, video to video", _VIDEO, ("video",),
                latents=_FRAMES_FIRST, noise=_FRAMES_FIRST, noise_draw=1, latent_step=2,
                pads_latents=False, fps=8),
    PipelineRow("CogVideoXFunControlPipeline", "cogvideox", "CogVideoX Fun, control video",
                {"control:": "control_video"}, ("control:",), latents=_FRAMES_FIRST, noise=_FRAMES_FIRST,
                latent_step=2, pads_latents=False, fps=8),
    PipelineRow("ConsisIDPipeline", "cogvideox", "ConsisID: a person from an image", _IMAGE, ("image",),
                latents=_FRAMES_FIRST, noise=_FRAMES_FIRST, noise_draw=1, latent_step=2, fps=8,
                requires="face features (id_cond, id_vit_hidden) made with insightface and facexlib"),
)  # fmt: skip

_LTX = (
    PipelineRow("LTXPipeline", "ltx", "LTX-Video, text to video", latents=_PACKED, fps=25),
    PipelineRow("LTXImageToVideoPipeline", "ltx", "LTX-Video, image to video", _IMAGE, ("image",), latents=_PACKED,
                noise_draw=1, fps=25),
    PipelineRow("LTXConditionPipeline", "ltx", "LTX-Video, images and videos at any frame",
                {"image": "image", "last_image": "", "images": "", "video": "video"}, adapter="ltx_conditions:build",
                latents=_PACKED, fps=25, continues=True),
    PipelineRow("LTXI2VLongMultiPromptPipeline", "ltx", "LTX-Video, long, window by window",
                {"image": "cond_image"}, mode=DRIVEN, sections=True, latents=_PACKED, fps=25, batches=False),
    PipelineRow("LTX2Pipeline", "ltx2", "LTX-2, text to video with sound", latents=_PACKED, fps=24, frames=121,
                audio=True),
    PipelineRow("LTX2ImageToVideoPipeline", "ltx2", "LTX-2, image to video with sound", _IMAGE, ("image",),
                latents=_PACKED, fps=24, frames=121, audio=True),
    PipelineRow("LTX2ConditionPipeline", "ltx2", "LTX-2, images and videos at any frame, with sound",
                {"image": "", "last_image": "", "images": "", "video": ""}, adapter="ltx_conditions:build2",
                latents=_PACKED, noise=_PACKED, extras_behind=True, fps=24, frames=121, audio=True, batches=False,
                continues=True),
    PipelineRow("LTX2InContextPipeline", "ltx2", "LTX-2 with a reference video (in-context LoRA), with sound",
                {"control:reference": "", "image": "", "last_image": "", "images": "", "video": ""},
                ("control:reference",), adapter="ltx_conditions:build_reference", latents=_PACKED,
                noise=_PACKED, extras_behind=True, fps=24, audio=True),
    PipelineRow("LTX2DFRPipeline", "ltx2", "LTX-2.5 at full frame rate: a pass with key frames of its own, with sound",
                {"image": "", "last_image": "", "images": "", "video": ""}, adapter="ltx_conditions:build2",
                method="denoise", latents=_PACKED, noise=_PACKED, extras_behind=True, fps=24, frames=121, steps=8,
                audio=True),
    PipelineRow("LTX2HDRPipeline", "ltx2", "LTX-2 HDR LoRA: high dynamic range", {"control:reference": ""},
                ("control:reference",), adapter="ltx_conditions:build_hdr", latents=_PACKED, noise=_PACKED,
                extras_behind=True, fps=24),
)  # fmt: skip

_COSMOS_ROWS = (
    PipelineRow("CosmosTextToWorldPipeline", "cosmos", "Cosmos 1, text to video", temporal=8, fps=30,
                requires=_COSMOS, packages=_GUARDRAIL),
    PipelineRow("CosmosVideoToWorldPipeline", "cosmos", "Cosmos 1, image or video to video", _IMAGE | _VIDEO,
                ("image|video",), temporal=8, fps=30, requires=_COSMOS, packages=_GUARDRAIL, continues=True),
    PipelineRow("Cosmos2VideoToWorldPipeline", "cosmos", "Cosmos 2, image or video to video", _IMAGE | _VIDEO,
                ("image|video",), noise_draw=1, fps=16, requires=_COSMOS, packages=_GUARDRAIL, continues=True),
    PipelineRow("Cosmos2_5_PredictBasePipeline", "cosmos", "Cosmos 2.5, text, image or video to video",
                _IMAGE | _VIDEO, fps=16, requires=_COSMOS, packages=_GUARDRAIL, batches=False, continues=True),
    PipelineRow("Cosmos2_5_TransferPipeline", "cosmos", "Cosmos 2.5 transfer, control video", {"control:": "controls"},
                ("control:",), mode=DRIVEN, sections=True, fps=16, requires=_COSMOS, packages=_GUARDRAIL,
                batches=False),
    PipelineRow("Cosmos3OmniPipeline", "cosmos", "Cosmos 3 omni", _IMAGE | _VIDEO, mode=DRIVEN, fps=24, audio=True,
                requires=_COSMOS, packages=_GUARDRAIL, batches=False, continues=True),
)  # fmt: skip

_UNETS = (
    PipelineRow("StableVideoDiffusionPipeline", "svd", "Stable Video Diffusion, image to video", _IMAGE, ("image",),
                latents=_FRAMES_FIRST, noise=_FRAMES_FIRST, noise_draw=1, temporal=1, causal=False, fps=7, frames=14,
                guidance_scale=3.0),
    PipelineRow("AnimateDiffPipeline", "animatediff", "AnimateDiff, text to video", temporal=1, causal=False, fps=8),
    PipelineRow("AnimateDiffSDXLPipeline", "animatediff", "AnimateDiff on SDXL, text to video", temporal=1,
                causal=False, fps=8),
    PipelineRow("AnimateDiffPAGPipeline", "animatediff", "AnimateDiff with perturbed-attention guidance", temporal=1,
                causal=False, fps=8),
    PipelineRow("AnimateDiffControlNetPipeline", "animatediff", "AnimateDiff with ControlNet", _CONTROLNET,
                ("control:",), temporal=1, causal=False, fps=8),
    PipelineRow("AnimateDiffSparseControlNetPipeline", "animatediff", "AnimateDiff with images at given frames",
                {"images": "conditioning_frames"}, ("images",), adapter="frame_conditions:build_sparse", temporal=1,
                causal=False, fps=8),
    PipelineRow("AnimateDiffVideoToVideoPipeline", "animatediff", "AnimateDiff, video to video", _VIDEO, ("video",),
                noise=_FRAMES_FIRST, noise_draw=1, temporal=1, causal=False, fps=8),
    PipelineRow("AnimateDiffVideoToVideoControlNetPipeline", "animatediff", "AnimateDiff, video to video, ControlNet",
                _VIDEO | _CONTROLNET, ("video", "control:"), noise=_FRAMES_FIRST, noise_draw=1, temporal=1,
                causal=False, fps=8),
    PipelineRow("TextToVideoSDPipeline", "modelscope", "ModelScope and ZeroScope, text to video", temporal=1,
                causal=False, fps=8),
    PipelineRow("VideoToVideoSDPipeline", "modelscope", "ZeroScope, video to video", _VIDEO, ("video",), temporal=1,
                causal=False, fps=8, noise="(b f) c h w", noise_draw=1),
    PipelineRow("I2VGenXLPipeline", "i2vgen", "I2VGen-XL, image to video", _IMAGE, ("image",), temporal=1, causal=False,
                fps=16),
    PipelineRow("PIAPipeline", "animatediff", "PIA: an image set in motion", _IMAGE, ("image",), temporal=1,
                causal=False, fps=8),
)  # fmt: skip

_OTHERS = (
    PipelineRow("MochiPipeline", "mochi", "Mochi 1, text to video", temporal=6, fps=30),
    PipelineRow("AllegroPipeline", "allegro", "Allegro, text to video", causal=False, fps=15, frames=88, width=1280,
                height=720),
    PipelineRow("LattePipeline", "latte", "Latte, text to video", temporal=1, causal=False, fps=8, batches=False),
    PipelineRow("EasyAnimatePipeline", "easyanimate", "EasyAnimate, text to video", fps=8, negative_text=True),
    PipelineRow("EasyAnimateInpaintPipeline", "easyanimate", "EasyAnimate, inpainting",
                {"video": "video", "mask": "mask_video"}, ("video", "mask"),
                adapter="frame_conditions:build_inpainting", fps=8, negative_text=True),
    PipelineRow("MotifVideoPipeline", "motif", "Motif Video, text to video", fps=24),
    PipelineRow("MotifVideoImage2VideoPipeline", "motif", "Motif Video, image to video", _IMAGE, ("image",), fps=24),
    PipelineRow("SanaVideoPipeline", "sana", "Sana Video, text to video", fps=16),
    PipelineRow("SanaImageToVideoPipeline", "sana", "Sana Video, image to video", _IMAGE, ("image",), fps=16),
    PipelineRow("SanaWMPipeline", "sana", "Sana world model: an image and a camera path", _IMAGE, ("image",), fps=16,
                temporal=8, since="0.42"),
)  # fmt: skip

PIPELINES: dict[str, PipelineRow] = {
    row.name: row for rows in (_WAN, _HUNYUAN, _COGVIDEOX, _LTX, _COSMOS_ROWS, _UNETS, _OTHERS) for row in rows
}

#: Video classes of diffusers that are not hosted, and why.
NOT_HOSTED: dict[str, str] = {
    "TextToVideoZeroPipeline": "it calls its denoising loop several times, in a method, over an image UNet",
    "TextToVideoZeroSDXLPipeline": "it calls its denoising loop several times, in a method, over an image UNet",
    "LTXLatentUpsamplePipeline": "it enlarges latents in one pass and has no denoising loop",
    "LTX2LatentUpsamplePipeline": "it enlarges latents in one pass and has no denoising loop",
    "LTX2VideoDiffusionDecodePipeline": "it decodes latents and has no denoising loop of a clip",
    "LTX2DFRTemporalRefinePipeline": "it refines latents, key frames and audio of LTX2DFRPipeline, tile by tile, and "
    "makes no clip of its own",
    "EasyAnimateControlPipeline": "its call fails in diffusers 0.42: it encodes prompts with an argument that is gone",
    "Kandinsky6SRPipeline": "it enlarges a video tile by tile, in a loop of another form",
    "Kandinsky5T2IPipeline": "it makes images",
    "Kandinsky5I2IPipeline": "it makes images",
    "Cosmos2TextToImagePipeline": "it makes images",
}

#: Conditions that no loaded class takes, and why.
NOT_TAKEN: dict[str, str] = {
    "audio": "no video pipeline of diffusers 0.42 that is loaded takes a sound track to follow; LTX-2, Kandinsky 6 and "
    "Cosmos 3 take latents of sound that are already encoded, as options={'audio_latents': ...} or 'sound_latents'",
}
