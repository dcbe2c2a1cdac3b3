"""Journal of a long render: its job folder, the segments stored in it, and the lock on it."""
