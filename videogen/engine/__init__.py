"""The one denoising loop, guidance, and `Engine`. `request` and `events` load no torch."""
