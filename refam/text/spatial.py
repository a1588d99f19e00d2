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

from refam.text.lexicon import (
    AFTER_EMPHATIC_RIGHT,
    APPEARANCE_WORDS,
    DETERMINERS,
    FRAME_WORDS,
    ORDINALS,
    RELATION_WORDS,
    RELATIVE_PRONOUNS,
    SIDED_PARTS,
    STOP_WORDS,
    word_set,
)
from refam.text.motion import find_directions
from refam.text.partitives import PartitiveKind, find_partitives, read_count


class CueKind(StrEnum):
    """How a cue chooses."""

    SIDE = "side"  # by position in the frame
    CORNER = "corner"
    MIDDLE = "middle"
    ORDER = "order"  # by rank among the regions, counted from one side
    SIZE = "size"
    HEIGHT = "height"
    NEAR = "near"  # to the camera


@dataclass(frozen=True)
class SpatialCue:
    """One cue of place or size.

    Attributes:
        kind: How it chooses.
        words: Which words of the expression it consists of.
        text: Those words.
        direction: Direction of SIDE and ORDER, (x, y) with x to the right and y down.
        sign: Sign of SIZE, HEIGHT and NEAR, +1 for larger, taller or nearer, -1 for smaller, shorter or farther.
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
    **dict.fromkeys(("top", "upper", "uppermost", "higher"), (0.0, -1.0)),
    **dict.fromkeys(("bottom", "lower", "lowermost"), (0.0, 1.0)),
}
_OUTERMOST = {
    **dict.fromkeys(("leftmost", "left-most"), "left"),
    **dict.fromkeys(("rightmost", "right-most"), "right"),
    **dict.fromkeys(("topmost", "top-most", "highest"), "top"),
    **dict.fromkeys(("bottommost", "bottom-most", "lowest"), "bottom"),
}
_MIDDLE = frozenset({"middle", "center", "centre", "central", "centermost"})
_SIZES = {
    **dict.fromkeys(word_set("large larger big bigger huge giant gigantic enormous massive"), 1),
    **dict.fromkeys(word_set("small smaller little littler tiny tinier mini miniature"), -1),
}
_SIZE_SUPERLATIVES = {
    **dict.fromkeys(("largest", "biggest"), 1),
    **dict.fromkeys(("smallest", "littlest", "tiniest"), -1),
}
SIZE_WORDS = _SIZES.keys() | _SIZE_SUPERLATIVES.keys()
_HEIGHTS = {"taller": 1, "tallest": 1, "shorter": -1, "shortest": -1}
_NEARER = {
    **dict.fromkeys(word_set("nearest closest foremost frontmost nearer closer"), 1),
    **dict.fromkeys(word_set("farthest furthest rearmost farther further"), -1),
}
_NEAR = {**dict.fromkeys(("foreground", "front"), 1), **dict.fromkeys(("background", "back", "rear"), -1)}
_FRONT_PARTS = word_set(
    "window windshield light lights grill hood yard porch pocket cover page desk pack drop end side"
)
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
    if _word_at(words, at + 1) in ("tallest", "shortest"):
        return [_cue(words, (at, at + 1), CueKind.HEIGHT, sign=_HEIGHTS[words[at + 1]], rank=rank)]
    next_word = _word_at(words, at + 1)
    counts_from_side = next_word in _SIDES and _word_at(words, at + 2) not in ("from", *_SIDES, *SIDED_PARTS)
    if counts_from_side and not _of_another_thing(words, at + 2):  # "second left"
        return [_cue(words, (at, at + 1), CueKind.ORDER, direction=_SIDES[next_word], rank=rank)]
    for start in range(at + 1, min(at + 8, len(words))):  # "second", "second red car", "second of the three red cars"
        if words[start] in RELATIVE_PRONOUNS or words[start] in APPEARANCE_WORDS or words[start] == ",":
            break
        if words[start] == "from":
            side = start + 1
            while _word_at(words, side) in _FAR:
                side += 1
            if _word_at(words, side) in ("front", "back") and not _of_another_thing(words, side + 1):
                sign = _NEAR[words[side]]
                return [_cue(words, (at, *range(start, side + 1)), CueKind.NEAR, sign=sign, rank=rank)]
            if _word_at(words, side) in _SIDES and not _of_another_thing(words, side + 1):
                end = side + 1  # "second from left to right"
                while _word_at(words, end) in ("to", "the", *_SIDES) and _word_at(words, side + 1) == "to":
                    end += 1
                while _word_at(words, start - 1) in ("place", "position", "spot", "one"):
                    start -= 1
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
    end = _end_of_side(words, at + 1)
    if not across or _of_another_thing(words, end):
        return []
    one = _cue(words, (at,), CueKind.SIDE, direction=_SIDES[first])
    return [one, _cue(words, range(at + 1, end), CueKind.SIDE, direction=_SIDES[second])]


def _single(words: Sequence[str], at: int) -> list[SpatialCue]:
    """ "small", "nearest", "background", "middle", "left", each with the area that may follow it ("left side")."""
    word, before, after = words[at], words[at - 1] if at else "", _word_at(words, at + 1)
    if word == "giant" and after in ("panda", "pandas", "squid", "tortoise", "tortoises"):
        return []
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
    if word in _HEIGHTS:
        return [
            _cue(words, (at,), CueKind.HEIGHT, sign=_HEIGHTS[word], rank=1 if word in ("tallest", "shortest") else None)
        ]
    if word in ("far", "further", "farther", "way") and after == "back" and not _of_another_thing(words, at + 2):
        return [_cue(words, (at, at + 1), CueKind.NEAR, sign=-1)]
    end = _end_of_side(words, at)
    if _of_another_thing(words, end) or (after in SIDED_PARTS and end == at + 1):
        return []
    if word in _NEARER:
        compared = after in ("to", "from", "than") and not FRAME_WORDS.intersection(words[at + 2 : at + 4])
        compared = compared or after in _SIDES or after in ("back", "away", "up", "down", "along", "in", "out", "apart")
        return [] if compared else [_cue(words, (at,), CueKind.NEAR, sign=_NEARER[word])]
    if word in _NEAR:
        is_place = word.endswith("ground") or (before in ("the", "in", "at") and _after_preposition(words, at))
        is_place = is_place or after == "row" or _selects(words, at + 1) or _is_front_one(words, at)
        return [_cue(words, range(at, end), CueKind.NEAR, sign=_NEAR[word])] if is_place else []
    if word in _MIDDLE and after not in ("aged", "console", "piece"):
        of = at + 1 + (after == "one")
        count = read_count(words, of) if after == "one" or _selects(words, of) else None
        if count is not None and count % 2:  # "the middle of the three chairs"
            return [_cue(words, (at,), CueKind.ORDER, direction=_SIDES["left"], rank=(count + 1) // 2)]
        return [_cue(words, range(at, end), CueKind.MIDDLE)]
    if before in ("its", "his", "her", "their", "my", "your"):
        return []  # "with another on its left"
    if word not in _SIDES or _only_looks_like_side(word, before, after):
        return []
    if word in ("top", "bottom") and before and not _after_preposition(words, at) and before != "the" and end == at + 1:
        return []  # "a white top", "tank top"
    if word in ("top", "bottom") and before == "the" and at > 1 and not _after_preposition(words, at):
        return []  # "washing the top"
    return [_cue(words, range(at, end), CueKind.SIDE, direction=_SIDES[word])]


def _is_front_one(words: Sequence[str], at: int) -> bool:
    """ "the front zebra", "front left chair", "zebra front"; but "front wheel" and "looking back"."""
    before, after = words[at - 1] if at else "", _word_at(words, at + 1)
    if not after:
        return bool(before) and not (before in STOP_WORDS or before in RELATION_WORDS or before.endswith(("ing", "ed")))
    is_part = after in SIDED_PARTS or after in _FRONT_PARTS or after in ("and", "view")
    is_grammar = after in STOP_WORDS or after in RELATION_WORDS or after in FRAME_WORDS or not after.isalpha()
    is_verb = after.endswith(("ing", "ed"))
    return before in ("", "the", "a", "that", "this") and not is_part and not is_grammar and not is_verb


def _end_of_side(words: Sequence[str], side: int) -> int:
    """Where "left", "left side", "left hand side" end; in "left hand of the picture" the hand is no part either."""
    end = side + 1
    in_frame = _word_at(words, end + 1) == "of" and FRAME_WORDS.intersection(words[end + 2 : end + 4])
    if _word_at(words, end) == "hand" and (_word_at(words, end + 1) in _AREAS or in_frame):
        end += 1
    return end + (_word_at(words, end) in _AREAS)


def _only_looks_like_side(word: str, before: str, after: str) -> bool:
    """The adverb "right" and the verb "left"."""
    if word == "right" and (after in AFTER_EMPHATIC_RIGHT or before in ("all", "just")):
        return True  # "right there", "right behind"
    is_verb = after in DETERMINERS and before not in ("the", "on", "far")  # "left the room"
    return word == "left" and (is_verb or before in ("who", "that", "just", "has", "had", "have", "being"))


def _of_another_thing(words: Sequence[str], end: int) -> bool:
    """Whether "of ..." follows that is not the picture: then the words are about another thing.

    In "the leftmost of the three" and "the top row of" they are about the things themselves.
    """
    of_frame = FRAME_WORDS.intersection(words[end + 1 : end + 4])
    return _word_at(words, end) == "of" and not of_frame and not _selects(words, end)


def _selects(words: Sequence[str], of: int) -> bool:
    """Whether what the words before "of" choose from, or the members of a group, follow."""
    kinds = (PartitiveKind.SELECTION, PartitiveKind.COLLECTIVE)
    return any(p.of == of and p.kind in kinds for p in find_partitives(words))


def _after_preposition(words: Sequence[str], at: int) -> bool:
    return any(w in ("in", "at", "on", "to", "near", "towards", "toward") for w in words[max(0, at - 2) : at])


def _word_at(words: Sequence[str], at: int) -> str:
    return words[at] if at < len(words) else ""


def _cue(words: Sequence[str], which: Iterable[int], kind: CueKind, **how: Any) -> SpatialCue:
    which = tuple(which)
    return SpatialCue(kind, which, " ".join(words[i] for i in which), **how)
