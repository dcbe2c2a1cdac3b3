"""Memory that runs out, at each stage: the render finishes with less memory, or stops with its latents saved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.backbones.checkpoints.files import build_wan as build_wan_checkpoint
from tests.backbones.checkpoints.files import save, save_gguf, weights_of
from tests.contract.families import animatediff, wan
from tests.tiny.table import load_rows
from videogen import Engine, InputError, OutOfMemoryError, RenderRequest, Technique, Video
from videogen.cli.main import main
from videogen.core.errors import CheckpointError
from videogen.engine import memory_use
from videogen.engine.saved_latents import read_latents

CLIP: dict[str, Any] = {"frames": 5, "size": (32, 32), "steps": 3, "seed": 4}
PROMPT = "a red ball"


@dataclass
class Shortage:
    """Raises when a method is called: at call number `at` (None: at each), unless `fits` says that it fits now."""

    owner: Any
    name: str
    at: int | None = 0
    fits: Callable[[], bool] = lambda: False
    calls: int = 0

    def __enter__(self) -> Shortage:
        self._method = getattr(self.owner, self.name)
        setattr(self.owner, self.name, self._call)
        return self

    def __exit__(self, *_: object) -> None:
        delattr(self.owner, self.name)

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if (self.at is None or self.calls - 1 == self.at) and not self.fits():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self._method(*args, **kwargs)


def build_wan(folder: Path) -> Engine:
    wan(folder / "wan")
    return Engine.load(str(folder / "wan"), device="cpu")


def build_animatediff(folder: Path) -> Engine:
    animatediff(folder / "animatediff")
    return Engine.load(str(folder / "animatediff"), device="cpu")


def build_hosted(folder: Path) -> Engine:
    return Engine.from_pipeline(load_rows()["CogVideoXPipeline"].build())


ENGINES = {"wan": build_wan, "animatediff": build_animatediff, "hosted": build_hosted}
_built: dict[str, Engine] = {}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    name = getattr(request, "param", "wan")
    if name not in _built:
        _built[name] = ENGINES[name](tmp_path_factory.mktemp(name))
    return _built[name]


def options_of(engine: Engine) -> dict[str, Any]:
    own = {"options": {"max_sequence_length": 16}} if engine.backbone.native_guidance == "pipeline" else {}
    frames = 4 if engine.backbone.family == "animatediff" else CLIP["frames"]
    return {**CLIP, **own, "frames": frames}


def steps_of(video: Video) -> list[tuple[str, str]]:
    assert video.manifest is not None
    found: Any = video.manifest["measured"]
    return [(one["stage"], one["residency"]) for one in found.get("memory", {}).get("steps_down", ())]


def denoiser(engine: Engine) -> Any:
    return engine.backbone.denoisers()[0]


def vae(engine: Engine) -> Any:
    return engine.backbone.components()["vae"]


def is_tiling(engine: Engine) -> bool:
    return bool(vae(engine).use_tiling)


all_engines = pytest.mark.parametrize("engine", list(ENGINES), indirect=True)


@all_engines
def test_decoding_continues_in_tiles(engine: Engine) -> None:
    with Shortage(vae(engine), "decode", None, partial(is_tiling, engine)) as shortage:
        video = engine.generate(PROMPT, **options_of(engine))
    assert steps_of(video) == [("decode", "on device, VAE tiling")] and shortage.calls >= 2
    assert not is_tiling(engine) and len(video) == options_of(engine)["frames"]


@all_engines
def test_decoding_that_never_fits_saves_the_finished_latents(engine: Engine) -> None:
    plain = engine.generate(PROMPT, **options_of(engine))
    with Shortage(vae(engine), "decode", None), pytest.raises(OutOfMemoryError, match="videogen decode") as error:
        engine.generate(PROMPT, **options_of(engine))
    assert error.value.latents is not None
    saved = read_latents(error.value.latents)
    assert (saved.step, saved.steps) == (3, 3)
    (video,) = engine.decode_latents(error.value.latents, vae_tiling=False)
    assert np.array_equal(video.frames, plain.frames)


@pytest.mark.parametrize("step", [1, 2])
@all_engines
def test_denoising_that_cannot_continue_saves_the_last_step(engine: Engine, step: int) -> None:
    calls_per_step = 2 if engine.backbone.family == "wan" else 1
    at = step * calls_per_step
    with Shortage(denoiser(engine), "forward", at), pytest.raises(OutOfMemoryError, match="at denoise") as error:
        engine.generate(PROMPT, **options_of(engine))
    assert error.value.latents is not None
    assert read_latents(error.value.latents).step == step


@all_engines
def test_memory_that_runs_out_in_the_first_step_or_the_text_has_nothing_to_save(engine: Engine) -> None:
    text = engine.backbone.components()["text_encoder"]
    for owner, stage in ((denoiser(engine), "denoise"), (text, "(encode|denoise)")):
        with Shortage(owner, "forward"), pytest.raises(OutOfMemoryError, match=f"at {stage}") as error:
            engine.generate(PROMPT, **options_of(engine))
        assert error.value.latents is None
    assert len(engine.generate(PROMPT, **options_of(engine))) == options_of(engine)["frames"]


@pytest.fixture
def offloading(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that is treated as a device whose weights can rest in another memory."""
    monkeypatch.setattr(memory_use, "offloads", lambda device: True)


@pytest.mark.parametrize("step", [0, 1, 2])
def test_denoising_continues_from_the_last_step_with_offloading(step: int, offloading: None, tmp_path: Path) -> None:
    engine = build_wan(tmp_path)
    plain = engine.generate(PROMPT, **CLIP)
    with Shortage(denoiser(engine), "forward", 2 * step) as shortage:
        video = engine.generate(PROMPT, **CLIP)
    assert steps_of(video) == [("denoise", "model offload")]
    assert shortage.calls == 2 * 3 + 1, "no finished step is computed twice"
    assert np.array_equal(video.frames, plain.frames)


def test_each_stage_steps_down_once_more(offloading: None, tmp_path: Path) -> None:
    engine = build_wan(tmp_path)
    plain = engine.generate(PROMPT, **CLIP)
    text = engine.backbone.components()["text_encoder"]
    with Shortage(text, "forward"), Shortage(denoiser(engine), "forward", 3), Shortage(vae(engine), "decode"):
        video = engine.generate(PROMPT, **CLIP)
    assert [stage for stage, _ in steps_of(video)] == ["encode", "denoise", "decode"]
    assert steps_of(video)[-1][1] == "block offload, VAE tiling"
    assert np.abs(video.frames.astype(int) - plain.frames.astype(int)).max() <= 1  # one tile holds the clip
    again = engine.generate(PROMPT, **CLIP)
    assert np.array_equal(again.frames, plain.frames) and steps_of(again) == []


def test_a_step_of_the_solver_that_runs_out_begins_again(offloading: None, tmp_path: Path) -> None:
    engine = build_wan(tmp_path)
    plain = engine.generate(PROMPT, **CLIP)
    solver = type(engine.backbone.build_solver(None, 3))
    shortage = Shortage(solver, "step", 1)
    method = solver.step

    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        shortage.calls += 1
        if shortage.calls == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return method(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solver, "step", step)
        video = engine.generate(PROMPT, **CLIP)
    assert shortage.calls == 2 + 3 and np.array_equal(video.frames, plain.frames)


def test_a_technique_begins_again(offloading: None, tmp_path: Path) -> None:
    class Counting(Technique):
        starts = 0

        def begin(self, *_: Any) -> None:
            self.starts += 1

    engine, technique = build_wan(tmp_path), Counting()
    plain = engine.generate(PROMPT, **CLIP)
    with Shortage(denoiser(engine), "forward", 4):
        video = engine.generate(PROMPT, techniques=[technique], **CLIP)
    assert technique.starts == 2 and np.array_equal(video.frames, plain.frames)


def test_a_batch_decodes_clip_by_clip(engine: Engine) -> None:
    prompts = [PROMPT, "a blue square"]
    plain = engine.generate(prompts, **CLIP)
    limit = vae(engine).decode

    def fits_one(latents: Any, *args: Any, **kwargs: Any) -> Any:
        if len(latents) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return limit(latents, *args, **kwargs)

    vars(vae(engine))["decode"] = fits_one
    try:
        videos = engine.generate(prompts, **CLIP)
    finally:
        vars(vae(engine)).pop("decode")
    assert [steps_of(video) for video in videos] == [[("decode", "on device, VAE slicing")]] * 2
    for video, expected in zip(videos, plain, strict=True):
        assert np.abs(video.frames.astype(int) - expected.frames.astype(int)).max() <= 1


def test_a_batch_whose_decoding_never_fits_saves_all_of_its_latents(engine: Engine) -> None:
    with Shortage(vae(engine), "decode", None), pytest.raises(OutOfMemoryError) as error:
        engine.generate([PROMPT, "a blue square"], **CLIP)
    assert error.value.latents is not None and len(read_latents(error.value.latents).requests) == 2
    videos = engine.decode_latents(error.value.latents)
    assert [video.manifest["request"]["seed"] for video in videos if video.manifest] == [4, 5]


@pytest.mark.slow
def test_fp8_storage_is_the_last_means_of_a_plan(tmp_path: Path) -> None:
    engine = build_wan(tmp_path)
    with Shortage(denoiser(engine), "forward", 2):
        video = engine.generate(PROMPT, memory="8GB", **CLIP)
    assert steps_of(video) == [("denoise", "on device, fp8 storage")]
    assert np.isfinite(video.frames).all()


def test_a_planned_render_is_recorded_and_has_the_same_frames(engine: Engine) -> None:
    plain, planned = engine.generate(PROMPT, **CLIP), engine.generate(PROMPT, memory="8GB", **CLIP)
    assert np.array_equal(plain.frames, planned.frames)
    assert planned.manifest is not None and plain.manifest is not None
    found: Any = planned.manifest["measured"]
    assert found["memory"]["limit_bytes"] == 8_000_000_000 and found["memory"]["steps_down"] == []
    assert "memory" not in dict(plain.manifest["measured"])


@pytest.mark.slow
def test_the_text_encoder_is_dropped_and_read_again(tmp_path: Path) -> None:
    engine = build_wan(tmp_path)
    plain = engine.generate(PROMPT, **CLIP)
    request = RenderRequest(PROMPT, frames=5, width=32, height=32, steps=3, seed=4)
    options = {one.residency.placement: one for one in engine.plan(request, memory=1 << 40).options}
    full = options["device"].peak
    weights = engine.backbone.components()["text_encoder"]
    sizes = []
    with Shortage(denoiser(engine), "forward", 99) as watched:
        watched.fits = lambda: True
        vae_decode = vae(engine).decode

        def decode(*args: Any, **kwargs: Any) -> Any:
            sizes.append(sum(weight.numel() for weight in weights.parameters()))
            return vae_decode(*args, **kwargs)

        vars(vae(engine))["decode"] = decode
        videos = [engine.generate(PROMPT, memory=full - 1, **CLIP) for _ in range(2)]
        vars(vae(engine)).pop("decode")
    assert sizes == [0, 0]
    assert all(np.array_equal(video.frames, plain.frames) for video in videos)


def test_memory_below_the_smallest_plan_is_refused_before_anything_is_computed(engine: Engine) -> None:
    with Shortage(denoiser(engine), "forward", None) as shortage, pytest.raises(InputError, match="smallest plan"):
        engine.generate(PROMPT, memory="10kB", **CLIP)
    assert shortage.calls == 0


def test_the_command_decodes_saved_latents(engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Shortage(vae(engine), "decode", None), pytest.raises(OutOfMemoryError) as error:
        engine.generate(PROMPT, **CLIP)
    assert main(["decode", str(error.value.latents), "-o", str(tmp_path / "clip.mp4")]) == 0
    assert (tmp_path / "clip.mp4").stat().st_size and "clip.mp4" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("source", ["file and base", "component's file"])
def test_the_command_decodes_latents_of_a_joined_model(source: str, tmp_path: Path) -> None:
    folder = build_wan_checkpoint(tmp_path / "model")
    weights = weights_of(folder, "transformer")
    if source == "file and base":
        engine = Engine.load(save_gguf(weights, tmp_path / "wan.gguf", "Q8_0"), device="cpu", base=folder)
    else:
        engine = Engine.load(folder, device="cpu", transformer=save(weights, tmp_path / "other.safetensors"))
    with Shortage(vae(engine), "decode", None), pytest.raises(OutOfMemoryError) as error:
        engine.generate(PROMPT, **CLIP)
    assert main(["decode", str(error.value.latents), "-o", str(tmp_path / "clip.mp4")]) == 0
    assert len(Video.open(tmp_path / "clip.mp4").frames) == CLIP["frames"]


def test_the_command_decodes_each_clip_of_a_batch(engine: Engine, tmp_path: Path) -> None:
    with Shortage(vae(engine), "decode", None), pytest.raises(OutOfMemoryError) as error:
        engine.generate([PROMPT, "a blue square"], **CLIP)
    assert main(["decode", str(error.value.latents), "-o", str(tmp_path / "clip.mp4"), "--json"]) == 0
    assert sorted(path.name for path in tmp_path.glob("*.mp4")) == ["clip-1.mp4", "clip-2.mp4"]


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        pytest.param(None, InputError, "does not exist", id="missing"),
        pytest.param(b"not safetensors", CheckpointError, "damaged", id="damaged"),
    ],
)
def test_other_files_are_refused(content: bytes | None, kind: type[Exception], message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.latents.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(kind, match=message):
        read_latents(path)


def test_latents_of_another_model_are_refused(engine: Engine, tmp_path: Path) -> None:
    with Shortage(vae(engine), "decode", None), pytest.raises(OutOfMemoryError) as error:
        engine.generate(PROMPT, **CLIP)
    assert error.value.latents is not None
    with pytest.raises(InputError, match="with other weights"):
        build_animatediff(tmp_path).decode_latents(error.value.latents)
