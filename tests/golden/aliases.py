"""Renames since the table was written, old name -> new name; what is stored is renamed so before it is compared."""

from __future__ import annotations

#: Of keys of manifests and journals, at any depth.
KEY_ALIASES: dict[str, str] = {
    "pieces": "segments", "motion_picture": "first_frame", "asked_px": "target_px", "beat": "frames_per_latent",
    "likeness": "similarity", "share": "fraction", "sites": "layers",
}  # fmt: skip
#: Of whole values of manifests and journals.
VALUE_ALIASES: dict[str, str] = {}
#: Of the options and command line flags that the cases name.
OPTION_ALIASES: dict[str, str] = {
    "motion_picture": "first_frame",
}
