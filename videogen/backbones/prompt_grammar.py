"""Prompt grammar: rewriting of prompts into the form of the captions that a small model was trained with.

A text encoder with a few dozen words takes each article and each place in the sentence literally: to a model that saw
`an orange ball` alone, `a orange ball` is another object. A checkpoint names its grammar as `prompt_grammar` in its
`defaults.json`; large text encoders need none. Importing this loads no torch.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

_ARTICLES = {"a", "an", "the"}
_COLOURS = {"red", "green", "blue", "yellow", "purple", "orange", "cyan", "white"}
_GROUNDS = {"black", "gray", "navy", "brown", "checkered", "striped", "noisy"}
_SHAPES = {"ball", "circle", "disc", "square", "box", "block", "triangle", "star"}
_SPEEDS = {"slowly", "quickly"}
_HEADS = {"background", "backdrop"}
_PREPOSITIONS = (("in", "front", "of"), ("on",), ("over",))
_NOUNS = {f"{noun}{'es' if noun == 'box' else 's'}": noun for noun in _SHAPES | _HEADS} | {"grey": "gray"}
_MOTIONS = (
    *(f"{verb} {way}" for verb in ("moves", "goes") for way in ("left", "right", "up", "down")),
    *(f"{verb} to the {side}" for verb in ("slides", "travels") for side in ("left", "right")),
    "travels upwards", "travels downwards", "rises", "falls", "moves in a circle", "goes around in a circle", "orbits",
    "grows", "gets bigger", "becomes larger", "shrinks", "gets smaller", "becomes smaller", "spins", "rotates",
    "turns around", "stays still", "rests",
)  # fmt: skip
_CAMERAS = ("pans left", "pans right", "pans up", "pans down", "zooms in", "zooms out")
#: (plural, participle) of each verb
_VERBS = {
    "moves": ("move", "moving"), "goes": ("go", "going"), "slides": ("slide", "sliding"), "rises": ("rise", "rising"),
    "travels": ("travel", "traveling"), "falls": ("fall", "falling"), "orbits": ("orbit", "orbiting"),
    "grows": ("grow", "growing"), "gets": ("get", "getting"), "becomes": ("become", "becoming"),
    "shrinks": ("shrink", "shrinking"), "spins": ("spin", "spinning"), "rotates": ("rotate", "rotating"),
    "turns": ("turn", "turning"), "stays": ("stay", "staying"), "rests": ("rest", "resting"),
    "pans": ("pan", "panning"), "zooms": ("zoom", "zooming"),
}  # fmt: skip
_INFLECTED = {form: verb for verb, forms in _VERBS.items() for form in forms} | {"travelling": "travels", "are": "is"}
_Words = tuple[str, ...]


def normalise_moving_shapes(prompt: str) -> str:
    """A prompt about moving shapes, as `an orange ball moves right on a black background, the camera pans left`.

    Articles, number, punctuation and the order of words become those of the captions. A prompt that is a caption
    already is returned as it is. Where a word is not recognised the order stays, and only articles and inflections of
    known words change.
    """
    words = _split(prompt)
    sentence = _parse([word for word in words if word not in _ARTICLES])
    if sentence is None:
        return _correct_words(prompt)
    orders = [sentence.text(order) for order in ("subjects ground camera", "ground subjects camera")]
    orders.append(sentence.text("camera subjects ground"))
    return prompt if any(_split(order) == words for order in orders) else orders[0]


#: Grammars that a checkpoint can name, each with the function that rewrites a prompt.
GRAMMARS: Mapping[str, Callable[[str], str]] = {"moving_shapes": normalise_moving_shapes}


@dataclass(frozen=True)
class _Phrase:
    """A recognised phrase: words start to stop; plural: its verb is."""

    kind: str
    text: str
    start: int
    stop: int
    plural: bool = False


@dataclass
class _Subject:
    """One object; speed: the motion's, `speed_first` if it is said before the motion."""

    shape: str
    colour: str = ""
    motion: _Phrase | None = None
    speed: str = ""
    speed_first: bool = False

    def text(self) -> str:
        article = "an" if self.colour == "orange" else "a"
        motion = "" if self.motion is None else self.motion.text
        moves = (self.speed, motion) if self.speed_first else (motion, self.speed)
        return " ".join(filter(None, (article, self.colour, self.shape, *moves)))


@dataclass
class _Sentence:
    subjects: list[_Subject] = field(default_factory=list)
    ground: str = ""
    camera: str = ""

    def text(self, order: str) -> str:
        subjects = " and ".join(subject.text() for subject in self.subjects)
        parts = {"subjects": subjects, "ground": self.ground, "camera": self.camera and f", the camera {self.camera}"}
        return re.sub(r"\s+,", ",", " ".join(filter(None, (parts[name] for name in order.split())))).strip(", ")


def _split(prompt: str) -> list[str]:
    """The words as a tokenizer sees them: lower case, without punctuation."""
    return re.sub(r"[^\w\s]", " ", unicodedata.normalize("NFKC", prompt).lower()).split()


def _parse(words: list[str]) -> _Sentence | None:
    """The sentence that these words without articles make in any order; None where one of them has no place."""
    words = [_NOUNS.get(word, word) for word in words]
    rest = [word for word in words if word not in _SPEEDS]
    speeds = [(n - k, words[n]) for k, n in enumerate(n for n, word in enumerate(words) if word in _SPEEDS)]
    phrases = _read_phrases(rest)
    if not phrases:
        return None
    sentence, pending = _Sentence(), _Subject("")
    for phrase, following in zip(phrases, [*phrases[1:], None], strict=True):
        if not _add(sentence, pending, phrase, following):
            return None
    if not sentence.subjects or pending.colour or pending.motion or not _add_speeds(sentence, phrases, speeds):
        return None
    return sentence


def _add(sentence: _Sentence, pending: _Subject, phrase: _Phrase, following: _Phrase | None) -> bool:
    """Put one phrase in its place; pending: what is said before its subject. False where there is none."""
    last = sentence.subjects[-1] if sentence.subjects else None
    if phrase.kind in ("ground", "camera"):
        if getattr(sentence, phrase.kind):
            return False
        setattr(sentence, phrase.kind, phrase.text)
    elif phrase.kind == "shape":
        sentence.subjects.append(_Subject(phrase.text, pending.colour, pending.motion))
        pending.colour, pending.motion = "", None
    elif phrase.kind == "colour":
        before = following is not None and following.kind == "shape"
        target = pending if before or last is None else last
        if target.colour:
            return False
        target.colour = phrase.text
    elif phrase.kind == "motion":
        targets = sentence.subjects if phrase.plural and last else [last or pending]
        targets = [target for target in targets if not target.motion]
        for target in targets:
            target.motion = phrase
        return bool(targets)
    return True


def _add_speeds(sentence: _Sentence, phrases: Sequence[_Phrase], speeds: Sequence[tuple[int, str]]) -> bool:
    """Give each speed, said before a word's index, to the motion next to it, or else to the only one."""
    motions = [phrase for phrase in phrases if phrase.kind == "motion"]
    for index, speed in speeds:
        near = [motion for motion in motions if motion.start <= index <= motion.stop] or motions
        if len(near) != 1:
            return False
        targets = [subject for subject in sentence.subjects if subject.motion is near[0] and not subject.speed]
        for subject in targets:
            subject.speed, subject.speed_first = speed, index == near[0].start
        if not targets:
            return False
    return True


def _read_phrases(words: Sequence[str]) -> list[_Phrase] | None:
    """The phrases that the words consist of; None where a word belongs to none. Conjunctions are left out."""
    found, at = [], 0
    while at < len(words):
        if words[at] == "and" or (words[at] == "with" and at + 1 < len(words) and words[at + 1] == "camera"):
            at += 1
            continue
        phrase = next(_phrases_at(words, at), None)
        if phrase is None:
            return None
        found.append(phrase)
        at = phrase.stop
    return found


def _phrases_at(words: Sequence[str], at: int) -> Iterator[_Phrase]:
    """The phrases that begin at a word, the longest of each kind."""
    ground = _ground_at(words, at)
    if ground is not None:
        yield ground
    skip = at + (words[at] == "camera")
    for kind, begin, table in (("camera", skip, _CAMERA_FORMS), ("motion", at, _MOTION_FORMS)):
        for length in range(5, 0, -1):
            form = table.get(tuple(words[begin : begin + length])) if begin + length <= len(words) else None
            if form is not None:
                yield _Phrase(kind, form[0], at, begin + length, form[1])
    for kind, names in (("colour", _COLOURS), ("shape", _SHAPES)):
        if words[at] in names:
            yield _Phrase(kind, words[at], at, at + 1)


def _ground_at(words: Sequence[str], at: int) -> _Phrase | None:
    """`on a black background`, where the preposition or the noun may be missing, or the noun come first."""
    said = next((p for p in _PREPOSITIONS if tuple(words[at : at + len(p)]) == p), ())
    begin = at + len(said)
    one, two = (*words[begin : begin + 2], "", "")[:2]
    if two in _GROUNDS and one in _HEADS:
        one, two = two, one
    if one not in _GROUNDS or not (said or two in _HEADS):
        return None
    head = two if two in _HEADS else "backdrop" if len(said) > 1 else "background"
    preposition = " ".join(said or ("on",))
    return _Phrase("ground", f"{preposition} a {one} {head}", at, begin + 1 + (two in _HEADS))


def _forms(phrases: Sequence[str]) -> dict[_Words, tuple[str, bool]]:
    """Each phrase by its words without articles, in every form of its verb: (the phrase, is the verb plural)."""
    forms: dict[_Words, tuple[str, bool]] = {}
    for phrase in phrases:
        verb, *rest = (word for word in phrase.split() if word not in _ARTICLES)
        plural, participle = _VERBS[verb]
        participles = (participle, "travelling") if verb == "travels" else (participle,)
        forms |= {(verb, *rest): (phrase, False), (plural, *rest): (phrase, True)}
        for form, (auxiliary, several) in product(participles, (((), False), (("is",), False), (("are",), True))):
            forms |= {(*auxiliary, form, *rest): (phrase, several)}
        if rest in (["left"], ["right"]) and verb in ("moves", "goes", "pans"):
            forms |= {(*words[:-1], "to", words[-1]): form for words, form in list(forms.items()) if form[0] == phrase}
    return forms


_CAMERA_FORMS = _forms(_CAMERAS)
_MOTION_FORMS = _forms(_MOTIONS) | {
    ("does", "not", "move"): ("does not move", False),
    ("doesn", "t", "move"): ("does not move", False),
    ("do", "not", "move"): ("does not move", True),
    ("don", "t", "move"): ("does not move", True),
    ("is", "still"): ("is still", False),
    ("are", "still"): ("is still", True),
}


def _correct_words(prompt: str) -> str:
    """The prompt with the captions' articles before known words, singular nouns and verbs; all else as it is."""
    known = "|".join(sorted(_COLOURS | _SHAPES | _GROUNDS))

    def correct(found: re.Match[str]) -> str:
        word = found[0].lower()
        negated = prompt[: found.start()].lower().endswith("not ")
        return _NOUNS.get(word) or (not negated and _INFLECTED.get(word)) or found[0]

    def article(found: re.Match[str]) -> str:
        right = "an" if found[2].lower() == "orange" else "a"
        return found[0] if found[1].lower() == right else f"{right} {found[2]}"

    return re.sub(rf"\b(a|an|the)\s+({known})\b", article, re.sub(r"\w+", correct, prompt), flags=re.IGNORECASE)
