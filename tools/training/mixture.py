"""Mixture of clip kinds in a training batch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mixture:
    """Fractions of the full-length clips. warped: with warped noise that follows their motion; continued: continuations
    of a clean prefix; the others are plain, a fraction `hard` of them hard scenes (`scenes.described_scene`).
    ValueError if no plain clips are left."""

    warped: float = 0.0
    continued: float = 0.0
    hard: float = 0.0

    def __post_init__(self) -> None:
        if min(self.warped, self.continued, self.hard) < 0 or self.warped + self.continued >= 1 or self.hard > 1:
            raise ValueError(
                f"{self}: fractions must be from 0 to 1, and warped and continued must leave some clips plain"
            )

    def counts(self, batch: int) -> tuple[int, int, int]:
        """(plain, continued, warped) clips of a batch. ValueError if it is too small for the mixture."""
        warped, continued = round(batch * self.warped), round(batch * self.continued)
        plain = batch - warped - continued
        if plain < 1 or (self.continued and not continued):
            raise ValueError(f"a batch of {batch} is too small for {self}: take more clips")
        return plain, continued, warped
