"""Text encoders from GGUF: T5 and UMT5 under llama.cpp's names; others are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import parts
from tests.tiny import wan as tiny_wan
from videogen.backbones.checkpoints.gguf_text import rename_text_tensors
from videogen.core.errors import CheckpointError, InputError, UnsupportedError
from videogen.engine.engine import Engine

from .files import save_gguf, weights_of
from .test_single_files import WAN_CLIP, check_equal, tensors_of

Tensors = dict[str, torch.Tensor]


def to_llama(tensors: Tensors) -> Tensors:
    """An encoder's tensors under llama.cpp's names, by the `gguf` package's own table."""
    import gguf

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.T5ENCODER, 2)
    found = {}
    for name, tensor in tensors.items():
        renamed = names.get_name(name.removesuffix(".weight"))
        assert renamed is not None, name
        found[f"{renamed}.weight"] = tensor
    return found


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Wan whose text encoder can be quantized in blocks of 32."""
    folder = tmp_path_factory.mktemp("wide")
    parts.seed()
    transformer = tiny_wan.denoiser(text_dim=32)
    encoder = {"vae": parts.wan_vae(), "transformer": transformer, "text_encoder": parts.umt5(32)}
    tiny_wan.assemble("WanPipeline", **encoder).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("model", ["wan", "ltx"])
def test_an_encoder_is_that_of_the_folder(model: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """UMT5 with a gated feed-forward layer, T5 without."""
    folder = request.getfixturevalue(model)
    path = save_gguf(to_llama(weights_of(folder, "text_encoder")), tmp_path / "t5.gguf")
    engine = Engine.load(folder, text_encoder=path, device="cpu")
    check_equal(tensors_of(engine, "text_encoder"), tensors_of(Engine.load(folder, device="cpu"), "text_encoder"))


def test_a_quantized_encoder_is_decoded(wide: Path, tmp_path: Path) -> None:
    tensors = weights_of(wide, "text_encoder")
    path = save_gguf(to_llama(tensors), tmp_path / "umt5.gguf", "Q8_0")
    found = tensors_of(Engine.load(wide, text_encoder=path, device="cpu", dtype="bfloat16"), "text_encoder")
    plain = tensors_of(Engine.load(wide, device="cpu", dtype="bfloat16"), "text_encoder")
    assert {name: tensor.dtype for name, tensor in found.items()} == {name: one.dtype for name, one in plain.items()}
    rounded = [name for name, tensor in tensors.items() if tensor.shape[-1] % 32 == 0 and tensor.ndim == 2]
    assert len(rounded) == 6  # q, k, v, both of the gate, and the embedding
    for name, tensor in tensors.items():
        error = (found[name].float() - tensor).abs().max()
        assert error <= tensor.abs().max() * (1 / 127 + 2**-8), name
    engine = Engine.load(wide, text_encoder=path, device="cpu", precision="text_encoder=int8")
    video: Any = engine.generate("a red ball", **WAN_CLIP)
    assert video.manifest["request"]["text_encoder"] == str(path)


def test_names_of_another_kind_are_as_they_were() -> None:
    assert rename_text_tensors({"enc.blk.0.x.weight": 1, "blk.0.attn_q.weight": 2}) == {
        "enc.blk.0.x.weight": 1, "blk.0.attn_q.weight": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        pytest.param(
            lambda t: {k: v for k, v in t.items() if "attn_q" not in k}, CheckpointError,
            r"1 of its \d+ tensors are missing \(encoder\.block\.0\.layer\.0\.SelfAttention\.q\.weight\)",
            id="a tensor is missing",
        ),
        pytest.param(
            lambda t: {"token_embd.weight": torch.zeros(8, 4), "blk.0.attn_q.weight": torch.zeros(4, 4)},
            CheckpointError, "not a complete UMT5EncoderModel of this base", id="of another model",
        ),
        pytest.param(lambda t: {"patch_embedding.weight": torch.zeros(4, 4)}, CheckpointError,
                     "has a denoiser and no text encoder", id="not a text encoder"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_refused(
    change: Any, error: type[Exception], message: str, wan: Path, tmp_path: Path
) -> None:
    path = save_gguf(change(to_llama(weights_of(wan, "text_encoder"))), tmp_path / "t5.gguf")
    with pytest.raises(error, match=message):
        Engine.load(wan, text_encoder=path, device="cpu")


def test_another_kind_of_text_encoder_is_refused(stable_diffusion: Path, adapter: Path, tmp_path: Path) -> None:
    path = save_gguf({"token_embd.weight": torch.zeros(4, 4)}, tmp_path / "clip.gguf")
    with pytest.raises(
        UnsupportedError, match=r"clip\.gguf is a GGUF, and this model's text_encoder is a CLIPTextModel"
    ):
        Engine.load(stable_diffusion, motion_adapter=adapter, text_encoder=path, device="cpu")


def test_a_precision_of_a_quantized_denoiser_is_refused(wan: Path, tmp_path: Path) -> None:
    path = save_gguf(weights_of(wan, "transformer"), tmp_path / "wan.gguf", "Q8_0")
    with pytest.raises(InputError, match="is quantized already; leave precision out for transformer"):
        Engine.load(path, base=wan, device="cpu", precision="int8")
