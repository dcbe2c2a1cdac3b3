"""Textual inversion on one loaded model: learned embeddings for tokens of the prompt, for a render.

Textual Inversion (2208.01618): a file has the embedding of one word that the text encoder did not know, or several
vectors for it. diffusers' loader adds them to the tokenizer and to the encoder's table of embeddings; both are put back
as they were at the end, the table itself included, so that the model is bit-identical.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from videogen.core.errors import CheckpointError, InputError, UnsupportedError

from .claims import claim
from .embedding_spec import Embedding
from .lora_file import TensorFile, check_floating, read_tensor_file
from .reading import read_tensors

if TYPE_CHECKING:
    from videogen.backbones.base import Backbone

_KIND = "textual inversion"
#: the key of the embedding in files of other programs, which name no token
_NAMELESS = ("emb_params", "clip_l")


class TokenEmbeddings:
    """The textual inversions of a backbone. `apply` is a context."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self.records: list[dict[str, Any]] = []

    def check(self, embeddings: Sequence[Embedding]) -> None:
        """Raise what `apply` raises, from the files' headers; also for a model without weights."""
        if not embeddings:
            return
        self._check_supported()
        for embedding in embeddings:
            file = read_tensor_file(embedding.file, _KIND, embedding.sha256)
            self._check_values(file, find_entry(file))

    @contextmanager
    def apply(self, embeddings: Sequence[Embedding]) -> Iterator[None]:
        """Add embeddings, and remove them at the end of the block.

        UnsupportedError where the model does not read its prompt with CLIP; CheckpointError and InputError for files
        that cannot be read or do not fit, for a token that the model knows already, and where another engine shares the
        text encoder and has changed it.
        """
        if not embeddings:
            yield
            return
        self.check(embeddings)
        with claim({"text_encoder": self._backbone.pipeline.text_encoder}, self._backbone):
            yield from self._apply(embeddings)

    def _apply(self, embeddings: Sequence[Embedding]) -> Iterator[None]:
        pipeline = self._backbone.pipeline
        encoder, tokenizer = pipeline.text_encoder, pipeline.tokenizer
        table, size = encoder.get_input_embeddings(), encoder.config.vocab_size
        values, count = table.weight.data, table.num_embeddings
        try:
            pipeline.tokenizer = copy.deepcopy(tokenizer)
            # the library draws values for new rows, which are then overwritten
            with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices=[]):
                self.records = [self._add(embedding) for embedding in embeddings]
            yield
        finally:
            self.records = []
            pipeline.tokenizer = tokenizer
            encoder.set_input_embeddings(table)
            table.weight.data, table.num_embeddings = values, count
            encoder.config.vocab_size = size

    def _add(self, embedding: Embedding) -> dict[str, Any]:
        """Add one, and say what was added, for the manifest."""
        pipeline = self._backbone.pipeline
        file = read_tensor_file(embedding.file, _KIND, embedding.sha256)
        key, token = find_entry(file), read_token(embedding)
        if token in pipeline.tokenizer.get_vocab():
            raise InputError(
                f"the token {token!r} of {file.path} is a word that the model knows already; name another, such as "
                f"'<{token.strip('<>')}-2>={file.path.name}'"
            )
        vectors = read_tensors(file)[key]
        vectors = vectors if vectors.ndim > 1 else vectors[None]
        encoder = pipeline.text_encoder
        pipeline.load_textual_inversion({token: vectors.to(encoder.device, encoder.dtype)}, token=token)
        return {
            "name": file.path.name, "file": str(file.path), "sha256": file.sha256, "token": token,
            "vectors": len(vectors),
        }  # fmt: skip

    def _check_supported(self) -> None:
        encoder = self._encoder_class("text_encoder")
        if not hasattr(self._backbone.pipeline, "load_textual_inversion") or not encoder.startswith("CLIPText"):
            has = f"this model's text encoder is {encoder}" if encoder else "this model has no text encoder"
            raise UnsupportedError(
                f"textual inversion cannot run on {self._backbone.name!r}: it is for prompts that CLIP reads, and "
                f"{has}; leave it out"
            )
        if self._encoder_class("text_encoder_2"):
            raise UnsupportedError(
                f"textual inversion cannot run on {self._backbone.name!r}: it has two text encoders, and a file has "
                "the embedding of one; leave it out"
            )

    def _encoder_class(self, name: str) -> str:
        """The class of a text encoder, also of one that an outline leaves out; empty where the model has none."""
        encoder = getattr(self._backbone.pipeline, name, None)
        stated = self._backbone.left_out.get(name, {}).get("_class_name", "")
        return str(stated) if encoder is None else type(encoder).__name__

    def _check_values(self, file: TensorFile, key: str) -> None:
        """CheckpointError for an embedding that the text encoder's table cannot hold."""
        shape, encoder = file.shapes[key], self._backbone.pipeline.text_encoder
        config = self._backbone.left_out.get("text_encoder", {}) if encoder is None else encoder.config.to_dict()
        width = config.get("hidden_size", shape[-1] if shape else 0)  # an outline may not state it
        if len(shape) not in (1, 2) or shape[-1] != width:
            raise CheckpointError(
                f"{file.path} has an embedding of shape {list(shape)}, and this model's text encoder takes {width} "
                "values per token; it is of another model: use one of this model"
            )
        if 0 in shape:
            raise CheckpointError(f"{file.path} has an empty embedding, of shape {list(shape)}; copy or train it again")
        check_floating(file, (key,), _KIND)


def read_token(embedding: Embedding) -> str:
    """The word of the prompt that stands for an embedding. Errors as `read_tensor_file` and `find_entry`."""
    if embedding.token:
        return embedding.token
    file = read_tensor_file(embedding.file, _KIND, embedding.sha256)
    key = find_entry(file)
    return file.path.stem if key in _NAMELESS else key


def find_entry(file: TensorFile) -> str:
    """The key of the one embedding in a file. CheckpointError where there is none, or several."""
    nameless = [key for key in _NAMELESS if key in file.shapes]
    if nameless:
        return nameless[0]
    if len(file.shapes) != 1:
        names = ", ".join(list(file.shapes)[:3]) or "nothing"
        raise CheckpointError(
            f"{Path(file.path)} is not a textual inversion: it has {len(file.shapes)} tensors ({names}), not one "
            "embedding; use another file, or loras= for a LoRA"
        )
    return next(iter(file.shapes))
