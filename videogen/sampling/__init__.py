"""Denoising loop: technique contract, step plan, progress. Importing `progress` does not load torch."""
