"""videogen's engine behind nodes."""
