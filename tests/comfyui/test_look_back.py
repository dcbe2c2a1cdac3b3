"""Long clips by look-back on a native model: no node for short clips, and frames that follow their source exactly."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.comfyui.hosts import Host, draw
from videogen.attention import SparseAttention
from videogen.comfyui.hooks.model_runs import OUTER_SAMPLE, RunContext, find_opener, with_runs
from videogen.comfyui.native import kernel_guard, propagation, sparse_attention
from videogen.comfyui.native.clip_calls import ClipCalls
from videogen.comfyui.native.look_back import KEY, LookBackRuns, LookBackSettings
from videogen.comfyui.native.tied_inputs import check_inputs
from videogen.comfyui.native.tied_plans import LOOK_BACK, METHODS, REPLAY, TiedPlan
from videogen.comfyui.reports.plots import plot_reports
from videogen.comfyui.reports.reports import collect_reports, describe_reports
from videogen.core.errors import InputError, UnsupportedError
from videogen.propagation import StepCaching

SAMPLERS = ["euler", "heun", "dpmpp_2m", "uni_pc"]


def attach(model: Any, comfy: Host, method: str = LOOK_BACK, *, record: bool = False, **settings: Any) -> Any:
    clip = comfy.noise.shape[2]
    return with_runs(model, KEY, LookBackRuns(LookBackSettings(clip, method, **settings), record=record))


def long_noise(comfy: Host, extensions: int = 1, method: str = LOOK_BACK, batch: int = 1) -> torch.Tensor:
    plan = TiedPlan(method, comfy.noise.shape[2], 1)
    _, channels, frames, height, width = comfy.noise.shape
    return draw((batch, channels, frames + extensions * plan.new_frames, height, width))


def watch_clips(model: Any) -> list[torch.Tensor]:
    """A list that gets the latents of each sampling run within one with the node."""
    found: list[torch.Tensor] = []

    def watch(executor: Any, *args: Any, **kwargs: Any) -> Any:
        found.append(executor(*args, **kwargs))
        return found[-1]

    model.add_wrapper_with_key(OUTER_SAMPLE, "watch", watch)
    return found


@pytest.mark.parametrize("batched", [True, False], ids=["one batch", "two calls"])
@pytest.mark.parametrize("record", [False, True], ids=["plain", "recorded"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_clip_of_the_model_s_length_is_as_without_the_node(
    comfy: Host, sampler: str, record: bool, batched: bool
) -> None:
    model = comfy.model()
    found = comfy.sample(attach(model, comfy, record=record), sampler, batched=batched)
    assert torch.equal(found, comfy.sample(model, sampler, batched=batched))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_copied_frames_are_their_source_s(comfy: Host, sampler: str, method: str) -> None:
    model, noise, frames = comfy.model(), long_noise(comfy, method=method), comfy.noise.shape[2]
    plain = comfy.sample(model, sampler, noise=noise[:, :, :frames])
    long = attach(model, comfy, method)
    clips = watch_clips(long)
    found = comfy.sample(long, sampler, noise=noise)
    assert found.shape == noise.shape and torch.equal(found[:, :, :frames], plain) and len(clips) == 2
    plan = TiedPlan(method, frames, 1)
    sources = {"A": clips[0], **dict(zip((clip.name for clip in plan.clips), clips[1].split(1), strict=True))}
    for clip in plan.clips:
        for copy in clip.copies:
            own, source = (sources[name][:, :, list(slots)] for name, slots in
                           ((clip.name, copy.slots), (copy.source, copy.source_slots)))  # fmt: skip
            assert torch.equal(own, source)
    emitted = [sources[clip.name][:, :, list(clip.emitted)] for clip in plan.clips]
    assert torch.equal(found[:, :, frames:], torch.cat(emitted, dim=2))
    assert torch.equal(comfy.sample(model, sampler, noise=noise[:, :, :frames]), plain)


def test_frames_are_free_after_the_release(comfy: Host) -> None:
    long = attach(comfy.model(), comfy, REPLAY, release=0.4)
    clips, copied = watch_clips(long), TiedPlan(REPLAY, comfy.noise.shape[2], 1).copied
    comfy.sample(long, noise=long_noise(comfy, method=REPLAY))
    assert not torch.equal(clips[1][:, :, :copied], clips[0][:, :, -copied:])
    assert collect_reports(long)[KEY]["release_step"] == 1


@pytest.mark.parametrize("method", METHODS)
def test_a_clip_is_continued_as_in_one_run(comfy: Host, method: str) -> None:
    nodes, model = comfy.load_nodes("long_context"), comfy.model()
    noise, frames = long_noise(comfy, 2, method), comfy.noise.shape[2]
    scale = model.model.latent_format.temporal_downscale_ratio
    (first,) = nodes.LongContext.execute(model, (frames - 1) * scale + 1, method, record=True).result
    middle = noise.shape[2] - TiedPlan(method, frames, 1).new_frames
    expected = comfy.sample(first, noise=noise)
    parts = [comfy.sample(first, noise=noise[:, :, :middle])]
    # a latent may end within an extension, whose other frames are continued, too; by replay they have other noise
    within = [] if method == REPLAY else [noise.shape[2] - 1]
    for length in (*within, noise.shape[2]):
        added = length - parts[-1].shape[2]
        second, empty = nodes.LongContextContinue.execute(model, first, {"samples": parts[-1]}, added * scale).result
        assert empty["samples"].shape[2] == length and not empty["samples"].any()
        parts.append(comfy.sample(second, noise=noise[:, :, :length]))
        first = second
    assert torch.equal(parts[-1], expected) and torch.equal(parts[-1][:, :, :middle], parts[0])


def test_samples_of_a_batch_are_extended_on_their_own(comfy: Host) -> None:
    noise = long_noise(comfy, batch=2)
    long = attach(comfy.model(), comfy)
    both = comfy.sample(long, noise=noise)
    assert torch.equal(both, torch.cat([comfy.sample(long, noise=one) for one in noise.split(1)]))


@pytest.mark.usefixtures("short_runs")
@pytest.mark.parametrize("before", [True, False], ids=["below the others", "above the others"])
def test_it_works_with_the_other_nodes(comfy: Host, before: bool) -> None:
    model, noise = comfy.model(), long_noise(comfy)
    expected = comfy.sample(attach(model, comfy), noise=noise)
    settings = SparseAttention(recall=1.0, **comfy.sparse)
    exact = attach(model, comfy) if before else model
    exact = with_runs(exact, propagation.KEY, lambda c: propagation.PropagatedRun(c, StepCaching(keys="every:1")))
    exact = with_runs(exact, sparse_attention.KEY, lambda c: sparse_attention.SparseAttentionRun(c, settings))
    exact = exact if before else attach(exact, comfy)
    assert torch.equal(comfy.sample(exact, noise=noise), expected)
    assert len(collect_reports(exact)) == 3


def add_attention(model: Any, comfy: Host) -> Any:
    settings = SparseAttention(recall=0.8, **{**comfy.sparse, "min_length": 64})
    return with_runs(model, sparse_attention.KEY, lambda c: sparse_attention.SparseAttentionRun(c, settings))


def add_propagation(model: Any, comfy: Host) -> Any:
    return with_runs(model, propagation.KEY, lambda c: propagation.PropagatedRun(c, StepCaching(keys="every:2")))


def add_guard(model: Any, comfy: Host) -> Any:
    return with_runs(model, kernel_guard.KEY, lambda c: kernel_guard.GuardedRun(c, "stop"))


@pytest.mark.usefixtures("short_runs")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("add", [add_attention, add_propagation, add_guard], ids=lambda add: add.__name__)
def test_the_order_of_nodes_has_no_effect(comfy: Host, add: Any, method: str) -> None:
    """Clips begin without what the others found, such as block maps of attention."""
    model, shape = comfy.model(), (*comfy.long_noise.shape[:2], 14, *comfy.long_noise.shape[3:])
    noise = draw(tuple(comfy.long_noise.shape))[:, :, :1] + 0.1 * draw(shape, seed=2)
    settings = LookBackSettings(5, method)

    def extend(one: Any) -> Any:
        return with_runs(one, KEY, LookBackRuns(settings, record=False))

    above, below = extend(add(model, comfy)), add(extend(model), comfy)
    clips = watch_clips(above)
    found, other = (comfy.sample(one, steps=6, noise=noise) for one in (above, below))
    assert torch.equal(found, other)
    assert torch.equal(clips[0], comfy.sample(add(model, comfy), steps=6, noise=noise[:, :, :5]))
    reports = [collect_reports(one) for one in (above, below)]
    assert plot_reports(reports[0]).ndim == 3
    for report in reports:
        del report[KEY]
        for one in report.values():
            assert one.pop("clips") == len(clips)
            one.pop("seconds", None)
    assert reports[0] == reports[1]
    (report,) = reports[0].values()
    if add is add_attention:
        assert report["mean_density"] < 0.99 and report["steps"] == 6 * len(clips)
        assert {len(row["density"]) for row in report["branches"].values()} == {report["steps"]}
    elif add is add_propagation:
        assert report["steps"] == 6 * len(clips) and {6 * clip for clip in range(len(clips))} < set(report["keys"])
    else:
        (check,) = report["kernels"]
        assert check["calls"] >= 4 * len(clips) and not check["fault"]


def test_the_report_has_where_clips_meet(comfy: Host) -> None:
    long, frames = attach(comfy.model(), comfy, REPLAY), comfy.noise.shape[2]
    noise = long_noise(comfy, 2, REPLAY)
    comfy.sample(long, noise=noise)
    report, copied = collect_reports(long)[KEY], TiedPlan(REPLAY, frames, 1).copied
    assert report["joins"] == [frames, 2 * frames - copied] and report["extensions"] == 2
    assert describe_reports({KEY: report}) == [
        f"long context: {noise.shape[2]} latent frames, 2 extensions by replay",
        f"  clips of {frames} latent frames share {copied} for 3 steps",
    ]
    comfy.sample(long)
    (line,) = describe_reports(collect_reports(long))
    assert line.startswith(f"long context: no effect; the clip has {frames} latent frames")


@pytest.mark.parametrize(("length", "used"), [(10, 9), (12, 9), (9, 0)])
def test_a_clip_length_between_latents_is_stated(comfy: Host, length: int, used: int) -> None:
    (long,) = comfy.load_nodes("long_context").LongContext.execute(comfy.model(), length).result
    comfy.sample(long, noise=long_noise(comfy, 1, REPLAY))
    lines = describe_reports(collect_reports(long))
    assert lines[0].endswith("extension by replay") or " extensions by" in lines[0]
    assert any(f"clip_length={length} is {used} frames" in line for line in lines) == bool(used)


def test_nothing_is_left_after_an_interruption(comfy: Host) -> None:
    model, noise = comfy.model(), long_noise(comfy)
    plain, long = comfy.sample(model), attach(model, comfy, record=True)
    with pytest.raises(KeyboardInterrupt):
        comfy.sample(long, noise=noise, interrupted=True)
    opener = find_opener(long, KEY)
    assert opener is not None and not opener.reports and not opener.open_run.recordings  # type: ignore[attr-defined]
    assert torch.equal(comfy.sample(model), plain)
    assert torch.equal(comfy.sample(long, noise=noise), comfy.sample(attach(model, comfy), noise=noise))


def test_another_schedule_cannot_continue(comfy: Host) -> None:
    nodes, model = comfy.load_nodes("long_context"), comfy.model()
    first = attach(model, comfy, record=True)
    latent = {"samples": comfy.sample(first)}
    second, empty = nodes.LongContextContinue.execute(model, first, latent, 4).result
    with pytest.raises(UnsupportedError, match="steps, scheduler and shift must be the same"):
        comfy.sample(second, noise=draw(tuple(empty["samples"].shape)), steps=4)
    with pytest.raises(InputError, match="use the latent that Long Context: Continue gives"):
        comfy.sample(second)
    with pytest.raises(InputError, match="cannot continue a batch of 1"):
        comfy.sample(second, noise=draw((2, *empty["samples"].shape[1:])))


def test_the_nodes_refuse(comfy: Host) -> None:
    nodes, model = comfy.load_nodes("long_context"), comfy.model()
    with pytest.raises(InputError, match="release=nan"):
        nodes.LongContext.execute(model, 33, REPLAY, release=float("nan"))
    with pytest.raises(InputError, match="overlap is 8 of a clip's 9 latent frames; use at most 7"):
        nodes.LongContext.execute(model, 33, REPLAY, overlap=32)
    with pytest.raises(InputError, match="clip_length is 2 latent frames"):
        nodes.LongContext.execute(model, 5, REPLAY)
    with pytest.raises(InputError, match="unknown method 'loop'"):
        nodes.LongContext.execute(model, 33, "loop")
    with pytest.raises(InputError, match="no recording"):
        nodes.LongContextContinue.execute(model, model, {"samples": comfy.noise}, 40)
    first = attach(model, comfy, record=True)
    found = comfy.sample(first)
    with pytest.raises(InputError, match="not the result that Long Context recorded"):
        nodes.LongContextContinue.execute(model, first, {"samples": found + 1}, 40)
    with pytest.raises(InputError, match="frames=0"):
        nodes.LongContextContinue.execute(model, first, {"samples": found}, 0)
    with pytest.raises(InputError, match="cannot be continued"):
        comfy.sample(first, noise=comfy.noise[:, :, :-1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"latents": torch.ones(1, 4, 7, 8, 8)}, "begins with an empty latent", id="a clip to change"),
        pytest.param({"mask": torch.ones(1, 1, 7, 8, 8)}, "without a noise mask", id="a noise mask"),
        pytest.param({"noise": torch.zeros(1, 4, 7, 8, 8)}, "all steps in one sampler", id="a second sampler"),
        pytest.param({"sigmas": torch.tensor([1.0, 0.5])}, "all steps in one sampler", id="a first sampler"),
        pytest.param({"noise": torch.ones(1, 4, 8, 8)}, "are no video", id="an image"),
        pytest.param({"shapes": ((1, 4, 7, 8, 8), (1, 2, 9))}, "clips with sound", id="sound"),
        pytest.param({"sampler": "sample_euler_ancestral"}, "adds noise of its own", id="fresh noise"),
        pytest.param({"conds": {"positive": [{"concat_latent_image": torch.ones(1, 4, 7, 8, 8)}]}},
                     "has concat_latent_image, for the frames", id="a first frame"),
        pytest.param({"conds": {"positive": [{"control": object()}]}}, "has control", id="a control net"),
    ],
)  # fmt: skip
def test_it_refuses_what_cannot_be_extended(change: dict[str, Any], message: str) -> None:
    given = {
        "latents": torch.zeros(1, 4, 7, 8, 8), "noise": torch.ones(1, 4, 7, 8, 8), "mask": None,
        "sigmas": torch.tensor([1.0, 0.0]), "shapes": ((1, 4, 7, 8, 8),), "sampler": "sample_euler", "conds": {},
    } | change  # fmt: skip
    sampler = SimpleNamespace(sampler_function=SimpleNamespace(__name__=given["sampler"]))
    context = RunContext(SimpleNamespace(conds=given["conds"]), sampler, given["sigmas"], given["shapes"])
    with pytest.raises((InputError, UnsupportedError), match=message):
        check_inputs(context, given["noise"], given["latents"], given["mask"])


def test_clips_have_their_own_conditions_and_one_progress_bar() -> None:
    """ComfyUI fits the conditions of a run to its latents; each clip begins with those of the node."""
    runs: list[Any] = []
    model = SimpleNamespace(process_latent_in=lambda latents: 2 * latents)
    guider = SimpleNamespace(conds={"positive": [{"text": 1}]}, model_patcher=SimpleNamespace(model=model))

    def executor(
        noise: Any, latents: Any, sampler: Any, sigmas: Any, mask: Any, callback: Any, *rest: Any, latent_shapes: Any
    ) -> Any:  # fmt: skip
        guider.conds["positive"][0]["text"] += 1
        runs.append((guider.conds["positive"][0]["text"], latents.any(), mask, rest, latent_shapes[0]))
        for step in range(2):
            callback(step, noise, noise, 2)
        return noise + 1

    progress: list[tuple[int, int]] = []
    last: list[torch.Tensor] = []

    def callback(step: int, clean: torch.Tensor, x: torch.Tensor, steps: int) -> None:
        progress.append((step, steps))
        last.append(clean)

    context = RunContext(guider, None, torch.tensor([1.0, 0.0]))
    calls = ClipCalls(executor, context, None, context.sigmas, (None, callback, True, 7), 2)
    clips = [calls.sample(torch.zeros(number, 1, 3, 2, 2)) for number in (1, 3)]
    calls.finish(torch.full((1, 1, 5, 2, 2), 3.0))
    assert [clip.shape[0] for clip in clips] == [1, 3]
    assert runs == [(2, False, None, (True, 7), (1, 1, 3, 2, 2)), (2, False, None, (True, 7), (3, 1, 3, 2, 2))]
    assert progress == [(0, 4), (1, 4), (2, 4), (3, 4), (3, 4)]
    assert last[-1].shape == (1, 1, 5, 2, 2) and (last[-1] == 6).all()
