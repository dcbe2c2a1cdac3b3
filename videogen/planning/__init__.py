"""Memory and time of a render before it runs, from configurations alone, and what stays on the device meanwhile."""
