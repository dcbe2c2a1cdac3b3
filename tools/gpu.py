"""Training and benchmarks on a GPU machine, most valuable first: `python -m tools.gpu --minutes 30 --out out/gpu`.

Time-boxed and resumable: the same command skips finished jobs, resumes a job that was cut short and retries a failed
one. The output folder has results, weights and one log per job; files that only resuming needs are removed when a job
is done, so that the folder is small enough to copy back. To render clips on a GPU, use `videogen render`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Modules that the jobs import, beyond torch and the standard library.
MODULES = (
    "diffusers",
    "transformers",
    "accelerate",
    "peft",
    "safetensors",
    "tokenizers",
    "ftfy",
    "av",
    "PIL",
    "numpy",
    "tqdm",
)
#: Their wheels and those of their dependencies, without the ones that torch installs itself.
WHEELS = (
    "accelerate", "annotated-doc", "annotated-types", "anyio", "av", "certifi", "charset-normalizer",
    "click", "diffusers", "einops", "ftfy", "h11", "hf-xet", "httpcore2", "httpx2", "huggingface-hub",
    "idna", "importlib-metadata", "lazy-importer", "markdown-it-py", "mdurl", "numpy", "packaging",
    "peft", "pillow", "psutil", "pydantic", "pydantic-core", "pygments", "pyyaml", "regex", "requests", "rich",
    "safetensors", "shellingham", "tokenizers", "tqdm", "transformers", "truststore", "typer",
    "typing-inspection", "urllib3", "wcwidth", "zipp",
)  # fmt: skip
#: Seconds beyond its time box that a job gets for its last evaluation and save, before it is stopped.
GRACE_S = 120.0


@dataclass(frozen=True)
class Job:
    """A row of the table. In `command`, {python}, {out}, {minutes}, {device} and {NAME of an earlier job} are filled
    in.

    lane: jobs of a lane run one after another, lanes run in parallel (small models leave most of a GPU idle); the lane
    ALONE runs when all others have finished, as its jobs measure times.
    weight: of the time box, relative to the weights of the later jobs in its lane; 0 for a job that ends by itself, for
    which `reserve_s` is set aside.
    """

    name: str
    lane: str
    about: str
    command: str
    weight: float = 0.0
    needs: tuple[str, ...] = ()
    reserve_s: float = 0.0


ALONE = "alone"
TRAIN = "{python} -m tools.train_embedded --minutes {minutes} --device {device} --out {out} "
JUDGE = "{python} -m tools.evaluate_embedded --out {out} "
MIXED = "--continued 0.35 --warped 0.35 "  # clips that continue finished frames and, for a DiT, clips with warped noise
SHIPPED = MIXED + "--init videogen/embedded/dit --vae videogen/embedded/dit/vae "
SHIPPED += "--learning-rate 7e-4 --hard 0.3 --motion-reader keep "
JOBS: tuple[Job, ...] = (
    Job(
        "dit-motion", "dit", "the shipped DiT, trained further, also on warped noise",
        TRAIN + "--batch 64 " + SHIPPED + "dit", 0.3,
    ),
    Job("judge-motion", "dit", "held-out prompts on it", JUDGE + "{dit-motion}", 0.0, ("dit-motion",), 150.0),
    Job(
        "control-motion", "dit", "drags on it, by warped noise and by dual clock",
        "{python} -m tools.bench motion control {dit-motion} --warped --prompts 16 --out {out}",
        0.0, ("dit-motion",), 200.0,
    ),
    Job("vae", "dit", "video VAE of `embedded`", TRAIN + "--batch 16 vae", 0.32),
    Job("dit", "dit", "DiT of `embedded`", TRAIN + "--batch 64 --vae {vae}/vae " + MIXED + "dit", 0.38, ("vae",)),
    Job("judge-dit", "dit", "held-out prompts on `embedded`", JUDGE + "{dit}", 0.0, ("dit",), 150.0),
    Job("frame-vae", "unet", "frame VAE of `embedded-unet`", TRAIN + "--batch 32 frame-vae", 0.3),
    Job(
        "unet", "unet", "UNet of `embedded-unet`",
        TRAIN + "--batch 32 --vae {frame-vae}/vae " + MIXED + "unet", 0.7, ("frame-vae",),
    ),
    Job("judge-unet", "unet", "held-out prompts on `embedded-unet`", JUDGE + "{unet}", 0.0, ("unet",), 150.0),
    Job(
        "vae-large", "dit", "video VAE of `embedded-large`",
        TRAIN + "--large --batch 4 --init {vae}/vae vae", 0.1, ("vae",),
    ),
    Job(
        "dit-large", "dit", "DiT of `embedded-large`",
        TRAIN + "--large --batch 16 --vae {vae-large}/vae " + MIXED + "dit", 0.2, ("vae-large",),
    ),
    Job(
        "judge-large", "dit", "held-out prompts on `embedded-large`", JUDGE + "{dit-large}", 0.0, ("dit-large",), 200.0,
    ),
    Job(
        "bench", ALONE, "the shipped models against diffusers' own pipelines",
        "{python} -m tools.bench render --device {device} --out {out}/render-{device}.json", reserve_s=120.0,
    ),
    Job(
        "attention", ALONE, "sparse attention: kernels, and models of real shapes",
        "{python} -m tools.bench attention gpu --out {out}", reserve_s=240.0,
    ),
    Job(
        "propagation", ALONE, "propagation: UNets and a DiT of real shapes",
        "{python} -m tools.bench propagation-models --device {device} --out {out}", reserve_s=180.0,
    ),
    Job(
        "lora", ALONE, "LoRAs applied, removed and under offload: times, and the bits afterwards",
        "{python} -m tools.bench lora --device {device} --offload model --out {out}", reserve_s=60.0,
    ),
    Job(
        "motion", ALONE, "warped noise: speed, against bipartite",
        "{python} -m tools.bench noise speed --out {out}", reserve_s=60.0,
    ),
)  # fmt: skip


@dataclass
class Status:
    """A job's state between calls: `OUT/NAME/job.json`."""

    done: bool = False
    minutes: float = 0.0
    spent_s: float = 0.0
    exit_code: int | None = None

    @classmethod
    def read(cls, folder: Path) -> Status:
        path = folder / "job.json"
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else cls()

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / "job.json.tmp"
        partial.write_text(json.dumps(vars(self)) + "\n", encoding="utf-8")
        partial.replace(folder / "job.json")


class Lane:
    """Runs a lane's jobs in order, one process at a time, until they are done or the time is up."""

    def __init__(self, jobs: Sequence[Job], options: argparse.Namespace, deadline: float) -> None:
        self.waiting, self.options, self.deadline = list(jobs), options, deadline
        self.process: subprocess.Popen[bytes] | None = None
        self.job: Job | None = None
        self.status, self.started, self.limit_s = Status(), 0.0, 0.0
        self.failed: list[str] = []

    def tick(self) -> bool:
        """Check the running job or start the next; False when the lane has nothing left to do."""
        if self.process is not None:
            if self.process.poll() is not None:
                self._end(self.process.returncode)
            elif time.monotonic() - self.started > self.limit_s:
                stop(self.process)
                self._end(124)
            return True
        while self.waiting:
            job = self.waiting.pop(0)
            if self._start(job):
                return True
        return False

    def stop(self) -> None:
        if self.process is not None:
            stop(self.process)
            self._end(130)

    def _start(self, job: Job) -> bool:
        folder = self.options.out / job.name
        status = Status.read(folder)
        missing = [need for need in job.needs if not Status.read(self.options.out / need).done]
        left_s = self.deadline - time.monotonic()
        if status.done or missing or left_s <= 0:
            why = "done" if status.done else f"waits for {', '.join(missing)}" if missing else "no time left"
            say(f"{job.name}: {why}")
            return False
        if job.weight:
            status.minutes = self._allot(job, status, left_s)
        box_s = 60 * status.minutes - status.spent_s + GRACE_S if job.weight else left_s
        self.limit_s = box_s if self.options.total is None else min(box_s, left_s)
        status.write(folder)
        log = open(folder / "log.txt", "ab")  # noqa: SIM115 - the child process holds it open
        command = fill(job, self.options, status.minutes)
        say(
            f"{job.name}: {job.about}"
            + (f", {status.minutes:.1f} minutes" if job.weight else "")
            + f"; log {folder}/log.txt"
        )
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(python_path(self.options.out)),
            "PYTHONUNBUFFERED": "1",
        }
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=environment)
        log.close()
        self.job, self.status, self.started = job, status, time.monotonic()
        return True

    def _allot(self, job: Job, status: Status, left_s: float) -> float:
        """The job's time box in minutes, earlier calls included: its learning rate schedule spans the entire box."""
        if status.spent_s and (self.options.total is not None or 60 * status.minutes - status.spent_s <= left_s):
            return status.minutes  # started: keep its box if it fits
        if self.options.total is not None:
            lane_spent_s = sum(Status.read(self.options.out / j.name).spent_s for j in JOBS if j.lane == job.lane)
            left_s = max(left_s, 60 * self.options.total - lane_spent_s)
        left_s -= sum(j.reserve_s for j in JOBS if j.lane in (job.lane, ALONE))
        later = sum(j.weight for j in self.waiting if not Status.read(self.options.out / j.name).done)
        return max(0.1, (status.spent_s + left_s * job.weight / (job.weight + later)) / 60)

    def _end(self, code: int) -> None:
        assert self.job is not None
        folder = self.options.out / self.job.name
        self.status.spent_s += time.monotonic() - self.started
        self.status.exit_code, self.status.done = code, code == 0
        self.status.write(folder)
        if code == 0:
            for path in folder.glob("state.*"):
                path.unlink()  # only resuming needs it
        elif code not in (124, 130):  # neither out of time nor interrupted
            self.failed.append(self.job.name)
        say(f"{self.job.name}: {'done' if code == 0 else f'ended with {code}'} after {self.status.spent_s:.0f} s")
        self.process = self.job = None


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def fill(job: Job, options: argparse.Namespace, minutes: float) -> list[str]:
    """The job's command line as a list, so that no shell interprets a name."""
    values = {
        "python": sys.executable,
        "device": options.device,
        "minutes": f"{minutes:.2f}",
        "out": str(options.out / job.name),
    }
    values |= {other.name: str(options.out / other.name) for other in JOBS}
    return [part.format_map(values) for part in job.command.split()]


def python_path(out: Path) -> list[str]:
    site = out.parent / f"{out.name}-site"
    return [str(ROOT), *([str(site)] if site.is_dir() else []), *filter(None, [os.environ.get("PYTHONPATH")])]


def bring_wheels(folder: Path, out: Path) -> None:
    """Unpack carried wheels next to the output folder, not into it or the machine's Python."""
    wheels = sorted(str(path) for path in folder.glob("*.whl"))
    site = out.parent / f"{out.name}-site"
    if wheels and not site.is_dir():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(site)]
        subprocess.run([*install, *wheels], check=True)


def missing_modules(out: Path) -> list[str]:
    """Those of MODULES that the jobs would not find."""
    code = f"import importlib.util as u; print(*[m for m in {('torch', *MODULES)!r} if u.find_spec(m) is None])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(python_path(out))}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()


def default_device() -> str:
    if importlib.util.find_spec("torch") is None:
        return "cuda"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def say(line: str) -> None:
    print(line, flush=True)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="time box of this call (default 30)")
    parser.add_argument(
        "--total", type=float, metavar="MINUTES", help="plan for this time over several calls of --minutes each"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "out" / "gpu", help="results, weights and logs (default out/gpu)"
    )
    parser.add_argument("--device", default=None, help="default: cuda where there is one")
    parser.add_argument("--only", nargs="+", metavar="JOB", choices=[job.name for job in JOBS], help="only these jobs")
    parser.add_argument("--wheels", type=Path, default=None, help="folder of carried wheels, see tools/README.md")
    parser.add_argument("--wheel-names", action="store_true", help="list the wheels to carry, and stop")
    parser.add_argument("--list", action="store_true", help="list the jobs and their states, and stop")
    options = parser.parse_args(argv)
    options.out = options.out.resolve()
    return options


def run(jobs: Sequence[Job], options: argparse.Namespace, deadline: float) -> list[str]:
    """Run the jobs' lanes in parallel; return the names of the jobs that failed."""
    names = dict.fromkeys(job.lane for job in jobs)
    lanes = [Lane([job for job in jobs if job.lane == name], options, deadline) for name in names]
    try:
        while any([lane.tick() for lane in lanes]):
            time.sleep(0.2)
    finally:
        for lane in lanes:
            lane.stop()
    return [name for lane in lanes for name in lane.failed]


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    if options.wheel_names:
        say(" ".join(WHEELS))
        return 0
    jobs = [job for job in JOBS if not options.only or job.name in options.only]
    if options.list:
        for job in jobs:
            status = Status.read(options.out / job.name)
            state = "done" if status.done else f"{status.spent_s:.0f} s spent" if status.spent_s else "waits"
            say(f"{job.name:15} {state:12} {job.about}")
        return 0
    deadline = time.monotonic() + 60 * options.minutes
    options.out.mkdir(parents=True, exist_ok=True)
    if options.wheels:
        bring_wheels(options.wheels, options.out)
    if absent := missing_modules(options.out):
        remedy = "carry their wheels (tools/README.md) and pass --wheels FOLDER"
        say(f"these modules are missing here: {', '.join(absent)}; {remedy}")
        return 2
    options.device = options.device or default_device()
    failed = run([j for j in jobs if j.lane != ALONE], options, deadline)
    failed += run([j for j in jobs if j.lane == ALONE], options, deadline)
    waiting = [job.name for job in jobs if not Status.read(options.out / job.name).done]
    say(
        f"results are in {options.out}" + (f"; the same command runs the rest: {', '.join(waiting)}" if waiting else "")
    )
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
