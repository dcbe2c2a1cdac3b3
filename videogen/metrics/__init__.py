"""Figures that need no downloaded weights: fidelity, motion, cameras; seams, drift, repetition and freezing of long
clips."""
