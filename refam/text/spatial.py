"""Spatial bias (SB): words that say where or how large, found in the expression as cues.

The paper (RefAM, arXiv 2509.22650) weighs the heatmap by position for words such as "left" and "top". Here a cue
chooses among the modes of the heatmap, see `refam.heatmap_regions`. What a phrase says of another thing ("left of the
tree") is no cue, see `refam.text.noun_phrase`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from refam.text.lexicon import AFTER_EMPHATIC_RIGHT, DETERMINERS, FRAME_WORDS, ORDINALS, SIDED_PARTS, word_set
from refam.text.motion import find_directions


class CueKind(StrEnum):
    """How a cue chooses."""

    SIDE = "side"  # by position in the frame
    CORNER = "corner"
    MIDDLE = "middle"
    ORDER = "order"  # by rank among the regions, counted from one side
    SIZE = "size"
    NEAR = "near"  # to the camera


@dataclass(frozen=True)
class SpatialCue:
    """One cue of place or size.

    Attributes:
        kind: How it chooses.
        words: Which words of the expression it consists of.
        text: Those words.
        direction: Direction of SIDE and ORDER, (x, y) with x to the right and y down.
        sign: Sign of SIZE and NEAR, +1 for larger or nearer, -1 for smaller or farther.
        rank: The position in that order, from 1; None means the more the better.
    """

    kind: CueKind
    words: tuple[int, ...]
    text: str
    direction: tuple[float, float] = (0.0, 0.0)
    sign: int = 1
    rank: int | None = None


_SIDES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("left", "lefthand", "left-hand"), (-1.0, 0.0)),
    **dict.fromkeys(("right", "righthand", "right-hand"), (1.0, 0.0)),
    **dict.fromkeys(("top", "upper", "uppermost"), (0.0, -1.0)),
    **dict.fromkeys(("bottom", "lower", "lowermost"), (0.0, 1.0)),
}
_OUTERMOST = {"leftmost": "left", "left-most": "left", "rightmost": "right", "right-most": "right", "topmost": "top",
              "top-most": "top", "bottommost": "bottom", "bottom-most": "bottom"}  # fmt: skip
_MIDDLE = frozenset({"middle", "center", "centre", "central", "centermost"})
_SIZES = {
    **dict.fromkeys(word_set("large larger big bigger huge giant gigantic enormous massive"), 1),
    **dict.fromkeys(word_set("small smaller little littler tiny tinier mini miniature"), -1),
}
_SIZE_SUPERLATIVES = {
    **dict.fromkeys(("largest", "biggest"), 1),
    **dict.fromkeys(("smallest", "littlest", "tiniest"), -1),
}
_NEAR_SUPERLATIVES = {
    **dict.fromkeys(("nearest", "closest", "foremost"), 1),
    **dict.fromkeys(("farthest", "furthest"), -1),
}
_NEAR = {**dict.fromkeys(("foreground", "front"), 1), **dict.fromkeys(("background", "back", "rear"), -1)}
_FAR = frozenset(("far", "furthest", "farthest", "extreme", "the"))
_AREAS = frozenset(("side", "corner", "half", "edge", "part", "end", "row"))


def find_spatial_cues(words: Sequence[str]) -> tuple[SpatialCue, ...]:
    """Find the words of place and size.

    "second from the right" is one cue, "top left corner" is two. Words that only look like cues are left alone: "left
    hand", "right there", "the man who left", "left of the tree", "a white top", and directions of movement ("turning
    left", see `refam.text.motion`).

    Args:
        words: Words of an expression, lower case, punctuation as words of its own.

    Returns:
        The cues in the order of the words.
    """
    cues: list[SpatialCue] = []
    used = {i for direction in find_directions(words) for i in direction.words}
    for at in range(len(words)):
        if at not in used:
            for cue in _ordinal(words, at) or _outermost(words, at) or _corner(words, at) or _single(words, at):
                cues.append(cue)
                used.update(cue.words)
    return tuple(cues)


def _ordinal(words: Sequence[str], at: int) -> list[SpatialCue]:
    """ "second from the right", "third car from the left", "second largest"."""
    rank = ORDINALS.get(words[at])
    if rank is None:
        return []
    if _word_at(words, at + 1) in _SIZE_SUPERLATIVES:
        return [_cue(words, (at, at + 1), CueKind.SIZE, sign=_SIZE_SUPERLATIVES[words[at + 1]], rank=rank)]
    for start in range(at + 1, min(at + 4, len(words))):  # "second", "second one", "second red car"
        if words[start] == "from":
            side = start + 1
            while _word_at(words, side) in _FAR:
                side += 1
            if _word_at(words, side) in _SIDES and not _of_another_thing(words, side + 1):
                end = side + 1  # "second from left to right"
                while _word_at(words, end) in ("to", "the", *_SIDES) and _word_at(words, side + 1) == "to":
                    end += 1
                side_words = range(start, end)
                return [_cue(words, (at, *side_words), CueKind.ORDER, direction=_SIDES[words[side]], rank=rank)]
    return []


def _outermost(words: Sequence[str], at: int) -> list[SpatialCue]:
    """ "leftmost", "left most", "far left", "furthest to the right"."""
    side, end = _OUTERMOST.get(words[at]), at + 1
    if words[at] in _SIDES and _word_at(words, at + 1) == "most":
        side, end = words[at], at + 2
    elif words[at] in _FAR - {"the"}:
        while _word_at(words, end) in ("to", "the", "on", "at"):
            end += 1
        side, end = _word_at(words, end), end + 1
    if side not in _SIDES or _of_another_thing(words, end) or _word_at(words, end) in SIDED_PARTS:
        return []
    return [_cue(words, range(at, end), CueKind.ORDER, direction=_SIDES[side], rank=1)]


def _corner(words: Sequence[str], at: int) -> list[SpatialCue]:
    """ "top left corner", "lower right": two sides; "in the corner": any."""
    first, second = words[at], _word_at(words, at + 1)
    if first == "corner" and not _of_another_thing(words, at + 1):
        return [_cue(words, (at,), CueKind.CORNER)]
    across = first in _SIDES and second in _SIDES and bool(_SIDES[first][0]) != bool(_SIDES[second][0])
    end = at + 2 + (_word_at(words, at + 2) in _AREAS)
    if not across or _of_another_thing(words, end):
        return []
    one = _cue(words, (at,), CueKind.SIDE, direction=_SIDES[first])
    return [one, _cue(words, range(at + 1, end), CueKind.SIDE, direction=_SIDES[second])]


def _single(words: Sequence[str], at: int) -> list[SpatialCue]:
    """ "small", "nearest", "background", "middle", "left", each with the area that may follow it ("left side")."""
    word, before, after = words[at], words[at - 1] if at else "", _word_at(words, at + 1)
    if word in _SIZES or word in _SIZE_SUPERLATIVES:
        return [
            _cue(
                words,
                (at,),
                CueKind.SIZE,
                sign=_SIZES.get(word) or _SIZE_SUPERLATIVES[word],
                rank=1 if word in _SIZE_SUPERLATIVES else None,
            )
        ]
    end = at + 1 + (after in _AREAS)
    if _of_another_thing(words, end) or after in SIDED_PARTS:
        return []
    if word in _NEAR_SUPERLATIVES:
        compared = after in ("to", "from") and not FRAME_WORDS.intersection(words[at + 2 : at + 4])
        return [] if compared else [_cue(words, (at,), CueKind.NEAR, sign=_NEAR_SUPERLATIVES[word])]
    if word in _NEAR:
        is_place = word.endswith("ground") or (before in ("the", "in", "at") and _after_preposition(words, at))
        return [_cue(words, range(at, end), CueKind.NEAR, sign=_NEAR[word])] if is_place else []
    if word in _MIDDLE and after not in ("aged", "console", "piece"):
        return [_cue(words, range(at, end), CueKind.MIDDLE)]
    if word not in _SIDES or _only_looks_like_side(word, before, after):
        return []
    if word in ("top", "bottom") and before and not _after_preposition(words, at) and before != "the" and end == at + 1:
        return []  # "a white top", "tank top"
    if word in ("top", "bottom") and before == "the" and at > 1 and not _after_preposition(words, at):
        return []  # "washing the top"
    return [_cue(words, range(at, end), CueKind.SIDE, direction=_SIDES[word])]


def _only_looks_like_side(word: str, before: str, after: str) -> bool:
    """The adverb "right" and the verb "left"."""
    if word == "right" and (after in AFTER_EMPHATIC_RIGHT or before in ("all", "just")):
        return True  # "right there", "right behind"
    return word == "left" and (after in DETERMINERS or before in ("who", "that", "just", "has", "had", "have", "being"))


def _of_another_thing(words: Sequence[str], end: int) -> bool:
    """Whether "of ..." follows that is not the picture: then the words are about another thing."""
    return _word_at(words, end) == "of" and not FRAME_WORDS.intersection(words[end + 1 : end + 4])


def _after_preposition(words: Sequence[str], at: int) -> bool:
    return any(w in ("in", "at", "on", "to", "near", "towards", "toward") for w in words[max(0, at - 2) : at])


def _word_at(words: Sequence[str], at: int) -> str:
    return words[at] if at < len(words) else ""


def _cue(words: Sequence[str], which: Iterable[int], kind: CueKind, **how: Any) -> SpatialCue:
    which = tuple(which)
    return SpatialCue(kind, which, " ".join(words[i] for i in which), **how)
