"""Errors: one class tree whose members are also builtin errors, with exit codes; the nearest known name."""

from __future__ import annotations

import pytest

from videogen.core import errors


@pytest.mark.parametrize(
    ("error", "builtin", "code"),
    [
        (errors.InputError, ValueError, 2),
        (errors.CheckpointError, OSError, 2),
        (errors.MediaError, OSError, 2),
        (errors.UnsupportedError, NotImplementedError, 2),
        (errors.ResumeError, RuntimeError, 2),
        (errors.NumericsError, ArithmeticError, 4),
        (errors.OutOfMemoryError, MemoryError, 3),
        (errors.Cancelled, Exception, 130),
    ],
)
def test_every_error_is_also_a_builtin_error_and_has_an_exit_code(
    error: type[errors.VideogenError], builtin: type, code: int
) -> None:
    assert issubclass(error, errors.VideogenError) and issubclass(error, builtin) and error.exit_code == code


@pytest.mark.parametrize(("name", "expected"), [("unpic", "unipc"), ("zzz", None)])
def test_nearest(name: str, expected: str | None) -> None:
    assert errors.nearest(name, ["unipc", "euler"]) == expected
