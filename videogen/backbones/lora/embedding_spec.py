"""Textual inversion specification: a file of learned embeddings, and the token that stands for them in the prompt.

As text: `[TOKEN=]FILE`, such as `<my-cat>=cat.safetensors`. No torch here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from videogen.core.errors import InputError
from videogen.core.keywords import suggest_keywords
from videogen.core.tables import check_keys

_FORM = "[TOKEN=]FILE, such as '<my-cat>=cat.safetensors'"


@suggest_keywords
@dataclass(frozen=True)
class Embedding:
    """One textual inversion of a request. file: safetensors; token: the word of the prompt that stands for it (None:
    the file's own, or else its name without the suffix); sha256: what the file must be, where that is recorded."""

    file: str
    token: str | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.file, str | PathLike) or not fspath(self.file):
            raise InputError(f"file={self.file!r} of an embedding is not the name of a file; write {_FORM}")
        object.__setattr__(self, "file", str(Path(self.file).expanduser().absolute()))
        if self.token is not None and (not isinstance(self.token, str) or len(self.token.split()) != 1):
            raise InputError(f"token={self.token!r} of {self.name} is not a single word; write {_FORM}")

    @property
    def name(self) -> str:
        """The file's name without its folder, for messages."""
        return Path(self.file).name

    @classmethod
    def from_value(cls, value: Any) -> Embedding:
        """From text, a path, a dict of the fields, or one. InputError for what is none of them."""
        if isinstance(value, cls):
            return value
        if isinstance(value, PathLike):
            return cls(fspath(value))
        given = split_embedding(value)
        if not isinstance(given, Mapping):
            raise InputError(f"embedding={value!r} is not an embedding; write {_FORM}")
        check_keys(dict(given), [field.name for field in fields(cls)], "the embedding")
        if "file" not in given:
            raise InputError(f"the embedding {dict(given)!r} has no file; add file='NAME.safetensors'")
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, which `from_value` reads."""
        return asdict(self)


def split_embedding(value: Any) -> Any:
    """An embedding as text in its parts, the fields of `Embedding`; anything else as it is."""
    if not isinstance(value, str):
        return value
    token, equals, file = value.strip().partition("=")
    return {"file": file, "token": token.strip()} if equals else {"file": value.strip()}


def read_embeddings(values: Any) -> tuple[Embedding, ...]:
    """The embeddings of a request's field. InputError for what is not a list of embeddings."""
    if isinstance(values, str | PathLike | Mapping | Embedding) or not isinstance(values, Iterable):
        raise InputError(f"embeddings={values!r} must be a list, such as embeddings=['<my-cat>=cat.safetensors']")
    return tuple(Embedding.from_value(value) for value in values)
