"""What the techniques measured in a run, as text and plots."""
