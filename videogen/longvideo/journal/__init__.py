"""The job folder of a long render: finished segments on disk, so that the same command resumes after a crash."""
