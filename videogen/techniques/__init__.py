"""Techniques that the denoising loop calls: sparse attention, propagation, feature caches, dual clock, fixed
latents."""
