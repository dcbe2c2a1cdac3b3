"""Checkpoint formats: single files, several sources joined into one pipeline, revisions on the hub."""
