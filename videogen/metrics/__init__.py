"""Figures that need no downloaded weights: fidelity now; motion, seams and drift come here."""
