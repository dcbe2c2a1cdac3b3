"""Report of a quantization: sizes, the format of each layer, and the measured fidelity of decoded clips."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from videogen.core.files import atomic_path

REPORT_FILE = "quantization.json"


@dataclass(frozen=True)
class LayerChoice:
    """format: its name; size: bytes; error: predicted relative squared error of the model's output, None: not tried."""

    format: str
    size: int
    error: float | None


@dataclass(frozen=True)
class ComponentReport:
    """Of one denoiser. bytes_before, bytes_after: of all its weights."""

    bytes_before: int
    bytes_after: int
    layers: Mapping[str, LayerChoice]

    @property
    def counts(self) -> dict[str, int]:
        """format -> number of layers."""
        return dict(sorted(Counter(layer.format for layer in self.layers.values()).items()))


@dataclass(frozen=True)
class Report:
    """psnr_db: of each measured clip, decoded, to the model before; target: the requested one, as text; options: how
    the model was observed."""

    model: str
    target: str
    components: Mapping[str, ComponentReport]
    psnr_db: list[float]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def mean_psnr_db(self) -> float:
        return sum(self.psnr_db) / len(self.psnr_db)

    @property
    def worst_psnr_db(self) -> float:
        return min(self.psnr_db)

    @property
    def bytes_before(self) -> int:
        return sum(one.bytes_before for one in self.components.values())

    @property
    def bytes_after(self) -> int:
        return sum(one.bytes_after for one in self.components.values())

    def to_dict(self) -> dict[str, Any]:
        values = asdict(self)
        facts = ("mean_psnr_db", "worst_psnr_db", "bytes_before", "bytes_after")
        return {**{name: getattr(self, name) for name in facts}, **values}

    def write(self, folder: Path) -> None:
        with atomic_path(folder / REPORT_FILE) as target:
            target.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")

    def lines(self) -> list[str]:
        """For a person to read."""
        found = [
            f"{name}: {one.bytes_before / 1e6:.1f} -> {one.bytes_after / 1e6:.1f} MB, "
            + ", ".join(f"{count} x {kind}" for kind, count in one.counts.items())
            for name, one in self.components.items()
        ]
        measured = f"PSNR {self.mean_psnr_db:.1f} dB (worst {self.worst_psnr_db:.1f}) of {len(self.psnr_db)} clips"
        return [*found, f"{measured}, target {self.target}"]
