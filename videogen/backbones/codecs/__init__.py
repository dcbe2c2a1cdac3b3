"""Codecs: latents and pixels of each class of VAE, one row of `table.CODECS` per class."""
