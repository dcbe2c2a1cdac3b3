"""Render requests, their resolution against a loaded model, and continuity configurations. No torch here."""
