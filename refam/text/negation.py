"""Negations: what is not there cannot be found, and what is said not to be meant must not be looked for.

"no dog" names nothing to look for. In "the dog, not the cat", "the car that is never red" and "neither brown nor black
dogs" a phrase is negated beside what is looked for, and is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from refam.text.lexicon import APPEARANCE_WORDS, DETERMINERS, GENERIC_NOUNS, word_at, word_set
from refam.text.spatial import SpatialCue

_NEGATIONS = word_set("no not never neither nor none except without excluding")
_CONTRACTED = ("n't", "n’t")  # "don't", "isn't"
_ANYTHING = word_set("everything everyone everybody anything anyone anybody all")
_ANY_THING = GENERIC_NOUNS | _ANYTHING
_BUT = (("but",), ("except",), ("excluding",), ("besides",), ("other", "than"), ("apart", "from"), ("aside", "from"))
_NOT = word_set("not never neither nor")  # "without" and "no" are said of a thing beside the object
_BEFORE_CUES = word_set("the a an one ones that those which is are so very too really quite in on at to of")
_INSTEAD = (("rather", "than"), ("instead", "of"), ("as", "opposed", "to"), ("unlike",), *_BUT[2:])
_HAS = word_set("with has have had having wearing wears wore and or nor but")  # before the "no" of "with no hat"
_NOT_ALONE = word_set("only just merely simply necessarily")  # "not only red but also blue" is both
_NEUTRAL = word_set("a an the ever even really quite very too so at all be been being is are was were have has had do")
_FINITE = word_set("is are was were has have had can will does do")  # "not brown and is big" says two things
_CONTENT = "NJVc"  # classes, see `refam.text.word_classes`
_NAMED_BY_WHAT_IS_FORBIDDEN = word_set("sign signs symbol symbols sticker stickers")  # "the no smoking sign"


@dataclass(frozen=True)
class Negation:
    """A word that negates what is looked for.

    Attributes:
        word: Its index.
        is_of_all: Whether it negates all that is named, so that nothing is left to look for.
    """

    word: int
    is_of_all: bool


def find_negation(words: Sequence[str], looked_for: Sequence[bool], *, others: Collection[int] = ()) -> Negation | None:
    """Find the word that negates what is looked for: "no dog", "not the dog", "with no hat"; "no. 7" is a number.

    Args:
        words: Words of an expression in lower case, punctuation as words of its own.
        looked_for: Whether each is.
        others: Indices of words that negate something else: a number ("no more than two dogs"), or a phrase that is
            left out (`find_negated_phrases`).

    Returns:
        The negation; None without one.
    """
    wanted = [i for i, is_wanted in enumerate(looked_for) if is_wanted and not _negates(words[i])]
    first = min(wanted, default=len(words))
    for i, word in enumerate(words):
        following = word_at(words, i + 1)
        if i in others or (word == "no" and (following in (".", ",") or following.isdecimal())):
            continue
        if _negates(word) and i < first:
            is_name = word == "no" and len(wanted) > 1 and words[wanted[-1]] in _NAMED_BY_WHAT_IS_FORBIDDEN
            is_of_adjective = i > 0 and words[i - 1] in DETERMINERS  # "the not so tall man"
            return Negation(i, not (is_name or is_of_adjective))
        if word in _ANYTHING and i <= first and any(tuple(words[i + 1 : i + 1 + len(but)]) == but for but in _BUT):
            return Negation(i + 1, True)
        before, after = [words[j] for j in wanted if j < i], [j for j in wanted if j > i]
        if _negates(word) and after and GENERIC_NOUNS.issuperset(before):
            return Negation(i, True)  # "things that are not dogs"
        if word == "no" and (i + 1 in wanted or i + 2 in wanted):
            return Negation(i, False)
    return None


def find_negated_cues(words: Sequence[str], cues: Sequence[SpatialCue]) -> dict[SpatialCue, int]:
    """Find the words of place and size that say which object is not meant: "not on the left", "except the biggest".

    Args:
        words: Words of an expression in lower case, punctuation as words of its own.
        cues: Its words of place and size.

    Returns:
        For each such cue the index of the word that negates it.
    """
    found = {}
    for cue in cues:
        at = min(cue.words) - 1
        while at >= 0 and words[at] in _BEFORE_CUES:
            at -= 1
        if at >= 0 and (words[at] in _NOT or words[at].endswith(_CONTRACTED)):
            found[cue] = at
        elif (length := next((len(b) for b in _BUT if tuple(words[max(0, at + 1 - len(b)) : at + 1]) == b), 0)) > 0:
            found[cue] = at + 1 - length
    return found


def find_negated_phrases(words: Sequence[str], classes: Sequence[str], bounds: Collection[int]) -> tuple[range, ...]:
    """Find the phrases that say what is not meant, beside something that is: "not red", "nor the cat", "with no hat".

    After the noun such a phrase reaches to the next comma or "but". An adjective, and what the object has, also end
    before a place: "the cat not red on the left", "the man with no hat on the left". Before the noun it is adjectives
    alone: "the red, not blue car".

    Args:
        words: Words of an expression in lower case, punctuation as words of its own.
        classes: Their classes, see `refam.text.word_classes`.
        bounds: Indices of words that bound a number: "no more than two dogs".

    Returns:
        The indices of the words of each phrase, in their order; each begins with the word that negates.
    """
    found: list[range] = []
    before: list[int] = []  # what is said so far and is not negated
    for at in range(len(words)):
        if found and at < found[-1].stop:
            continue
        length = 0 if at in bounds else _length_of_negator(words, at)
        end = _end_of_adjectives(words, classes, at, length, before) if length else at
        if length and end == at and any(classes[i] in "NJ" and words[i] not in _ANY_THING for i in before):
            end = _end_of_phrase(words, classes, at + length)
        if any(classes[i] in _CONTENT for i in range(at + length, end)):
            found.append(range(at, end))
        elif classes[at] in _CONTENT:
            before.append(at)
    return tuple(found)


def _length_of_negator(words: Sequence[str], at: int) -> int:
    """How many words at `at` negate what follows them; 0 if they do not."""
    word, following = words[at], word_at(words, at + 1)
    if word in _NOT or word == "cannot" or word.endswith(_CONTRACTED):
        return int(following not in _NOT_ALONE)
    if word == "no":
        return int(at > 0 and words[at - 1] in _HAS and following not in ("", ".", "one") and not following.isdecimal())
    if word == "but":
        return int(following in DETERMINERS and not {"not", "nothing"}.intersection(words[:at]))
    return next((len(phrase) for phrase in _INSTEAD if tuple(words[at : at + len(phrase)]) == phrase), 0)


def _end_of_adjectives(
    words: Sequence[str], classes: Sequence[str], at: int, length: int, before: Sequence[int]
) -> int:
    """Return where negated adjectives before a noun end: "the red but not blue car"; `at` if there are none."""
    after_determiner = at > 0 and words[at - 1] in DETERMINERS
    if not after_determiner and (any(classes[i] == "N" for i in before) or not (before or words[at] == "neither")):
        return at
    end = at + length
    while end < len(words) and (classes[end] in "JcR" or words[end] in _NEUTRAL - DETERMINERS | {"or", "nor", ","}):
        end += 1
    is_before_noun = end < len(words) and classes[end] == "N"
    while end > at and words[end - 1] == ",":
        end -= 1
    return end if is_before_noun and classes[end - 1] in "Jc" else at


def _end_of_phrase(words: Sequence[str], classes: Sequence[str], start: int) -> int:
    """Return where a negated phrase that begins at `start`, behind a noun, ends."""
    content: list[int] = []
    kind = ""  # the class of what is negated: "J" an adjective, "V" what the object does or has, else another thing
    for i in range(start, len(words)):
        word, word_class, following = words[i], classes[i], word_at(words, i + 1)
        if word == "," and kind == "J" and _lists_adjectives(words, classes, i + 1):
            continue
        negates_again = word not in ("nor", "no") and _length_of_negator(words, i) > 0
        if word == "but" or word_class == "," or (content and negates_again):
            return i - (words[i - 1] == "and")
        if content and word == "and" and (following in DETERMINERS | _FINITE or classes[i + 1 : i + 2] == ["V"]):
            return i
        if content and kind == "J" and word_class in "pcwd":
            return i
        if kind == "V" and any(classes[j] == "N" for j in content) and _is_place(words, classes, i):
            return i  # "not wearing a hat on the left"
        if not kind and (word in DETERMINERS or (word_class != "R" and word not in _NEUTRAL)):
            is_missing = words[start - 1] == "no" or (words[start - 1] == "neither" and word_class == "N")
            kind = "V" if is_missing or word in APPEARANCE_WORDS else "N" if word in DETERMINERS else word_class
        content += [i] if word_class in _CONTENT else []
    return len(words)


def _lists_adjectives(words: Sequence[str], classes: Sequence[str], at: int) -> bool:
    """Whether the rest of a list follows a comma: "not brown, black or white"."""
    end = at
    while end < len(words) and (classes[end] == "J" or words[end] in ("or", "nor", ",")):
        end += 1
    return not {"or", "nor"}.isdisjoint(words[at:end]) and classes[end - 1] == "J"


def _is_place(words: Sequence[str], classes: Sequence[str], at: int) -> bool:
    """Whether words of place begin there: "left", "on the left"."""
    while at < len(words) and (classes[at] == "p" or words[at] in DETERMINERS):
        at += 1
    return at < len(words) and classes[at] == "c"


def _negates(word: str) -> bool:
    return word in _NEGATIONS or word.endswith(_CONTRACTED)
