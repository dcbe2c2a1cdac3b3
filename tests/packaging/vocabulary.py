"""Vocabulary of the project: words that are not used, what to write instead, and exceptions.

`identifier` matches one word of a name (`first_frame` has two); `text` matches docstrings, comments, messages and
pages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Banned:
    """A pattern, case ignored. allowed: files in which the word is another field's term, such as a statistical moment,
    a PNG chunk or Python's site folder."""

    pattern: str
    instead: str
    allowed: tuple[str, ...] = ()

    def found_in(self, text: str) -> list[str]:
        """All matches."""
        return [match.group() for match in re.finditer(self.pattern, text, re.IGNORECASE)]


#: tables, their tests and pages that quote the words of earlier versions
QUOTES_EARLIER_VERSIONS = (
    "videogen/core/stored_keys.py", "tools/bench/keys.py", "CHANGELOG.md", "tests/core/test_stored_keys.py",
    "tests/golden/aliases.py",
)  # fmt: skip
#: files that name the folder of a job's segments
NAMES_JOB_FOLDER = (
    "videogen/longvideo/journal/job.py", "tests/contract/test_long_retries.py",
    "tests/longvideo/journal/test_crashes.py", "tests/longvideo/journal/test_journal.py",
)  # fmt: skip

IDENTIFIERS = (
    Banned("told|tell|tells", "on_step, timesteps, overrides, where"),
    Banned("asked", "requested, target"),
    Banned("pictures?", "image, frame, first_frame"),
    Banned("pieces?|chunks?", "segment"),
    Banned("shown", "timeline, listed, printed"),
    Banned("seen", "model_input, visible"),
    Banned("whole|anew|beside", "full, entire; regenerate; next to"),
    Banned("births?|beats?", "first_visible_frame; frames_per_latent, ShotSpec"),
    Banned("apart", "separate, per_frame"),
    Banned("moments?", "context, StepContext", ("tools/judge.py", "videogen/metrics/whiteness.py")),
    Banned("sites?", "attention_layer, layer", ("tools/gpu.py",)),
    Banned("likeness|likest|alike", "similarity"),
    Banned("yardstick|mend|stray|strays", "baseline; fix; drift"),
    Banned(
        "faded|judged|settled|begun|kept", "a verb: cross_fade, check, choose_policy, start; cached, retained, stored"
    ),
    Banned("stubs?|lattice", "cached_layer; frame_subset"),
)
TEXTS = (
    Banned(r"\btold\b|\btells?\b", "reported, given; distinguish, expose"),
    Banned(r"\basked(?! (for|to)\b)", "requested"),
    Banned(r"\bpictures?\b", "image, frame"),
    Banned(r"\bpieces?\b|\bchunks?\b", "segment", ("videogen/motion/flow_formats.py", *NAMES_JOB_FOLDER)),
    Banned(r"\bhangs? together\b|\bhanging clips\b", "how clips are joined"),
    Banned(r"\bgoes on\b|\bgo on\b|\bwent on\b|\bgoing on\b", "resumes (a job), continues (a clip)"),
    Banned(r"\banew\b|\bmade again\b", "regenerated, recomputed"),
    Banned(
        r"\b(frame|step|token|second|clip|query|head|call|sample|segment)s? a (frame|step|token|second|clip|"
        r"block|head|call)\b",
        "per",
    ),
    Banned(r"\bbeside\b", "next to, together with"),
    Banned(r"\bstands? in the manifest\b", "is recorded in the manifest"),
    Banned(r"\bis no (number|file|video|folder|checkpoint|directory|text|name)\b", "is not a ..."),
    Banned(r"\bholds no\b", "has no"),
    Banned(r"\blets? go\b", "evicts, releases"),
    Banned(r"\byardstick\b|\blikeness\b", "baseline; similarity"),
    Banned(r"\bstrays?\b|\bheld steps?\b|\bholds? the motion\b", "drift; clamped (dual clock)"),
    Banned(r"\bwhole\b(?! (number|texel))", "entire, full, all"),
    Banned(r"\bguided frames?\b", "copied frames"),
    Banned(r"\bmends?\b|\bmended\b", "fix"),
    Banned(r"\bmoments?\b", "step, context", ("videogen/metrics/whiteness.py",)),
    Banned(r"\b(frames|px|steps) a second\b", "per second"),
)
