"""Stories of the long golden cases: each transition, and shots with separate seeds and motions."""

from __future__ import annotations

#: 40 frames at 16 fps.
STORY = """
[00:00-00:00.75] a red ball moves right on a black background
[00:00.75-00:01.25, blend(4)] a blue ball moves left on a black background
[00:01.25-00:01.75, hold] a blue star spins on a gray background
[00:01.75-00:02.5, cut, seed=7] a green square moves up on a navy background
"""

#: 22 frames at 8 fps.
STORY_UNET = """
[00:00-00:00.75] a red ball moves right on a black background
[00:00.75-00:01.75, blend(0.5s)] a blue ball moves left on a black background
[00:01.75-00:02.75, cut, seed=7] a green square moves up on a navy background
"""

_DRAG = [{"kind": "drag", "disc": [12, 24, 8], "path": [[12, 24], [36, 24]]}]
_PAN = [{"kind": "camera", "pan": 6}]
#: One motion per shot.
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
