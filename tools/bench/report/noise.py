"""Figures of warped noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tools.bench.report.table import ABSENT, Table

METHODS = {
    "texture": "texture",
    "bipartite": "bipartite",
    "published": "bipartite as published (Go-with-the-Flow)",
}


def noise_tables(report: dict[str, Any]) -> Iterator[Table]:
    """Of the parts that the report has."""
    if "statistics" in report:
        yield from statistics_tables(report["statistics"])
    if "speed" in report:
        yield speed_table(report["speed"])


def statistics_tables(found: dict[str, Any]) -> Iterator[Table]:
    yield _whiteness_table(list(found["white"].values()))
    rows = [[mode, f"{row['moran']:.2f}", str(len(row["faults"]))] for mode, row in found["resampled"].items()]
    yield Table("Resampled noise, which must fail", ("interpolation", "Moran's I", "failed tests"), rows)
    rows = [[name, f"{r['correlation']:.2f}", f"{r['attainable']:.2f}"] for name, r in found["along_the_map"].items()]
    yield Table("Correlation with the moved first frame after 4 frames", ("motion", "correlation", "attainable"), rows)
    rows = []
    for name, method in METHODS.items():
        correlations = [row[name] for row in found["slow_pans"]]
        rows.append([method, f"{min(correlations):.3f}", f"{max(correlations):.3f}"])
    speeds, lengths = ([row[key] for row in found["slow_pans"]] for key in ("px_per_frame", "frames"))
    caption = f"Pans of {min(speeds):.2g} to {max(speeds):.2g} px per frame"
    caption += f" over {min(lengths)} to {max(lengths)} frames"
    yield Table(f"{caption}: correlation with the ideal move", ("method", "lowest", "highest"), rows)
    rows = [[name, f"{row['texture']:.4f}", f"{row['bipartite']:.2f}"] for name, row in found["there_and_back"].items()]
    yield Table(
        "16 frames there and 16 back: correlation with the first frame", ("motion", "texture", "bipartite"), rows
    )
    rows = [[name, "yes" if holds else "no"] for name, holds in found["exact"].items()]
    yield Table("Properties that must hold bit for bit", ("property", "holds"), rows)


def _whiteness_table(white: list[dict[str, Any]]) -> Table:
    worst = {
        name: max(abs(row[name]) for row in white)
        for name in ("moran_score", "kurtosis", "channels_score", "psd_score")
    }
    stds = [row["std"] for row in white]
    rows = [
        ["motions rejected by a test of whiteness", f"{sum(bool(row['faults']) for row in white)} of {len(white)}"],
        ["Kolmogorov-Smirnov p, lowest", f"{min(row['ks_p'] for row in white):.3f}"],
        ["Moran's z, highest", f"{worst['moran_score']:.1f}"],
        ["excess kurtosis, highest", f"{worst['kurtosis']:.3f}"],
        ["correlation of channels, highest", f"{worst['channels_score']:.1f} sd"],
        ["spectrum, highest", f"{worst['psd_score']:.1f} sd"],
        ["standard deviation", f"{min(stds):.3f} to {max(stds):.3f}"],
    ]
    caption = f"Warped noise under {len(white)} kinds of motion, {white[0]['values']:,} values each"
    return Table(caption, ("statistic", "value"), rows)


def speed_table(found: dict[str, Any]) -> Table:
    """Seconds per motion, and how much more work the published method is."""
    height, width = found["size_px"]
    on_cpu = "CPU" in found["machine"]["device"]
    where = f"{found['threads']} CPU thread{'s' * (found['threads'] != 1)}" if on_cpu else "a GPU"
    published = found["published"]
    rows = []
    for name, row in found["seconds"].items():
        if not name.startswith("published"):
            ratio = found["ratio_to_published"].get(name)
            rows.append([name, _seconds(row["wall_s"]), ABSENT if ratio is None else f"{ratio:.0f}x"])
    caption = f"{found['frames']} frames of {width}x{height}, {found['channels']} channels, on {where}"
    caption += f"; the target is {_seconds(found['target_s'])}, and of the published method "
    caption += f"{published['steps_timed']} of {published['steps_total']} steps are timed"
    return Table(caption, ("motion", "time", "work of Go-with-the-Flow's published method"), rows)


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 0.1 else f"{1e3 * seconds:.0f} ms"
