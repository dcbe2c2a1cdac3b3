"""The embedded DiT for ComfyUI's samplers: as a native Wan, with its text encoder and VAE."""
