"""CoNo (2406.05082): look-back schedule, permuted noise, mean regularisation."""
