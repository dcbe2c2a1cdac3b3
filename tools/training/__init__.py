"""Training of the embedded models: one file a part (`vae`, `dit`, `frame_vae`, `unet`) over one time-boxed loop
(`loop`)."""
