"""The command line. It parses, shows and exits; the work is `videogen.engine`'s. Nothing here imports torch at start."""
