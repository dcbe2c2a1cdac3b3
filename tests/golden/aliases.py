"""Renames since the table was written, old name -> new name, which are applied to the stored data before comparison."""

from __future__ import annotations

#: Keys of manifests and journals, at any depth.
KEY_ALIASES: dict[str, str] = {
    "pieces": "segments", "motion_picture": "first_frame", "asked_px": "target_px", "beat": "frames_per_latent",
    "likeness": "similarity", "share": "fraction", "sites": "layers",
    "cono": "cono_v",  # in a trial's figures; the published method has the name now
    "pull": "mean_regularisation",
    "held_steps": "clamped_steps",
}  # fmt: skip
#: Complete values in manifests and journals.
VALUE_ALIASES: dict[str, str] = {
    "held": "clamped", "clipped strays": "clipped drifts", "contrast strays": "contrast drifts",
}  # fmt: skip
#: Options and command line flags that the cases use.
OPTION_ALIASES: dict[str, str] = {
    "motion_picture": "first_frame",
}
