"""Directions in which a thing moves or faces: "turning left", "moves from left to right", "looking to the right".

Their words look like words of place, but do not say where the thing is: a car that turns left may be on the right. A
single frame does not show them. They are therefore neither looked for nor used to choose among regions, and people are
told so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import regex

from refam.text.lexicon import (
    ADVERBS,
    APPEARANCE_WORDS,
    DETERMINERS,
    FRAME_WORDS,
    ORDINALS,
    RELATION_WORDS,
    RELATIVE_PRONOUNS,
    STOP_WORDS,
    word_at,
    word_set,
)


@dataclass(frozen=True)
class Direction:
    """Words that say in which direction a thing moves or faces.

    Attributes:
        words: Which words of the expression they are.
        text: Those words.
        moves: Whether the thing moves there; otherwise it faces there.
    """

    words: tuple[int, ...]
    text: str
    moves: bool

    @property
    def reason(self) -> str:
        """A sentence that says why they are not used."""
        what = "how something moves" if self.moves else "which way something faces"
        return f"this says {what}, which is not measured. Say where the thing is instead, such as: on the left."


def _inflect(verbs: str) -> frozenset[str]:
    """The forms of regular verbs in -ing, -s and -ed, with a few that nobody writes ("turnning")."""
    forms = set()
    for verb in verbs.split():
        stem = verb.removesuffix("e")
        stems = {stem, stem + stem[-1]} if regex.search("[^aeiou][aeiou][bdgmnpt]$", verb) else {stem}
        third = verb + "es" if verb.endswith(("s", "sh", "ch", "x", "o")) else verb + "s"
        third = verb[:-1] + "ies" if regex.search("[^aeiou]y$", verb) else third
        forms |= {third} | {s + ending for s in stems for ending in ("ing", "ed")}
    return frozenset(forms)


_MOVE = """
    move turn walk run go come drive swim fly jump head travel ride crawl slide roll cross drift sail hop dash slither
    skate ski march gallop trot jog race speed swerve steer veer spin glide step stride wander pass climb leap dive fall
    bounce float flow enter exit return advance retreat proceed sweep swing sway rush hurry charge stroll pace shift
    rotate reverse rise descend ascend drop sink scurry waddle creep flee cycle pedal paddle surf merge push pull throw
    kick appear emerge arrive approach depart escape migrate hover land
"""
_FACE = "face look gaze stare glance peek point lean tilt bend aim"
_PAST = "went came ran drove swam flew rode ridden driven flown fell threw thrown swung swept sank fled dove slid spun"
_MOVING, _FACING = _inflect(_MOVE) | word_set(_PAST), _inflect(_FACE) | {"bent"}
# What is a noun as well ("pair of skis left"), and the infinitive, are verbs only after one of these words.
_ALSO_NOUNS = word_set(
    """
    skis skates swings slides steps rolls heads floats sinks falls rides races turns passes drops jumps faces looks
    points crosses throws kicks cycles paddles
    """
)
_INFINITIVES = word_set(_MOVE) | word_set(_FACE)
_BEFORE_VERB = word_set("that who which to will would can could should must and then it he she they do does did not")
_MAKES = word_set("make makes making made take takes taking took do does doing in")

_SIDES = word_set(
    """
    left right lefthand righthand left-hand right-hand top bottom upper lower up down center centre middle front back
    rear foreground background far near side
    """
)
_SIDE_MODIFIERS = word_set("far very extreme lower upper top bottom")
_AREAS = word_set("side corner half edge part end direction hand distance ground")
_ALWAYS = word_set(
    """
    leftward leftwards rightward rightwards upward upwards downward downwards clockwise counterclockwise
    counter-clockwise anticlockwise anti-clockwise faster slower fastest slowest quickest quicker
    """
)
_BARE_WORDS = word_set(
    """
    left right up down back forward forwards backward backwards sideways straight ahead away diagonally horizontally
    vertically inward inwards outward outwards first last
    """
)
_BARE = tuple(
    tuple(phrase.split())
    for phrase in (
        *("back and forth", "up and down", "side to side", "left to right", "right to left", "top to bottom"),
        *("bottom to top", "back to front", "front to back", "round in circles", "around in circles", "in circles"),
        *("this way", "that way", "the fastest", "the slowest", "the most", "the least", "the farthest"),
        *sorted(_BARE_WORDS | _ALWAYS),
    )
)
_COMPOUND = regex.compile(
    r"(?:left|right|up|down|forward|backward)(?:wards?)?-(?:going|moving|turning|heading|bound|(facing|looking|pointing))"
)
_PARTICLES = word_set(
    "closer nearer further farther along over off out in around back away up down straight uphill downhill"
)
_HOW = ADVERBS | _PARTICLES | word_set("more then again just always far a bit little")
_TO = word_set("to toward towards into from for")
_PATHS = word_set("across along down up through around over past in on into out off from away after among")
_BODY_PARTS = word_set("head heads body face faces eyes neck gaze back arm arms hand hands nose")
_AND = word_set("and then , or but")
# "right" before one of these is an adverb, except after a verb of turning: "running right behind the car".
_AFTER_ADVERB_RIGHT = word_set(
    "there here now behind next beside above below under over near by before after at through past into up off along"
)
_TURNING = _inflect("turn veer swerve steer bend head")


def find_directions(words: Sequence[str]) -> tuple[Direction, ...]:
    """Find the directions of movement and those in which a thing faces.

    "running on the left" and "standing to the left" say where a thing is, and are left alone, as is what stands in a
    relation to another thing: "walking to the left of the tree", "climbing up the tree".

    Args:
        words: Words of an expression, lower case, punctuation as words of its own.

    Returns:
        The directions in the order of the words, without the verb.
    """
    found: list[Direction] = []
    at = 0
    while at < len(words):
        start, end, moves = _read_direction(words, at)
        if end > at:
            found.append(Direction(tuple(range(start, end)), " ".join(words[start:end]), moves))
        at = max(end, at + 1)
    return tuple(found)


def _read_direction(words: Sequence[str], at: int) -> tuple[int, int, bool]:
    """Return where the direction that is named at `at`, or whose verb is there, begins and ends, and its kind."""
    word = words[at]
    if compound := _COMPOUND.fullmatch(word):
        return at, at + 1, compound.group(1) is None
    if word in _ALWAYS:
        return at, at + 1, True
    if (end := _read_from_to(words, at)) > at:
        return at, end, True
    if word in _MAKES and (end := _read_turn(words, at + 1)) > at + 1:
        return at + 1, end, True
    if not _is_verb(words, at):
        return at, at, True
    start, end = _read_after_verb(words, at)
    return start, end, word not in _FACING and word not in word_set(_FACE)


def _is_verb(words: Sequence[str], at: int) -> bool:
    word = words[at]
    if word in _ALSO_NOUNS or word in _INFINITIVES:
        return at > 0 and (words[at - 1] in _BEFORE_VERB or words[at - 1].endswith("ly"))
    takes_off = word in ("takes", "taking", "took") and word_at(words, at + 1) == "off"
    return takes_off or word in _MOVING or word in _FACING


def _read_from_to(words: Sequence[str], at: int) -> int:
    """ "from left to right", "toward the right from the left"; "third from left to right" counts."""
    word = word_at(words, at)
    if word not in ("from", "to", "toward", "towards") or any(w in ORDINALS for w in words[max(0, at - 4) : at]):
        return at
    middle = _read_place(words, at + 1)
    other = ("to", "into", "toward", "towards") if word == "from" else ("from",)
    if middle == at + 1 or word_at(words, middle) not in other:
        return at
    end = _read_place(words, middle + 1)
    return end if end > middle + 1 else at


def _read_turn(words: Sequence[str], at: int) -> int:
    """ "a left turn", "a sharp right", "a u-turn"."""
    if word_at(words, at) not in ("a", "an", "the"):
        return at
    for i in (at + 1, at + 2):
        is_side = word_at(words, i) in ("left", "right", "u")
        if (is_side and word_at(words, i + 1) == "turn") or word_at(words, i) in ("u-turn", "left-turn", "right-turn"):
            return i + 1 + is_side
        if is_side and words[at - 1] != "in" and _may_follow(words, i + 1):
            return i + 1
    return at


def _read_after_verb(words: Sequence[str], verb: int) -> tuple[int, int]:
    """Return where the direction begins and ends that a verb is followed by; the two are equal if there is none."""
    at = verb + 1
    if word_at(words, at) in DETERMINERS and (part := _skip(words, at, DETERMINERS)) < at + 3:
        if word_at(words, part) in _BODY_PARTS:  # "turning its head to the left"
            at = part + 1
        elif words[verb] in _FACING and (end := _read_place(words, at)) > at:  # "facing the right"
            return at, end
    for target in range(at, _skip_how(words, at) + 1):  # "up" and "back" are adverbs too
        if (end := _read_targets(words, target, verb)) > target:
            start = target
            while start > at and words[start - 1] in _PARTICLES:  # "closer to the camera"
                start -= 1
            return start, end
    at = verb + 1
    if word_at(words, at) in DETERMINERS or word_at(words, at) in _PATHS:  # "riding a bike to the left"
        for start in range(at + 1, min(at + 7, len(words))):
            if words[start] in RELATIVE_PRONOUNS or words[start] in APPEARANCE_WORDS or words[start] == ",":
                break
            is_target = words[start] in ("to", "toward", "towards") or _read_from_to(words, start) > start
            if is_target and (end := _read_targets(words, start, verb)) > start:
                return start, end
    return verb, verb


def _skip_how(words: Sequence[str], at: int) -> int:
    while word_at(words, at) in _HOW or (word_at(words, at).endswith("ly") and len(words[at]) > 3):
        at += 1
    return _skip_how(words, at + 3) if tuple(words[at : at + 3]) == ("all", "the", "way") else at


def _read_targets(words: Sequence[str], at: int, verb: int) -> int:
    """ "to the left", "left", "left and then up"."""
    end = max(_read_from_to(words, at), _read_target(words, at, verb))
    if end == at:
        return at
    after = _skip(words, end, _AND)
    # "towards us from the left", "away first"
    may_go_on = after > end or word_at(words, end) in ("from", "to", "toward", "towards", "first", "last")
    more = _read_targets(words, after, verb) if may_go_on else after
    return more if more > after else end


def _read_target(words: Sequence[str], at: int, verb: int) -> int:
    for phrase in _BARE:
        end = at + len(phrase)
        if tuple(words[at:end]) == phrase and _may_follow(words, end):
            emphatic = (
                phrase == ("right",) and words[verb] not in _TURNING and word_at(words, end) in _AFTER_ADVERB_RIGHT
            )
            away_from = phrase == ("away",) and word_at(words, end) == "from"
            if not emphatic and not away_from:
                return end
    if tuple(words[at : at + 2]) in (("away", "from"), ("out", "of")):
        camera = _read_camera(words, at + 2)
        return camera if camera > at + 2 else at
    if word_at(words, at) not in _TO:
        return at
    end = max(_read_place(words, at + 1), _read_camera(words, at + 1))
    return end if end > at + 1 else at


def _read_camera(words: Sequence[str], at: int) -> int:
    """ "the camera", "us"."""
    noun = _skip(words, at, DETERMINERS)
    return noun + 1 if word_at(words, noun) in FRAME_WORDS else at


def _read_place(words: Sequence[str], at: int) -> int:
    """Return where the place in the frame that begins at `at` ends, or `at`: "the far left side of the picture"."""
    side = _skip(words, at, DETERMINERS | {"other", "opposite", "one"})
    if side > at and words[side - 1] == "other" and word_at(words, side) not in _SIDES and _may_follow(words, side):
        return side  # "from one side to the other"
    while word_at(words, side) in _SIDE_MODIFIERS and word_at(words, side + 1) in _SIDES:
        side += 1
    if word_at(words, side) not in _SIDES:
        return at
    end = _skip(words, side + 1, _AREAS)
    if word_at(words, end) == "of":
        noun = _skip(words, end + 1, DETERMINERS)
        return noun + 1 if word_at(words, noun) in FRAME_WORDS else at
    return end if _may_follow(words, end) else at


def _may_follow(words: Sequence[str], at: int) -> bool:
    """Whether the word may stand after a direction: the left of "to the left goal" is the goal's."""
    word = word_at(words, at)
    if not word or not any(c.isalnum() for c in word):
        return True
    if word in DETERMINERS - {"that"} or word == "of":
        return False
    function_word = word in RELATION_WORDS or word in STOP_WORDS or word in RELATIVE_PRONOUNS
    return (
        function_word
        or word in APPEARANCE_WORDS
        or word in _HOW
        or word in ORDINALS
        or word.endswith(("ing", "ly", "ed"))
    )


def _skip(words: Sequence[str], at: int, some: frozenset[str]) -> int:
    while word_at(words, at) in some:
        at += 1
    return at
