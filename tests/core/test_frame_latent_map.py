"""Frame-to-latent map: agrees with the models' geometry; shots begin near their frame."""

from __future__ import annotations

import pytest

from videogen import InputError
from videogen.backbones.geometry import LatentGeometry
from videogen.core.frame_latent_map import FrameLatentMap

WAN = LatentGeometry(16, 8, 4, 16, single_first=True)
UNET = LatentGeometry(4, 8, 1, 8, single_first=False)
PAIRS = LatentGeometry(4, 8, 2, 8, single_first=False)
GEOMETRIES = [
    pytest.param(WAN, id="4k+1"),
    pytest.param(UNET, id="a latent per frame"),
    pytest.param(PAIRS, id="pairs"),
]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_latent_map_agrees_with_the_models_geometry(geometry: LatentGeometry) -> None:
    latent_map = FrameLatentMap.from_geometry(geometry)
    for latents in range(1, 12):
        frames = latent_map.frame_count(latents)
        assert latent_map.latent_count(frames) == latents == geometry.shape(frames, 8, 8)[2]
        decoded = [frame for latent in range(latents) for frame in latent_map.frames_of(latent)]
        assert decoded == list(range(frames)) and all(
            frame in latent_map.frames_of(latent_map.latent_of(frame)) for frame in decoded
        )
        assert latent_map.round_up(latent_map.frames_of(latents - 1).start + 1) == frames
    assert latent_map.frame_count(0) == 0


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_shot_begins_within_half_a_latent_of_its_frame(geometry: LatentGeometry) -> None:
    latent_map = FrameLatentMap.from_geometry(geometry)
    for frame in range(60):
        start = latent_map.frames_of(latent_map.first_latent_from(frame)).start
        assert abs(start - frame) <= geometry.temporal / 2
    wan = FrameLatentMap.from_geometry(WAN)
    assert [wan.first_latent_from(frame) for frame in range(7)] == [0, 1, 1, 1, 2, 2, 2]


def test_a_clip_encoded_in_segments_has_the_library_s_lengths() -> None:
    """MiniMax-H3: segments of 17 frames in 5 latents, the last of 5 frames in 2."""
    from diffusers.modular_pipelines.minimax_h3.modular_pipeline import align_num_frames, video_latent_num_frames

    geometry = LatentGeometry(24, 16, 4, 32, single_first=True, latents_per_segment=5, last_segment=2)
    latent_map = geometry.frame_map
    for frames in range(1, 60):
        aligned = align_num_frames(frames, 17, 5)
        assert latent_map.round_up(frames) == aligned and latent_map.fits(frames) == (aligned == frames)
        latents = video_latent_num_frames(aligned, 17, 5)
        assert latent_map.latent_count(aligned) == latents == geometry.shape(aligned, 32, 32)[2]
        assert latent_map.frame_count(latents) == aligned
        decoded = [frame for latent in range(latents) for frame in latent_map.frames_of(latent)]
        assert decoded == list(range(aligned))
        assert all(frame in latent_map.frames_of(latent_map.latent_of(frame)) for frame in decoded)
    assert LatentGeometry.from_dict(geometry.to_dict()) == geometry
    with pytest.raises(InputError, match=r"frames=120 is not 17k\+5 .*use 107 or 124"):
        geometry.check(120, 32, 32, "minimax")
