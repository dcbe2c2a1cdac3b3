"""Which share of a batch is of which kind."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mixture:
    """Shares of whole clips. warped: with noise that moves as they do; continued: that go on from frames which the
    model is shown; the others are plain, `hard` of them of what is learned last (`scenes.told_scene`). ValueError where
    no plain ones are left."""

    warped: float = 0.0
    continued: float = 0.0
    hard: float = 0.0

    def __post_init__(self) -> None:
        if min(self.warped, self.continued, self.hard) < 0 or self.warped + self.continued >= 1 or self.hard > 1:
            raise ValueError(f"{self}: shares are from 0 to 1, and warped and continued leave some clips plain")

    def counts(self, batch: int) -> tuple[int, int, int]:
        """(plain, continued, warped) clips of a batch. ValueError where it is too small for what is asked."""
        warped, continued = round(batch * self.warped), round(batch * self.continued)
        plain = batch - warped - continued
        if plain < 1 or (self.continued and not continued):
            raise ValueError(f"a batch of {batch} is too small for {self}: take more clips")
        return plain, continued, warped
