"""Metrics that need no downloaded weights: fidelity, motion and camera errors; seams, drift, repetition and freezing of
long clips."""
