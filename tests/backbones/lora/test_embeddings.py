"""Textual inversion: a token of the prompt gets learned embeddings, and the text encoder is as before afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.contract.families import animatediff, wan
from tests.tiny.table import load_rows
from videogen import CheckpointError, Engine, InputError, UnsupportedError

CLIP: dict[str, Any] = {"frames": 4, "size": (16, 16), "steps": 1, "seed": 1}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("textual") / "tiny"
    animatediff(folder)
    return Engine.load(folder, device="cpu")


def frames(engine: Engine, prompt: str, *embeddings: str) -> np.ndarray:
    return engine.generate(prompt, embeddings=list(embeddings) or None, **CLIP).frames


@pytest.mark.parametrize("vectors", [1, 2])
def test_a_token_is_the_librarys_and_leaves_no_trace(vectors: int, engine: Engine, tmp_path: Path) -> None:
    values = torch.randn(vectors, 16, generator=torch.Generator().manual_seed(3))
    save_file({"<cat>": values}, tmp_path / "cat.safetensors")
    pipeline = engine.backbone.pipeline
    encoder, tokenizer = pipeline.text_encoder, pipeline.tokenizer
    table, words = encoder.get_input_embeddings(), tokenizer.get_vocab()
    before, size = table.weight.clone(), encoder.config.vocab_size
    plain = frames(engine, "a red <cat>")
    random = torch.get_rng_state()
    video = engine.generate("a red <cat>", embeddings=[str(tmp_path / "cat.safetensors")], **CLIP)
    assert torch.equal(torch.get_rng_state(), random), "the library draws numbers for it"
    (record,) = video.manifest["measured"]["embeddings"]
    assert (record["token"], record["vectors"]) == ("<cat>", vectors)
    assert video.manifest["measured"]["prompt"]["unknown"] == ()
    assert not np.array_equal(video.frames, plain)
    assert pipeline.tokenizer is tokenizer and tokenizer.get_vocab() == words
    assert encoder.get_input_embeddings() is table and torch.equal(table.weight, before)
    assert (encoder.config.vocab_size, table.num_embeddings) == (size, size)
    assert np.array_equal(frames(engine, "a red <cat>"), plain)

    other = Engine.from_pipeline(pipeline)
    reference, present = other.backbone.pipeline, table.weight.data
    import copy

    reference.tokenizer = copy.deepcopy(tokenizer)
    reference.load_textual_inversion(str(tmp_path / "cat.safetensors"), use_safetensors=True)
    try:
        assert np.array_equal(frames(other, "a red <cat>"), video.frames)
    finally:
        reference.tokenizer, table.weight.data, table.num_embeddings = tokenizer, present, size
        encoder.config.vocab_size = size


def test_names_of_tokens(engine: Engine, tmp_path: Path) -> None:
    save_file({"emb_params": torch.randn(1, 16)}, tmp_path / "style.safetensors")
    file = tmp_path / "style.safetensors"
    assert np.array_equal(frames(engine, "a style ball", str(file)), frames(engine, "a <s> ball", f"<s>={file}"))
    with pytest.raises(
        InputError, match=r"the token 'ball' of .* is a word that the model knows already; name another"
    ):
        frames(engine, "a ball", f"ball={file}")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        pytest.param({"<cat>": torch.ones(1, 8)}, r"has an embedding of shape \[1, 8\].*takes 16 values", id="width"),
        pytest.param({"a": torch.ones(16), "b": torch.ones(16)}, "is not a textual inversion: it has 2", id="two"),
        pytest.param({"<cat>": torch.ones(0, 16)}, r"an empty embedding, of shape \[0, 16\]", id="empty"),
        pytest.param({"<cat>": torch.ones(16, dtype=torch.int64)}, "<cat> is stored as I64, not as", id="int64"),
        pytest.param({"<cat>": torch.tensor(1.0)}, r"an embedding of shape \[\]", id="a number"),
        pytest.param({"clip_g": torch.ones(1, 4)}, r"takes 16 values", id="of another encoder"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_are_refused(
    tensors: dict[str, torch.Tensor], message: str, engine: Engine, tmp_path: Path
) -> None:
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=message):
        frames(engine, "a <cat>", str(tmp_path / "a.safetensors"))


def test_a_token_that_no_prompt_has_is_noted(engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_file({"<cat>": torch.ones(1, 16)}, tmp_path / "cat.safetensors")
    note = "the embedding cat.safetensors has no effect here, because no prompt has its token '<cat>'"
    for prompt, negative, count in (("a ball", "", 1), ("a <cat>", "", 0), ("a ball", "a <cat>", 0)):
        caplog.clear()
        engine.generate(prompt, embeddings=[str(tmp_path / "cat.safetensors")], negative_prompt=negative, **CLIP)
        assert [note in record.getMessage() for record in caplog.records].count(True) == count


def test_models_that_read_their_prompt_otherwise_refuse_it(tmp_path: Path) -> None:
    wan(tmp_path / "wan")
    save_file({"<cat>": torch.ones(1, 16)}, tmp_path / "a.safetensors")
    with pytest.raises(UnsupportedError, match="that CLIP reads, and this model's text encoder is UMT5"):
        Engine.load(tmp_path / "wan", device="cpu").generate(
            "a <cat>", embeddings=[tmp_path / "a.safetensors"], frames=5, size=(32, 32), steps=1
        )


def test_two_text_encoders_are_refused(tmp_path: Path) -> None:
    engine = Engine.from_pipeline(load_rows()["AnimateDiffSDXLPipeline"].build())
    save_file({"<cat>": torch.ones(1, 16)}, tmp_path / "a.safetensors")
    with pytest.raises(UnsupportedError, match="it has two text encoders, and a file has the embedding of one; leave"):
        engine.generate("a <cat>", embeddings=[tmp_path / "a.safetensors"], **CLIP)
