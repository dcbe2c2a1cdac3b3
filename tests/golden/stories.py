"""The stories that cases of long videos show: each transition, shots with seeds and motions of their own."""

from __future__ import annotations

#: For 16 frames a second: 40 frames.
STORY = """
[00:00-00:00.75] a red ball moves right on a black background
[00:00.75-00:01.25, blend(4)] a blue ball moves left on a black background
[00:01.25-00:01.75, hold] a blue star spins on a gray background
[00:01.75-00:02.5, cut, seed=7] a green square moves up on a navy background
"""

#: For 8 frames a second: 22 frames.
STORY_UNET = """
[00:00-00:00.75] a red ball moves right on a black background
[00:00.75-00:01.75, blend(0.5s)] a blue ball moves left on a black background
[00:01.75-00:02.75, cut, seed=7] a green square moves up on a navy background
"""

_DRAG = [{"kind": "drag", "disc": [12, 24, 8], "path": [[12, 24], [36, 24]]}]
_PAN = [{"kind": "camera", "pan": 6}]
#: A motion for each shot.
TWO_SHOTS = {
    "unit": "seconds",
    "shots": [
        {"prompt": "a red ball on a black background", "start": "0", "end": "5/4", "motion": _DRAG},
        {
            "prompt": "a white star on a checkered background", "start": "5/4", "end": "5/2",
            "transition": "cut", "seed": 5, "motion": _PAN,
        },
    ],
}  # fmt: skip
