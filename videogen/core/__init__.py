"""What everything stands on: errors, addressed randomness, the run manifest, atomic files, quiet logs. Imports nothing
above."""
