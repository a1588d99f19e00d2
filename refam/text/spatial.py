"""Words that say where or how large: RefAM's spatial bias (SB), read from the expression as cues.

A cue is not looked for in the picture; it chooses among candidates (refam.heatmap_regions). What a phrase says of
another
thing ("left of the tree") is no cue, see refam.text.noun_phrase.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from refam.text.lexicon import FRAME, PARTS, POSSESSIVES, STRESSED, listed


class CueKind(StrEnum):
    """How a cue chooses. SIDE: by place in the frame. ORDER: by rank among the candidates, from one side."""

    SIDE = "side"
    CORNER = "corner"
    MIDDLE = "middle"
    ORDER = "order"
    SIZE = "size"
    NEAR = "near"  # to the camera


@dataclass(frozen=True)
class Cue:
    """words: which words of the expression say it. said: those words.

    direction: of SIDE and ORDER, x to the right and y down. sign: of SIZE and NEAR, +1 for larger or nearer, -1 for the
    contrary. nth: the nth in that order, from 1; None: the more the better.
    """

    kind: CueKind
    words: tuple[int, ...]
    said: str
    direction: tuple[float, float] = (0.0, 0.0)
    sign: int = 1
    nth: int | None = None


_SIDES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("left", "lefthand", "left-hand"), (-1.0, 0.0)),
    **dict.fromkeys(("right", "righthand", "right-hand"), (1.0, 0.0)),
    **dict.fromkeys(("top", "upper", "uppermost"), (0.0, -1.0)),
    **dict.fromkeys(("bottom", "lower", "lowermost"), (0.0, 1.0)),
}
_MOST = {"leftmost": "left", "left-most": "left", "rightmost": "right", "right-most": "right", "topmost": "top",
         "top-most": "top", "bottommost": "bottom", "bottom-most": "bottom"}  # fmt: skip
_MIDDLE = frozenset({"middle", "center", "centre", "central", "centermost"})
_SIZES = {
    **dict.fromkeys(listed("large larger big bigger huge giant gigantic enormous massive"), 1),
    **dict.fromkeys(listed("small smaller little littler tiny tinier mini miniature"), -1),
}
_SIZEST = {**dict.fromkeys(("largest", "biggest"), 1), **dict.fromkeys(("smallest", "littlest", "tiniest"), -1)}
_NEAREST = {
    **dict.fromkeys(("nearest", "closest", "foremost"), 1),
    **dict.fromkeys(("farthest", "furthest"), -1),
}
_NEAR = {**dict.fromkeys(("foreground", "front"), 1), **dict.fromkeys(("background", "back", "rear"), -1)}
_FAR = frozenset(("far", "furthest", "farthest", "extreme", "the"))
_AREAS = frozenset(("side", "corner", "half", "edge", "part", "end", "row"))
_NTH = {
    word: n
    for n, some in enumerate(
        ("first 1st", "second 2nd", "third 3rd", "fourth 4th", "fifth 5th", "sixth 6th", "seventh 7th", "eighth 8th"), 1
    )
    for word in some.split()
}


def read_cues(words: Sequence[str]) -> tuple[Cue, ...]:
    """The cues in the words of an expression (lower case, punctuation as words of its own), in their order.

    "second from the right" is one cue, "top left corner" are two. Words that only look like cues are left: "left hand",
    "right there", "the man who left", "left of the tree", "a white top".
    """
    cues: list[Cue] = []
    taken: set[int] = set()
    for at in range(len(words)):
        if at not in taken:
            for cue in _ordinal(words, at) or _outermost(words, at) or _corner(words, at) or _single(words, at):
                cues.append(cue)
                taken.update(cue.words)
    return tuple(cues)


def _ordinal(words: Sequence[str], at: int) -> list[Cue]:
    """ "second from the right", "third car from the left", "second largest"."""
    nth = _NTH.get(words[at])
    if nth is None:
        return []
    if _word(words, at + 1) in _SIZEST:
        return [_cue(words, (at, at + 1), CueKind.SIZE, sign=_SIZEST[words[at + 1]], nth=nth)]
    for start in range(at + 1, min(at + 4, len(words))):  # "second", "second one", "second red car"
        if words[start] == "from":
            side = start + 1
            while _word(words, side) in _FAR:
                side += 1
            if _word(words, side) in _SIDES and not _of_a_thing(words, side + 1):
                side_words = range(start, side + 1)
                return [_cue(words, (at, *side_words), CueKind.ORDER, direction=_SIDES[words[side]], nth=nth)]
    return []


def _outermost(words: Sequence[str], at: int) -> list[Cue]:
    """ "leftmost", "left most", "far left", "furthest to the right"."""
    side, end = _MOST.get(words[at]), at + 1
    if words[at] in _SIDES and _word(words, at + 1) == "most":
        side, end = words[at], at + 2
    elif words[at] in _FAR - {"the"}:
        while _word(words, end) in ("to", "the", "on", "at"):
            end += 1
        side, end = _word(words, end), end + 1
    if side not in _SIDES or _of_a_thing(words, end) or _word(words, end) in PARTS:
        return []
    return [_cue(words, range(at, end), CueKind.ORDER, direction=_SIDES[side], nth=1)]


def _corner(words: Sequence[str], at: int) -> list[Cue]:
    """ "top left corner", "lower right": two sides; "in the corner": any."""
    first, second = words[at], _word(words, at + 1)
    if first == "corner" and not _of_a_thing(words, at + 1):
        return [_cue(words, (at,), CueKind.CORNER)]
    across = first in _SIDES and second in _SIDES and bool(_SIDES[first][0]) != bool(_SIDES[second][0])
    end = at + 2 + (_word(words, at + 2) in _AREAS)
    if not across or _of_a_thing(words, end):
        return []
    one = _cue(words, (at,), CueKind.SIDE, direction=_SIDES[first])
    return [one, _cue(words, range(at + 1, end), CueKind.SIDE, direction=_SIDES[second])]


def _single(words: Sequence[str], at: int) -> list[Cue]:
    word, before, after = words[at], words[at - 1] if at else "", _word(words, at + 1)
    if word in _SIZES or word in _SIZEST:
        return [
            _cue(words, (at,), CueKind.SIZE, sign=_SIZES.get(word) or _SIZEST[word], nth=1 if word in _SIZEST else None)
        ]
    end = at + 1 + (after in _AREAS)
    if _of_a_thing(words, end) or after in PARTS:
        return []
    if word in _NEAREST:
        compared = after in ("to", "from") and not FRAME.intersection(words[at + 2 : at + 4])
        return [] if compared else [_cue(words, (at,), CueKind.NEAR, sign=_NEAREST[word])]
    if word in _NEAR:
        told = word.endswith("ground") or (before in ("the", "in", "at") and _in(words, at))
        return [_cue(words, range(at, end), CueKind.NEAR, sign=_NEAR[word])] if told else []
    if word in _MIDDLE and after not in ("aged", "console", "piece"):
        return [_cue(words, range(at, end), CueKind.MIDDLE)]
    if word not in _SIDES or _is_no_side(word, before, after):
        return []
    if word in ("top", "bottom") and before and not _in(words, at) and before != "the" and end == at + 1:
        return []  # "a white top", "tank top"
    if word in ("top", "bottom") and before == "the" and at > 1 and not _in(words, at):
        return []  # "washing the top"
    return [_cue(words, range(at, end), CueKind.SIDE, direction=_SIDES[word])]


def _is_no_side(word: str, before: str, after: str) -> bool:
    if word == "right" and (after in STRESSED or before in ("all", "just")):
        return True  # "right there", "right behind"
    return word == "left" and (after in POSSESSIVES or before in ("who", "that", "just", "has", "had", "have", "being"))


def _of_a_thing(words: Sequence[str], end: int) -> bool:
    """Whether "of ..." follows, and it is not the picture: then the words say something about another thing."""
    return _word(words, end) == "of" and not FRAME.intersection(words[end + 1 : end + 4])


def _in(words: Sequence[str], at: int) -> bool:
    return any(w in ("in", "at", "on", "to", "near", "towards", "toward") for w in words[max(0, at - 2) : at])


def _word(words: Sequence[str], at: int) -> str:
    return words[at] if at < len(words) else ""


def _cue(words: Sequence[str], which: Iterable[int], kind: CueKind, **how: Any) -> Cue:
    which = tuple(which)
    return Cue(kind, which, " ".join(words[i] for i in which), **how)
