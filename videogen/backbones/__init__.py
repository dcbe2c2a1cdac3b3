"""One file a model family over diffusers; the only place that knows a family. `registry` lists them without torch."""
