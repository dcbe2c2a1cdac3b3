"""`Engine`: the public face of rendering, and the stages of one render."""
