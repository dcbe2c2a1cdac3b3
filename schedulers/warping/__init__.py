"""Noise warped along a motion: Go-with-the-Flow and exact bipartite warping."""
