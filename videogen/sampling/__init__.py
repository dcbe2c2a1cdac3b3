"""The denoising loop: technique contract, step plan, guidance, progress. `progress` loads no torch."""
