"""Ctrl-C and SIGTERM at random instants: each single signal must end a render, without a traceback.

Renders of the embedded model are started from the command line, each gets one signal while it starts, loads or renders,
and must end with the exit code of that signal. Writes benchmarks/stops.json.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tools.bench.files import BENCHMARKS, write_report

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
#: steps enough that no render ends by itself in time
COMMAND = (sys.executable, "-m", "videogen", "render", "a red ball spins", "--steps", "990", "-o", "out.mp4")


def _restore_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it


def stop_once(number: signal.Signals, patience_s: float, limit_s: float, folder: Path) -> dict[str, Any]:
    """One render, and one signal after so many seconds. fault: what was wrong, "" for nothing."""
    process = subprocess.Popen(
        COMMAND, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_restore_ctrl_c
    )
    time.sleep(patience_s)
    sent = time.perf_counter()
    process.send_signal(number)
    try:
        _, printed = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        fault = f"still running after {limit_s:g} s"
    else:
        wrong_code = process.returncode not in (CODES[number], -number)
        fault = printed[-400:] if wrong_code or "Traceback" in printed else ""
    stop_s = round(time.perf_counter() - sent, 2)
    return {"signal": number.name, "after_s": round(patience_s, 2), "stop_s": stop_s, "fault": fault}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stops", type=int, default=60, help="renders to stop, half of them by each signal")
    parser.add_argument("--latest", type=float, default=6.0, help="latest instant in seconds; the earliest is 0.2")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds after which a signal counts as lost")
    parser.add_argument("--out", type=Path, default=BENCHMARKS, help="folder of the report")


def run(options: argparse.Namespace) -> int:
    dice, rows = random.Random(0), []
    for number in range(options.stops):
        with tempfile.TemporaryDirectory() as folder:
            kind = list(CODES)[number % len(CODES)]
            rows.append(stop_once(kind, dice.uniform(0.2, options.latest), options.limit, Path(folder)))
        print(rows[-1], flush=True)
    faults = [row for row in rows if row["fault"]]
    figures = {"stops": len(rows), "slowest_s": max(row["stop_s"] for row in rows), "faults": faults}
    write_report(options.out / "stops.json", f"stops --stops {options.stops}", figures)
    return 1 if faults else 0
