"""Command line of the golden table: `python -m tests.golden write|check [--only NAME ...]`."""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.golden.cases import CASES, Case


def main() -> int:
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):  # before anything imports a hub client
        os.environ.setdefault(name, "1")
    parser = argparse.ArgumentParser("python -m tests.golden", description="Renders that may not change.")
    parser.add_argument("action", choices=("write", "check"), help="write a new table, or compare with the stored one")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these cases")
    options = parser.parse_args()
    known = {case.name: case for case in CASES}
    unknown = sorted(set(options.only or ()) - set(known))
    if unknown:
        parser.error(f"unknown case: {', '.join(unknown)}")
    chosen = [known[name] for name in options.only or known]
    return _write(chosen, list(known)) if options.action == "write" else _check(chosen)


def _write(chosen: list[Case], known: list[str]) -> int:
    from tests.golden.table import Result, render_case, write_rows

    results: dict[str, Result] = {}
    for case in chosen:
        started = time.perf_counter()
        results[case.name] = render_case(case)
        _say(f"{case.name:<40} {time.perf_counter() - started:5.1f} s")
    write_rows(results, known)
    return 0


def _check(chosen: list[Case]) -> int:
    from tests.golden.table import differences, render_case, same_machine

    if not same_machine():
        _say("this machine rounds differently from the one that wrote the table: frames are compared by their coarse")
        _say("fingerprints (mean difference of 6 of 255 at most), numbers in manifests and journals within 5 %")
    started, different = time.perf_counter(), 0
    for case in chosen:
        try:
            found = differences(case, render_case(case))
        except Exception as error:
            found = [f"it failed: {type(error).__name__}: {error}"]
        different += bool(found)
        _say(f"{case.name:<40} {'; '.join(found) or 'ok'}")
    _say(f"{len(chosen)} cases, {different} differ, {time.perf_counter() - started:.0f} s")
    return 1 if different else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
