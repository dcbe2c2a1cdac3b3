"""Streaming decode: bit-equal to an ordinary decode for any split and in tiles, without a change to the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import lru_cache
from typing import Any

import pytest
import torch

from videogen import InputError
from videogen.backbones.base import Backbone, to_unit_range
from videogen.backbones.load_options import LoadOptions
from videogen.backbones.registry import load
from videogen.backbones.streaming import FramewiseDecoder, StreamDecoder
from videogen.backbones.wan_streaming import WanStreamDecoder

Make = Callable[[], StreamDecoder]
WAN: dict[str, dict[str, Any]] = {
    "wan-2.1": {
        "base_dim": 4, "z_dim": 4, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 2,
        "temperal_downsample": [False, True, True],
    },
    "wan-2.2": {
        "base_dim": 4, "decoder_base_dim": 8, "z_dim": 6, "dim_mult": [1, 2, 2], "num_res_blocks": 1, "patch_size": 2,
        "in_channels": 12,
        "out_channels": 12, "is_residual": True, "temperal_downsample": [True, True], "scale_factor_spatial": 8,
    },
}  # fmt: skip


@lru_cache
def tiny_vae(name: str) -> Any:
    """A tiny random VAE of Wan's class, with weights large enough for frames that are not constant."""
    from diffusers import AutoencoderKLWan

    torch.manual_seed(0)
    width = WAN[name]["z_dim"]
    vae = (
        AutoencoderKLWan(latents_mean=[0.0] * width, latents_std=[1.0] * width, **WAN[name])
        .eval()
        .requires_grad_(False)
    )
    return vae


@lru_cache
def backbone(name: str) -> Backbone:
    return load(name, LoadOptions(device="cpu"))


def latents(channels: int, frames: int, side: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn((1, channels, frames, side, side + 2), generator=torch.Generator().manual_seed(seed))


def decoders_of(name: str) -> tuple[Make, Callable[[torch.Tensor], torch.Tensor], int]:
    """(a new decoder, the ordinary decode, latent channels) of a tiny VAE or an embedded model."""
    if name in WAN:
        vae = tiny_vae(name)
        return (
            lambda: WanStreamDecoder(vae, lambda z: z),
            lambda z: to_unit_range(vae.decode(z, return_dict=False)[0]),
            vae.config.z_dim,
        )
    loaded = backbone(name)

    def decode_at_once(z: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return loaded.decode(z)

    return loaded.stream_decoder, decode_at_once, loaded.geometry.channels


def ranges(frames: int, sizes: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """(start, stop) of consecutive parts of a clip, whose sizes repeat."""
    start, turn = 0, 0
    while start < frames:
        stop = min(frames, start + sizes[turn % len(sizes)])
        yield start, stop
        start, turn = stop, turn + 1


def decode_streamed(decoder: StreamDecoder, z: torch.Tensor, sizes: tuple[int, ...]) -> torch.Tensor:
    first = decoder.taken
    parts = [decoder.push(z[:, :, a:b], start=first + a) for a, b in ranges(z.shape[2], sizes)]
    return torch.cat([*parts, decoder.finish()], 1)


_SIZES: list[tuple[str, int, list[tuple[int, ...]]]] = [
    ("wan-2.1", 9, [(1,), (2, 3), (9,)]),
    ("wan-2.2", 9, [(1,), (4,), (1, 5, 2)]),
    ("wan-2.2", 1, [(1,)]),
    ("embedded", 6, [(1,), (4,)]),
    ("embedded-unet", 35, [(1,), (7, 20), (16,), (35,)]),
    ("embedded-unet", 3, [(2,)]),
]
CUTS = [
    pytest.param(name, frames, sizes, id=f"{name}-{frames} by {','.join(map(str, sizes))}")
    for name, frames, cuts in _SIZES
    for sizes in cuts
]


@pytest.mark.parametrize(("name", "frames", "sizes"), CUTS)
def test_any_split_equals_one_decode_bit_for_bit(name: str, frames: int, sizes: tuple[int, ...]) -> None:
    make, decode_at_once, channels = decoders_of(name)
    z, decoder = latents(channels, frames), make()
    expected, pixels = decode_at_once(z), decode_streamed(decoder, z, sizes)
    assert torch.equal(pixels, expected) and pixels.dtype == expected.dtype
    assert expected.std() > 1e-3  # constant frames would prove nothing
    assert (decoder.taken, decoder.given) == (frames, expected.shape[1])


@pytest.mark.parametrize("name", WAN)
@pytest.mark.parametrize(
    ("height", "width"), [(9, 6), (3, 11), (8, 8), (2, 6)], ids=["3x2", "1x3", "2x2", "small, no tile"]
)
def test_the_tiling_that_the_vae_has_at_the_start_is_used(name: str, height: int, width: int) -> None:
    plain, vae = tiny_vae(name), deepcopy(tiny_vae(name))
    z = torch.randn((1, vae.config.z_dim, 4, height, width), generator=torch.Generator().manual_seed(1))
    vae.enable_tiling(48, 48, 32, 32)
    expected, decoder = to_unit_range(vae.decode(z, return_dict=False)[0]), WanStreamDecoder(vae, lambda x: x)
    vae.disable_tiling()
    assert torch.equal(decode_streamed(decoder, z, (1, 2)), expected)
    assert torch.equal(expected, to_unit_range(plain.decode(z, return_dict=False)[0])) == (max(height, width) <= 6)


def test_the_cache_of_the_vae_is_left_unchanged() -> None:
    vae = deepcopy(tiny_vae("wan-2.2"))
    z = latents(6, 5)
    vae.decode(z)
    vae._feat_map, vae._conv_idx = ["theirs"], ["theirs"]
    before = {key: value for key, value in vars(vae).items() if "conv" in key or "feat" in key}
    weights = {name: value.clone() for name, value in vae.state_dict().items()}
    decode_streamed(WanStreamDecoder(vae, lambda x: x), z, (2,))
    after = {key: value for key, value in vars(vae).items() if "conv" in key or "feat" in key}
    assert after == before and {"_feat_map", "_conv_idx"} <= set(after) and vae._feat_map == ["theirs"]
    assert all(torch.equal(value, weights[name]) for name, value in vae.state_dict().items())


def test_an_offloaded_vae_is_moved_to_the_device() -> None:
    class Hook:
        calls = 0

        def pre_forward(self, module: torch.nn.Module) -> None:
            self.calls += 1

    vae = deepcopy(tiny_vae("wan-2.2"))
    vae._hf_hook = hook = Hook()
    z = latents(6, 4)
    decode_streamed(WanStreamDecoder(vae, lambda x: x), z, (2,))
    assert hook.calls == 2
    vae.decode(z)
    assert hook.calls == 3


@pytest.mark.parametrize("name", ["wan-2.1", "embedded", "embedded-unet"])
def test_interleaved_decoders_do_not_disturb_each_other(name: str) -> None:
    make, decode_at_once, channels = decoders_of(name)
    clips = [latents(channels, 5, seed=seed) for seed in (1, 2)]
    expected = [decode_at_once(z) for z in clips]
    decoders: list[StreamDecoder] = [make(), make()]
    parts: list[list[torch.Tensor]] = [[], []]
    for a, b in ranges(5, (1, 2)):
        for index in (0, 1):
            parts[index].append(decoders[index].push(clips[index][:, :, a:b]))
            decode_at_once(clips[1 - index][:, :, :2])
    for index in (0, 1):
        assert torch.equal(torch.cat([*parts[index], decoders[index].finish()], 1), expected[index])


def tensors_in(value: object) -> Iterator[torch.Tensor]:
    """All tensors in nested lists."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from tensors_in(part)


@pytest.mark.parametrize("name", ["wan-2.2", "embedded-unet"])
def test_memory_does_not_grow_with_length(name: str) -> None:
    make, _, channels = decoders_of(name)
    decoder, sizes = make(), []
    for start in range(0, 36, 3):
        decoder.push(latents(channels, 3, 2, seed=start))
        sizes.append(sum(tensor.untyped_storage().nbytes() for tensor in tensors_in(list(vars(decoder).values()))))
    assert 0 < max(sizes[6:]) <= max(sizes[:6])


def test_a_decoder_refuses_further_use_after_a_failure() -> None:
    def fail(_: torch.Tensor) -> torch.Tensor:
        raise MemoryError

    decoder = FramewiseDecoder(fail, group=2, spatial=8)
    decoder.push(latents(4, 1))
    with pytest.raises(MemoryError):
        decoder.push(latents(4, 1))
    for call in (lambda: decoder.push(latents(4, 1)), decoder.finish):
        with pytest.raises(InputError, match="failed midway; create a new one"):
            call()


def used_decoder(*pushes: torch.Tensor, finish: bool = False) -> StreamDecoder:
    decoder = decoders_of("wan-2.2")[0]()
    for z in pushes:
        decoder.push(z)
    if finish:
        decoder.finish()
    return decoder


Z = latents(6, 2)
BAD = [
    pytest.param(lambda: used_decoder().push(Z[0]), InputError, r"latents \[6, 2, 4, 6\] cannot", id="four axes"),
    pytest.param(
        lambda: used_decoder().push(Z.repeat(2, 1, 1, 1, 1)), InputError, r"push \[1, channel, frame", id="a batch"
    ),
    pytest.param(lambda: used_decoder().push(Z[:, :, :0]), InputError, "cannot be decoded", id="no frame"),
    pytest.param(
        lambda: used_decoder(Z).push(Z[..., :4]),
        InputError,
        r"\[6, 4, 4\] were pushed after \[6, 4, 6\]",
        id="a different size",
    ),
    pytest.param(
        lambda: used_decoder(Z).push(Z, start=1), InputError, "from 1 on were pushed, the next is 2", id="pushed twice"
    ),
    pytest.param(
        lambda: used_decoder(Z).push(Z, start=5), InputError, "from 5 on were pushed, the next is 2", id="a gap"
    ),
    pytest.param(lambda: used_decoder().finish(), InputError, "push at least one", id="nothing pushed"),
    pytest.param(
        lambda: used_decoder(Z, finish=True).push(Z), InputError, "has finished; create a new one", id="after the end"
    ),
    pytest.param(lambda: used_decoder(Z, finish=True).finish(), InputError, "has finished", id="finished twice"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_refusals(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
