"""Noise addressed by seed, stream, latent frame and step; named streams for long videos."""
