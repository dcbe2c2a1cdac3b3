"""LoRAs on tiny models of each family: the library's own result in every layout, and the base model's bits after."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, set_peft_model_state_dict

from tests.lora_files import LAYOUTS, RANK, denoiser_of, draw_factors, write_lora
from tests.tiny.table import load_rows
from videogen import Engine, InputError, Lora, RenderRequest, UnsupportedError
from videogen.media.metadata import read_manifest

CLIPS = {
    "wan-2.1": {"frames": 5, "size": (32, 32)},
    "animatediff": {"frames": 4, "size": (16, 16)},
    "LTXPipeline": {"frames": 9, "size": (64, 32)},
}
each = pytest.mark.parametrize("family", CLIPS)


@pytest.fixture(scope="module")
def engines(engine_of: Callable[[str], Engine]) -> Callable[[str], Engine]:
    """An engine by family; of LTX a hosted pipeline."""
    hosted: dict[str, Engine] = {}

    def get(family: str) -> Engine:
        if (family in CLIPS and not family.endswith("Pipeline")) or family.startswith("wan"):
            return engine_of(family)
        if family not in hosted:
            hosted[family] = Engine.from_pipeline(load_rows()[family].build())
        return hosted[family]

    return get


def render(engine: Engine, family: str, *loras: Any, **more: Any) -> Any:
    options = {"steps": 2, "seed": 1, **CLIPS.get(family, CLIPS["wan-2.1"]), **more}
    return engine.generate("a red ball", loras=list(loras) or None, **options)


def frames_of(engine: Engine, family: str, *loras: Any, **more: Any) -> np.ndarray:
    found: np.ndarray = render(engine, family, *loras, **more).frames
    return found


def render_with_library(engine: Engine, family: str, load: Callable[[Any], None], **more: Any) -> np.ndarray:
    """Frames with LoRAs that the library itself has put on the pipeline, and takes off again."""
    pipeline = engine.backbone.pipeline
    load(pipeline)
    try:
        return frames_of(engine, family, **more)
    finally:
        pipeline.unload_lora_weights()


def modules_of(engine: Engine) -> list[tuple[str, int]]:
    components = engine.backbone.components()
    return [(f"{role}.{name}", id(part)) for role, top in components.items() for name, part in top.named_modules()]


@each
def test_every_layout_is_the_librarys_adapter_and_leaves_no_trace(
    family: str, engines: Callable[[str], Engine], tmp_path: Path
) -> None:
    engine = engines(family)
    model = denoiser_of(engine.backbone.pipeline)
    plain, before = frames_of(engine, family), modules_of(engine)
    factors = draw_factors(model)

    def add_adapter(pipeline: Any) -> None:
        model = denoiser_of(pipeline)
        config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(factors))
        model.add_adapter(config, "own")  # type: ignore[operator]
        state = {f"{name}.lora_A.weight": down for name, (down, _) in factors.items()}
        state |= {f"{name}.lora_B.weight": up for name, (_, up) in factors.items()}
        set_peft_model_state_dict(model, state, "own")

    expected = render_with_library(engine, family, add_adapter)
    assert not np.array_equal(expected, plain)
    for layout in LAYOUTS:
        file = write_lora(tmp_path / f"{layout}.safetensors", model, layout, factors=factors)
        video = render(engine, family, str(file))
        assert np.array_equal(video.frames, expected), layout
        (record,) = video.manifest["measured"]["loras"]
        assert record["layout"] == layout and record["keys"] == {"used": 2 * len(factors), "unknown": 0}
        assert modules_of(engine) == before, "something was left on the model"
    assert np.array_equal(frames_of(engine, family), plain)


@pytest.mark.parametrize(
    "family", ["wan-2.1", *(pytest.param(name, marks=pytest.mark.slow) for name in CLIPS if name != "wan-2.1")]
)
def test_weights_and_spans(family: str, engines: Callable[[str], Engine], tmp_path: Path) -> None:
    engine = engines(family)
    model = denoiser_of(engine.backbone.pipeline)
    one = str(write_lora(tmp_path / "one.safetensors", model))
    two = str(write_lora(tmp_path / "two.safetensors", model, seed=2))
    plain, full = frames_of(engine, family), frames_of(engine, family, one)
    assert np.array_equal(frames_of(engine, family, f"{one}:0"), plain), "weight 0 is none"
    assert np.array_equal(frames_of(engine, family, f"{one}:0", two), frames_of(engine, family, two))
    assert np.array_equal(frames_of(engine, family, f"{one}:1@0-1"), full), "the entire span is no span"
    assert np.array_equal(frames_of(engine, family, f"{one}@0-0.5", f"{one}@0.5-1"), full), "two spans that meet"
    half = frames_of(engine, family, f"{one}@0-0.5")
    assert not np.array_equal(half, full) and not np.array_equal(half, plain)

    def load_both(pipeline: Any) -> None:
        pipeline.load_lora_weights(one, adapter_name="one")
        pipeline.load_lora_weights(two, adapter_name="two")
        pipeline.set_adapters(["one", "two"], [0.5, -1.0])

    assert np.array_equal(
        frames_of(engine, family, f"{one}:0.5", f"{two}:-1"), render_with_library(engine, family, load_both)
    )


def test_alpha_scales_the_product(engines: Callable[[str], Engine], tmp_path: Path) -> None:
    engine = engines("wan-2.1")
    model = denoiser_of(engine.backbone.pipeline)
    plain = str(write_lora(tmp_path / "plain.safetensors", model, "kohya"))
    halved = str(write_lora(tmp_path / "halved.safetensors", model, "kohya", alpha=RANK / 2))
    assert np.array_equal(frames_of(engine, "wan-2.1", halved), frames_of(engine, "wan-2.1", f"{plain}:0.5"))


def test_each_expert_has_its_own(engines: Callable[[str], Engine], tmp_path: Path) -> None:
    engine, family = engines("wan-2.2-experts"), "wan-2.2-experts"
    model = denoiser_of(engine.backbone.pipeline)
    file = str(write_lora(tmp_path / "a.safetensors", model))
    both = render(engine, family, file)
    high, low = render(engine, family, f"high={file}"), render(engine, family, f"low={file}")
    pair = render(engine, family, f"high={file}", f"low={file}")
    assert np.array_equal(pair.frames, both.frames)
    assert not np.array_equal(high.frames, both.frames) and not np.array_equal(low.frames, high.frames)
    assert [one["layers"] for one in pair.manifest["measured"]["loras"]] == [{"transformer": 20}, {"transformer_2": 20}]
    with pytest.raises(InputError, match="one of two experts, and this model has a single denoiser; leave out high="):
        render(engines("wan-2.1"), "wan-2.1", f"high={file}")


def test_a_file_of_the_pipelines_two_denoisers(engines: Callable[[str], Engine], tmp_path: Path) -> None:
    """As `save_lora_weights` writes it: a part for each."""
    from safetensors.torch import load_file, save_file

    engine, family = engines("wan-2.2-experts"), "wan-2.2-experts"
    model = denoiser_of(engine.backbone.pipeline)
    one = write_lora(tmp_path / "one.safetensors", model)
    two = write_lora(tmp_path / "two.safetensors", model, seed=2)
    second = {key.replace("transformer.", "transformer_2.", 1): value for key, value in load_file(two).items()}
    save_file(load_file(one) | second, tmp_path / "both.safetensors")
    expected = frames_of(engine, family, f"high={one}", f"low={two}")
    assert np.array_equal(frames_of(engine, family, str(tmp_path / "both.safetensors")), expected)


@pytest.mark.parametrize("rule", ["every:2", "max_error:0.5"])
def test_with_sparse_attention_and_propagation(rule: str, engines: Callable[[str], Engine], tmp_path: Path) -> None:
    engine, family = engines("wan-2.1"), "wan-2.1"
    file = str(write_lora(tmp_path / "a.safetensors", denoiser_of(engine.backbone.pipeline)))
    settings: dict[str, Any] = {"steps": 6, "attention": {"sparsity": 0.5, "dense_steps": 0, "min_length": 1,
                                "query_block": 4, "key_block": 2}, "propagate": rule}  # fmt: skip
    before, plain = modules_of(engine), frames_of(engine, family, **settings)
    video = render(engine, family, f"{file}@0.5-1", **settings)
    measured = video.manifest["measured"]
    assert measured["propagation"]["forced"].get("3") == "other LoRA weights" and 3 in measured["propagation"]["keys"]
    assert measured["attention"]["mean_density"] < 1
    assert [row["lora_weights"] for row in video.manifest["plan"]] == [[0.0]] * 3 + [[1.0]] * 3
    assert modules_of(engine) == before and np.array_equal(frames_of(engine, family, **settings), plain)


def test_block_maps_are_searched_again_at_a_switch(engines: Callable[[str], Engine], tmp_path: Path) -> None:
    engine, family = engines("wan-2.1"), "wan-2.1"
    file = str(write_lora(tmp_path / "a.safetensors", denoiser_of(engine.backbone.pipeline)))
    attention = {"sparsity": 0.5, "dense_steps": 0, "min_length": 1, "query_block": 4, "key_block": 2}

    def searched(*loras: str) -> list[bool]:
        measured = render(engine, family, *loras, steps=4, attention=attention).manifest["measured"]
        return [any(layer[step] for layer in measured["attention"]["searches"]) for step in range(4)]

    plain = searched()
    assert searched(file) == plain and not plain[2]
    assert searched(f"{file}@0.5-1") == [*plain[:2], True, plain[3]]


def test_caches_of_the_library_do_not_cross_a_switch(engines: Callable[[str], Engine], tmp_path: Path) -> None:
    engine = engines("wan-2.1")
    file = str(write_lora(tmp_path / "a.safetensors", denoiser_of(engine.backbone.pipeline)))
    with pytest.raises(UnsupportedError, match="reuses features across the step at which the LoRA a"):
        render(engine, "wan-2.1", f"{file}@0-0.5", propagate="first-block:0.08")


def test_batches_long_videos_and_resume(engines: Callable[[str], Engine], tmp_path: Path) -> None:
    engine, family = engines("wan-2.1"), "wan-2.1"
    file = str(write_lora(tmp_path / "a.safetensors", denoiser_of(engine.backbone.pipeline)))
    prompts = ["a red ball"] * 2
    pair = engine.generate(prompts, loras=[file], seed=1, batch_size=1, steps=2, frames=5, size=(32, 32))
    assert np.array_equal(pair[0].frames, frames_of(engine, family, file)) and len(pair) == 2
    long: dict[str, Any] = {"frames": 17, "window": 9, "continuity": "replay", "steps": 2}
    plain, adapted = render(engine, family, **long), render(engine, family, file, **long)
    assert not np.array_equal(plain.frames, adapted.frames)
    assert adapted.manifest["measured"]["loras"][0]["name"] == "a.safetensors"

    request = RenderRequest("a red ball", width=32, height=32, seed=1, loras=[file], **long)
    stopped, before = False, modules_of(engine)

    def stop(progress: Any) -> bool:
        nonlocal stopped
        stopped = stopped or (progress.stage == "denoise" and progress.step >= 3)
        return not stopped

    from videogen import Cancelled

    with pytest.raises(Cancelled):
        engine.render_long(request, tmp_path / "long.mp4", progress=stop)
    assert modules_of(engine) == before
    done = engine.render_long(request, tmp_path / "long.mp4")
    assert done.resumed == 1 and done.manifest["measured"]["loras"][0]["sha256"]
    manifest = read_manifest(tmp_path / "long.mp4")
    assert manifest is not None and manifest["request"]["loras"][0]["file"] == file


def test_what_is_recorded_repeats_it(engines: Callable[[str], Engine], tmp_path: Path) -> None:
    engine, family = engines("wan-2.1"), "wan-2.1"
    model = denoiser_of(engine.backbone.pipeline)
    file = write_lora(tmp_path / "a.safetensors", model)
    video = render(engine, family, Lora(str(file), 0.5, 0.0, 0.5))
    request = RenderRequest.from_dict(json.loads(json.dumps(video.manifest["request"])))
    assert np.array_equal(engine.render(request).frames, video.frames)
    write_lora(file, model, seed=3)
    with pytest.raises(InputError, match=r"a\.safetensors has changed since it was recorded"):
        engine.render(request)


def test_the_adapters_of_a_users_pipeline_stay(tmp_path: Path) -> None:
    pipeline = load_rows()["LTXPipeline"].build()
    model = denoiser_of(pipeline)
    own = str(write_lora(tmp_path / "own.safetensors", model))
    other = str(
        write_lora(tmp_path / "other.safetensors", model, seed=2, factors=draw_factors(model, seed=2, where="attn1"))
    )
    pipeline.load_lora_weights(own, adapter_name="own")
    engine, family = Engine.from_pipeline(pipeline), "LTXPipeline"
    before, plain = modules_of(engine), frames_of(engine, family)
    assert not np.array_equal(frames_of(engine, family, other), plain)
    assert modules_of(engine) == before and np.array_equal(frames_of(engine, family), plain)
    assert pipeline.get_active_adapters() == ["own"]
    pipeline.disable_lora()
    off = frames_of(engine, family)
    adapted = frames_of(engine, family, other)
    assert not np.array_equal(adapted, off) and np.array_equal(frames_of(engine, family), off)
    pipeline.unload_lora_weights()
    assert np.array_equal(frames_of(engine, family, other), adapted), "what is disabled stays so"


@pytest.mark.slow
def test_two_engines_in_two_threads(engines: Callable[[str], Engine], tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    engine, family = engines("wan-2.1"), "wan-2.1"
    file = str(write_lora(tmp_path / "a.safetensors", denoiser_of(engine.backbone.pipeline)))
    same = Engine.from_pipeline(engine.backbone.pipeline)
    plain, adapted = frames_of(engine, family), frames_of(engine, family, file)
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(frames_of, one, family, *given) for one in (engine, same) for given in ((file,), ())]
        found = [job.result() for job in jobs]
    for frames, expected in zip(found, [adapted, plain] * 2, strict=True):
        assert np.array_equal(frames, expected)


def test_motion_and_text_encoder_loras(engines: Callable[[str], Engine], tmp_path: Path) -> None:
    """AnimateDiff's own names of motion modules, and kohya's of the text encoder."""
    engine, family = engines("animatediff"), "animatediff"
    pipeline = engine.backbone.pipeline
    factors = draw_factors(pipeline.unet, where="motion_modules")
    factors = {name: pair for name, pair in factors.items() if "attn" in name}
    expected = frames_of(engine, family, str(write_lora(tmp_path / "d.safetensors", pipeline.unet, factors=factors)))
    own = {
        "unet." + name.replace(".transformer_blocks.", ".temporal_transformer.transformer_blocks.")
        .replace(".attn1.", ".attention_blocks.0.processor.").replace(".attn2.", ".attention_blocks.1.processor.")
        .replace(".to_out.0", ".to_out") + f"_lora.{part}.weight": matrix
        for name, pair in factors.items() for part, matrix in zip(("down", "up"), pair, strict=True)
    }  # fmt: skip
    from safetensors.torch import save_file

    save_file(own, tmp_path / "own.safetensors")
    video = render(engine, family, str(tmp_path / "own.safetensors"))
    assert np.array_equal(video.frames, expected)
    assert video.manifest["measured"]["loras"][0]["keys"] == {"used": 2 * len(factors), "unknown": 0}

    width = pipeline.text_encoder.config.hidden_size
    names = [f"lora_te_text_model_encoder_layers_0_self_attn_{one}_proj" for one in ("q", "k", "v", "out")]
    text = {f"{name}.lora_down.weight": torch.randn(1, width) for name in names}
    text |= {f"{name}.lora_up.weight": torch.randn(width, 1) for name in names}
    save_file(text, tmp_path / "text.safetensors")
    plain, before = frames_of(engine, family), modules_of(engine)
    adapted = render(engine, family, str(tmp_path / "text.safetensors"))
    assert adapted.manifest["measured"]["loras"][0]["layers"] == {"text_encoder": 4}
    assert not np.array_equal(adapted.frames, plain)
    assert modules_of(engine) == before and np.array_equal(frames_of(engine, family), plain)


@pytest.mark.parametrize("layout", ["kohya", "ComfyUI"])
def test_fused_layers_go_through_the_librarys_converter(layout: str, tmp_path: Path) -> None:
    """HunyuanVideo's own repository has one layer for query, key and value."""
    from safetensors.torch import save_file

    engine, family = Engine.from_pipeline(load_rows()["HunyuanVideoPipeline"].build()), "HunyuanVideoPipeline"
    denoiser: Any = denoiser_of(engine.backbone.pipeline)
    width = denoiser.transformer_blocks[0].attn.to_q.in_features
    down, up = torch.randn(RANK, width), torch.randn(3 * width, RANK)
    separate: dict[str, torch.Tensor] = {}
    for name, part in zip(("to_q", "to_k", "to_v"), up.chunk(3), strict=True):
        layer = f"transformer.transformer_blocks.0.attn.{name}"
        separate |= {f"{layer}.lora_A.weight": down.clone(), f"{layer}.lora_B.weight": part.clone()}
    save_file(separate, tmp_path / "separate.safetensors")
    start = "lora_unet_double_blocks_0_" if layout == "kohya" else "diffusion_model.double_blocks.0."
    fused = {f"{start}img_attn_qkv.lora_down.weight": down, f"{start}img_attn_qkv.lora_up.weight": up}
    save_file(fused | {f"{start}img_attn_qkv.alpha": torch.tensor(float(RANK))}, tmp_path / "fused.safetensors")
    frames, width_px, height_px = load_rows()[family].sizes[0]
    clip: dict[str, Any] = {"frames": frames, "size": (width_px, height_px)}
    expected = frames_of(engine, family, str(tmp_path / "separate.safetensors"), **clip)
    video = render(engine, family, str(tmp_path / "fused.safetensors"), **clip)
    assert np.array_equal(video.frames, expected)
    assert not np.array_equal(video.frames, frames_of(engine, family, **clip))
    (record,) = video.manifest["measured"]["loras"]
    assert record["layers"] == {"transformer": 3} and record["layout"] == layout and record["keys"]["unknown"] == 0


def test_blocks_of_a_unet_that_are_counted_otherwise(engines: Callable[[str], Engine], tmp_path: Path) -> None:
    """As kohya names them for Stable Diffusion's own repository, with an alpha of half the rank."""
    from safetensors.torch import save_file

    engine, family = engines("animatediff"), "animatediff"
    layers = {"attn1.to_q": "attn1_to_q", "attn2.to_out.0": "attn2_to_out_0"}
    block, theirs = "down_blocks.0.attentions.0.transformer_blocks.0", "lora_unet_input_blocks_1_1_transformer_blocks_0"
    factors = draw_factors(denoiser_of(engine.backbone.pipeline), where=block)
    factors = {f"{block}.{layer}": factors[f"{block}.{layer}"] for layer in layers}
    plain = write_lora(tmp_path / "plain.safetensors", denoiser_of(engine.backbone.pipeline), factors=factors)
    tensors: dict[str, torch.Tensor] = {}
    for layer, name in layers.items():
        down, up = factors[f"{block}.{layer}"]
        tensors |= {f"{theirs}_{name}.lora_down.weight": down, f"{theirs}_{name}.lora_up.weight": up}
        tensors |= {f"{theirs}_{name}.alpha": torch.tensor(RANK / 2)}
    save_file(tensors, tmp_path / "own.safetensors")
    video = render(engine, family, str(tmp_path / "own.safetensors"))
    assert np.array_equal(video.frames, frames_of(engine, family, f"{plain}:0.5"))
    assert video.manifest["measured"]["loras"][0]["keys"] == {"used": 6, "unknown": 0}


def test_classes_without_adapters_are_refused(tmp_path: Path) -> None:
    engine = Engine.from_pipeline(load_rows()["LattePipeline"].build())
    file = tmp_path / "a.safetensors"
    write_lora(file, denoiser_of(load_rows()["LTXPipeline"].build()))
    with pytest.raises(
        UnsupportedError, match="no adapter loader for its denoiser, LatteTransformer3DModel; leave it out"
    ):
        engine.generate("a red ball", loras=[str(file)], steps=1)


def _group_offload(kind: str) -> Callable[[Any], None]:
    device = torch.device("cpu")
    return lambda model: model.enable_group_offload(device, device, kind, num_blocks_per_group=1)


MEANS: dict[str, Callable[[Any], None]] = {
    "fp8 storage": lambda model: model.enable_layerwise_casting(
        storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32
    ),
    "leaf offload": _group_offload("leaf_level"),
    "block offload": _group_offload("block_level"),
    "fused projections": lambda model: model.fuse_qkv_projections(),
}


@pytest.mark.parametrize(
    "means", [*list(MEANS)[:1], *(pytest.param(one, marks=pytest.mark.slow) for one in list(MEANS)[1:])]
)
def test_on_a_model_that_is_stored_otherwise(means: str, checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    """LoRAs with sparse attention and propagation on top, and the bits of the model under the same means afterwards."""
    engine, family = Engine.load(str(checkpoint("wan-2.1")), device="cpu"), "wan-2.1"
    model = denoiser_of(engine.backbone.pipeline)
    file = str(write_lora(tmp_path / "a.safetensors", model))
    expected = frames_of(engine, family, file)
    MEANS[means](model)
    plain = frames_of(engine, family)
    adapted = frames_of(engine, family, file)
    assert not np.array_equal(adapted, plain)
    if "offload" in means:
        assert np.array_equal(adapted, expected)
    sparse = {"sparsity": 0.5, "dense_steps": 0, "min_length": 1, "query_block": 4, "key_block": 2}
    frames_of(engine, family, f"{file}@0-0.5", attention=sparse, propagate="every:2")
    assert np.array_equal(frames_of(engine, family), plain)


def test_a_broken_or_missing_peft_is_named(
    engines: Callable[[str], Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from videogen.attention.kernels import packages

    engine = engines("wan-2.1")
    file = str(write_lora(tmp_path / "a.safetensors", denoiser_of(engine.backbone.pipeline)))
    for installed, message in (
        (False, r"peft is not installed: pip install 'videogen\[lora\]'"),
        (True, r"peft is installed, but its import fails \(undefined symbol\); install it again"),
    ):
        monkeypatch.setattr(packages, "_is_installed", lambda _, there=installed: there)
        monkeypatch.setattr(packages, "_import_error", lambda _: ImportError("undefined symbol"))
        with pytest.raises(UnsupportedError, match=message):
            render(engine, "wan-2.1", file)
