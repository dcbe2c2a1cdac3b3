"""Render requests, their resolution for a loaded model, and continuity configurations. No torch here."""
