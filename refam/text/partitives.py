"""Words before "of" that name no thing themselves: "a group of people", "a photo of a cat", "the taller of the two".

In such a partitive the noun after "of" is the head. Containers and pieces are things of their own and stay the head: "a
glass of wine", "a slice of pizza".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import regex

from refam.text.instructions import skip_instructions
from refam.text.lexicon import (
    ADJECTIVES,
    APPEARANCE_WORDS,
    DETERMINERS,
    FRAME_WORDS,
    NUMBERS,
    ORDINALS,
    RELATION_WORDS,
    RELATIVE_PRONOUNS,
    STOP_WORDS,
    word_at,
    word_set,
)
from refam.text.number_bounds import read_number, read_number_bound, read_opening_bound


class PartitiveKind(StrEnum):
    """What the words before "of" do."""

    COLLECTIVE = "collective"  # say that there are several, or of which kind: "a herd of", "some kind of"
    PICTURE = "picture"  # say that it is in a picture: "a photo of"
    SELECTION = "selection"  # choose among several: "the leftmost of the three", "one of"
    PART = "part"  # name a part without a look of its own: "the back of"


@dataclass(frozen=True)
class Partitive:
    """Words up to "of", or another word that means the same, and what is counted after it.

    Attributes:
        kind: What they do.
        start: Index of the first word.
        of: Index of "of".
        end: Index of the first word that belongs to the head noun phrase: after "of" or "of the three".
        described: Indices of adjectives before "of", which say what the things look like: "the older of the two men".
    """

    kind: PartitiveKind
    start: int
    of: int
    end: int
    described: tuple[int, ...] = ()


_COLLECTIVES = word_set(
    """
    group herd flock pair bunch crowd row pile stack couple team pack school swarm set number lot cluster collection
    series line pride litter fleet gang colony gaggle troop trio duo dozen handful bit plenty array assortment variety
    heap batch queue flight cloud hundred thousand score family kind type sort breed species style mixture mix
    """
)
_PICTURES = word_set(
    "photo photograph picture image pic close-up closeup shot view video clip footage snapshot screenshot close"
)
# A picture that has a place among things is one itself: "the picture of a dog on the wall".
_PICTURE_IS_A_THING = word_set("wall framed hanging hangs hung shelf desk held holding printed")
_PARTS = word_set(
    """
    side back front top bottom end edge corner middle center centre half part portion section rest majority left right
    inside outside interior exterior
    """
)
_SHARES = word_set("third quarter")  # "one third of", "two thirds of"
_PLACES = word_set(
    """
    left right top bottom upper lower middle center centre front back rear leftmost left-most rightmost right-most
    topmost bottommost uppermost lowermost highest lowest higher centermost foremost frontmost rearmost nearest nearer
    closest closer farthest farther furthest further far
    """
)
_QUANTIFIERS = word_set("one ones each any some all both either neither none many several few")
_GRADABLE = ADJECTIVES | word_set("large big huge small little tiny fast slow thick slim broad narrow nice light")
_NO_SUPERLATIVES = word_set("forest guest chest nest vest crest harvest interest rest priest contest quest test")
_NOUNS = (_COLLECTIVES | _PICTURES | _PARTS | {"one", "ones"}) - _PLACES
_OF = (("out", "of"), ("from", "among"), ("of",), ("among",), ("amongst",))
_SETS = frozenset(NUMBERS) | word_set("all them both bunch lot group pack set these those")
_LINKS = DETERMINERS | {"and", "only", "very", "more", "most", "less", "least"}


def find_partitives(words: Sequence[str]) -> tuple[Partitive, ...]:
    """Find the partitives that an expression begins with; each begins where the one before it ends.

    Args:
        words: Words of an expression, lower case, punctuation as words of its own.
    """
    at = skip_instructions(words)
    if (bound := read_opening_bound(words, at)) is not None:
        at = bound.end - 1  # "at least two of the dogs"
    found: list[Partitive] = []
    while (partitive := _read_partitive(words, at)) is not None:
        found.append(partitive)
        at = partitive.end
    return tuple(found)


def find_bare_sets(words: Sequence[str]) -> frozenset[int]:
    """Find what is chosen from where that is not named: "of the three" in "the biggest dog of the three".

    Args:
        words: Words of an expression, lower case, punctuation as words of its own.
    """
    found: set[int] = set()
    for start in range(len(words)):
        at = start + _length_of(words, start)
        if at == start:
            continue
        at = _skip_determiners(words, at)
        if word_at(words, at) == "them":
            at += word_at(words, at + 1) == "all"
        is_collective = word_at(words, at) in _COLLECTIVES and words[start - 1] in _PARTS  # "to the front of the group"
        if word_at(words, at) in _SETS and not is_collective and _may_end_at(words, at + 1):
            found.update(range(start, at + 1))
    return frozenset(found)


def read_count(words: Sequence[str], of: int) -> int | None:
    """Return how many there are in "of the three ...", where "of" is at the index `of`; None if that is not said."""
    after = of + _length_of(words, of)
    return read_number(word_at(words, _skip_determiners(words, after))) if after > of else None


def _read_partitive(words: Sequence[str], start: int) -> Partitive | None:
    content, of = _read_before_of(words, start)
    after = of + _length_of(words, of)
    if after == of or not (content or _is_put_first(words, of)):
        return None
    first = _skip_determiners(words, after)
    if (bound := read_number_bound(words, first)) is not None:
        first = bound.end - 1  # "the leftmost of at least three dogs"
    has_number = word_at(words, first) == "several" or _is_count(word_at(words, first))
    kind = _kind_of(words, content, has_number=has_number) if content else PartitiveKind.SELECTION
    if kind is None or not _may_be_thing(words, first + has_number):
        return None
    if first + has_number >= len(words) and {"one", "ones"}.intersection(words[i] for i in content):
        return None  # "the middle one of the three": nothing else names the thing
    end = first + 1 if kind is PartitiveKind.SELECTION and has_number else first
    described = [i for i in content if kind is not PartitiveKind.PICTURE and _describes(words[i])]
    return Partitive(kind, start, of, end, tuple(described))


def _read_before_of(words: Sequence[str], start: int) -> tuple[list[int], int]:
    """Return which words from `start` on have a meaning, none of which names a thing, and where they end."""
    content: list[int] = []
    at = start
    while at < len(words) and not _length_of(words, at):
        word = words[at]
        if content and word in ("from", "on") and word_at(words, at + 1 + (word_at(words, at + 1) == "the")) in _PLACES:
            at += 1  # "second from the left of the three", "the one on the left of the two"
            continue
        if content and word == "or" and word_at(words, at + 1) in ("more", "fewer", "less"):
            at += 2  # "two or more of the dogs"
            continue
        if (word, word_at(words, at + 1)) == ("close", "up"):
            content.append(at)
            at += 2
            continue
        has_noun = (
            bool(content)
            and _singular(word) not in _PICTURES
            and any(w in _NOUNS for w in (words[content[-1]], _singular(words[content[-1]])))
        )
        is_place = content and words[at - 1] in ("from", "on", "the") and word in _PLACES
        is_share = _singular(word) in _SHARES and (words[at - 1] == "one" or _is_count(words[at - 1]))
        if (
            word not in _LINKS
            and not (is_place or is_share)
            and (has_noun or not (_names_nothing(word) or _modifies(word)))
        ):
            break
        content += [at] if word not in _LINKS else []
        at += 1
    return content, at


def _length_of(words: Sequence[str], at: int) -> int:
    """How many words at `at` mean "of"."""
    return next((len(phrase) for phrase in _OF if tuple(words[at : at + len(phrase)]) == phrase), 0)


def _is_put_first(words: Sequence[str], of: int) -> bool:
    """ "of the two giraffes, the taller one"."""
    return "," in words[of:] and any(_is_count(w) or w in DETERMINERS for w in words[of + 1 : of + 3])


def _kind_of(words: Sequence[str], content: Sequence[int], *, has_number: bool) -> PartitiveKind | None:
    some = [words[i] for i in content]
    if not some:
        return None
    last = _singular(some[-1])
    if last in _PICTURES:
        is_thing = _PICTURE_IS_A_THING.intersection(words) or any(w in _PLACES or w in ORDINALS for w in some[:-1])
        return None if is_thing else PartitiveKind.PICTURE
    if last in _COLLECTIVES or some[-1] in _COLLECTIVES:
        return PartitiveKind.COLLECTIVE
    if len(some) > 1 and last in _SHARES and (some[0] == "one" or _is_count(some[0])):
        return PartitiveKind.PART  # "two thirds of the dogs"
    if has_number or _QUANTIFIERS.intersection(some) or any(w in ORDINALS or _is_superlative(w) for w in some):
        return PartitiveKind.SELECTION
    if some[-1] == "last" or _is_count(some[-1]) or some[-1] in COMPARATIVES:
        return PartitiveKind.SELECTION
    return PartitiveKind.PART if last in _PARTS else None


def _names_nothing(word: str) -> bool:
    nouns = (word, _singular(word))
    return word in _QUANTIFIERS or any(w in some for w in nouns for some in (_COLLECTIVES, _PICTURES, _PARTS))


def _modifies(word: str) -> bool:
    return word in _PLACES or word in ORDINALS or _is_count(word) or word == "last" or _describes(word)


def _is_count(word: str) -> bool:
    return word != "one" and read_number(word) is not None


def _describes(word: str) -> bool:
    is_number = word in ORDINALS or _is_count(word) or word == "last" or word[0].isdigit()
    is_adjective = word in _GRADABLE or word in COMPARATIVES or word.endswith(("ful", "ous")) or _is_superlative(word)
    return is_adjective and not is_number and word not in _PLACES | _PARTS


def _is_superlative(word: str) -> bool:
    outermost = word.endswith("most") and word not in ("most", "almost")
    return outermost or (word.endswith("est") and len(word) > 4 and word not in _NO_SUPERLATIVES)


def _skip_determiners(words: Sequence[str], at: int) -> int:
    """Where "the", "all the", "both" and "all" before another word end."""
    while True:
        word, after = word_at(words, at), word_at(words, at + 1)
        is_all = word in ("all", "both") and (after in DETERMINERS or not _may_end_at(words, at + 1))
        if not (is_all or word in DETERMINERS):
            return at
        at += 1


def _may_be_thing(words: Sequence[str], at: int) -> bool:
    """Whether a noun may begin there, or nothing more is said: "the leftmost of the three"."""
    word = word_at(words, at)
    return not any(c.isalnum() for c in word) or not (_is_grammar(word) or word in FRAME_WORDS)


def _may_end_at(words: Sequence[str], at: int) -> bool:
    word = word_at(words, at)
    return not any(c.isalnum() for c in word) or (_is_grammar(word) and word != "of")


def _is_grammar(word: str) -> bool:
    return word in STOP_WORDS or word in RELATION_WORDS or word in APPEARANCE_WORDS or word in RELATIVE_PRONOUNS


def _singular(word: str) -> str:
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _compare(adjective: str) -> str:
    """ "taller", "bigger", "heavier"."""
    stem = regex.sub("([^aeiou])y$", r"\1i", adjective.removesuffix("e"))
    double = regex.search("[^aeiou][aeiou][bdgnt]$", adjective)
    return stem + (stem[-1] if double else "") + "er"


COMPARATIVES = frozenset(map(_compare, _GRADABLE)) | {"better", "worse", "older", "elder", "larger", "nearer"}
