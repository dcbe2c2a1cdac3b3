"""Models that a manifest names: which may be loaded unasked, and whether their weights are those of the render.

A video may come from a stranger, and so may the model that its manifest names. Importing this loads no torch.
"""

from __future__ import annotations

from videogen.core.errors import InputError

from .registry import locate


def check_allowed(name: str | None, where: str, *, allow_model: bool = False) -> None:
    """InputError for a model that would come from the hub, unless it is allowed. Embedded models and local folders may
    be loaded if `check_recorded_weights` finds the recorded digest.

    name: the model of the manifest's request (None: the embedded one); where: the manifest's file, for the message.
    """
    source = locate(name or "embedded")
    if isinstance(source, str) and not allow_model:
        raise InputError(
            f"{where} names model={source!r}, which is neither embedded nor a folder here; if you trust it, add "
            "--allow-model (allow_model=True in Python) to load it from the hub or its cache, or name another model"
        )


def check_recorded_weights(name: str | None, recorded: object, where: str, present: str | None = None) -> None:
    """InputError where a model's weights are not those that the manifest records.

    name, where: as for `check_allowed`; recorded: the manifest's digest. present: the model's digest; None: that of its
    files, which are hashed without being loaded. One of the hub that is not in the local cache passes.
    """
    source = locate(name or "embedded")
    if present is None:
        from .loading import digest

        present = digest(source)
        if isinstance(source, str) and present == "unknown":
            return
    if recorded != present:
        then = str(recorded)[:8] if recorded else "not recorded"
        raise InputError(
            f"{name or 'embedded'} has other weights than when {where} was rendered ({then} then, {present[:8]} now), "
            "so its frames cannot be reproduced; to render with the present weights, name the model with --model (in "
            "Python: Engine.load)"
        )
