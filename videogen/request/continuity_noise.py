"""Table of noise kinds of a long video: how the noise of its latent frames depends on each other.

A continuity policy names the kinds that it works with (`continuity_policies.PolicyRow.noises`); the streams are in
`schedulers.noise`. Importing this loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def _no_settings(clip: int) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class NoiseRow:
    """One kind of noise, a stream of `schedulers.noise.stream.STREAMS`.

    stream_settings: the settings of `noise_stream` for clips of so many latent frames. follows_motion: it moves as the
    request's motion does, and needs one. refreshes: it reuses the noise of earlier clips, of which `refresh` replaces a
    fraction.
    """

    name: str
    description: str
    stream_settings: Callable[[int], dict[str, Any]] = _no_settings
    follows_motion: bool = False
    refreshes: bool = False


NOISES: dict[str, NoiseRow] = {
    row.name: row
    for row in (
        NoiseRow("iid", "independent frames"),
        NoiseRow(
            "freenoise",
            "a clip's noise repeated, shuffled within a quarter of a clip (FreeNoise, 2310.15169)",
            lambda clip: {"window": clip, "stride": max(1, clip // 4)},
        ),
        NoiseRow("cono", "the noise of the clip before, permuted (CoNo, 2406.05082)", refreshes=True),
        NoiseRow("warped", "noise that moves as the request's motion does", follows_motion=True),
    )
}
#: the kinds that independent frames and a motion get where the request names none
INDEPENDENT, MOVING = "iid", "warped"
