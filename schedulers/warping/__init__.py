"""Noise warped along a motion: exact texture lookup and Go-with-the-Flow's bipartite warp."""
