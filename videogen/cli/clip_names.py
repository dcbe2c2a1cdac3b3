"""Names of several clips' files: from placeholders in `--output`, or with the prompt's number and the seed appended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import Formatter

from videogen.core.errors import InputError, unknown
from videogen.request.request import RenderRequest

from .settings import OutputSettings, as_name, choose_output, default_output

#: Placeholder -> what it stands for.
PLACEHOLDERS = {
    "seed": "the clip's seed",
    "index": "its number, from 1",
    "prompt": "its prompt, in lower case and hyphens",
}


def name_clips(requests: Sequence[RenderRequest], output: OutputSettings, *, skip_existing: bool) -> list[Path]:
    """The file of each clip. InputError for an unknown placeholder, and where two clips would have one file.

    Without `--output`, each has the default name of its prompt and seed, or the next free one unless files that exist
    are skipped or overwritten.
    """
    paths = _default_names(requests) if output.is_default else _given_names(requests, output.path)
    if output.is_default and not skip_existing:
        settings = [OutputSettings(path, output.overwrite, is_default=True) for path in paths]
        paths = [choose_output(one, request, None) for one, request in zip(settings, requests, strict=True)]
    for number, path in enumerate(paths):
        if path in paths[:number]:
            first = paths.index(path)
            raise InputError(
                f"output={str(output.path)!r} names {path} for the clips {first + 1} and {number + 1}; put {{index}} "
                "into it, or {prompt} and {seed}"
            )
    return paths


def _default_names(requests: Sequence[RenderRequest]) -> list[Path]:
    names = [default_output(request) for request in requests]
    numbers = range(1, len(names) + 1)
    return [  # two long prompts may begin alike
        path.with_stem(f"{path.stem}-{number}") if names.count(path) > 1 else path
        for path, number in zip(names, numbers, strict=True)
    ]


def _given_names(requests: Sequence[RenderRequest], output: Path) -> list[Path]:
    template = str(output)
    if not _placeholders(template):
        prompts = list(dict.fromkeys(request.prompt for request in requests))
        numbers = [f"-{prompts.index(one.prompt) + 1}" if len(prompts) > 1 else "" for one in requests]
        plain = Path(template.format())
        return [
            plain.with_stem(f"{plain.stem}{number}-seed{one.seed}")
            for number, one in zip(numbers, requests, strict=True)
        ]
    return [
        Path(_fill(template, {"seed": one.seed, "index": number, "prompt": as_name(one.prompt) or "video"}))
        for number, one in enumerate(requests, 1)
    ]


def _placeholders(template: str) -> list[str]:
    """Names in braces. InputError for unknown ones and for single braces."""
    try:
        names = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise InputError(f"output={template!r}: {error}; a brace of the name itself is doubled: {{{{ }}}}") from None
    for name in names:
        if name not in PLACEHOLDERS:
            raise unknown("placeholder of output", name, PLACEHOLDERS)
    return names


def _fill(template: str, values: dict[str, object]) -> str:
    try:
        return template.format_map(values)
    except ValueError as error:
        raise InputError(f"output={template!r}: {error}; write {{seed}} or, in four digits, {{seed:04d}}") from None
