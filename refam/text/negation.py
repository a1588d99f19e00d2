"""Negations of what is looked for: what is not there cannot be found."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from refam.text.lexicon import DETERMINERS, GENERIC_NOUNS, word_at, word_set
from refam.text.spatial import SpatialCue

_NEGATIONS = word_set("no not never neither nor none except without excluding")
_CONTRACTED = ("n't", "n’t")  # "don't", "isn't"
_ANYTHING = word_set("everything everyone everybody anything anyone anybody all")
_BUT = (("but",), ("except",), ("excluding",), ("besides",), ("other", "than"), ("apart", "from"), ("aside", "from"))
_NOT = word_set("not never neither nor")  # "without" and "no" are said of a thing beside the object
_BEFORE_CUES = word_set("the a an one ones that those which is are so very too really quite in on at to of")
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


def find_negation(words: Sequence[str], looked_for: Sequence[bool], *, bounds: Collection[int] = ()) -> Negation | None:
    """Find the word that negates what is looked for: "no dog", "not the dog", "with no hat"; "no. 7" is a number.

    Args:
        words: Words of an expression in lower case, punctuation as words of its own.
        looked_for: Whether each is.
        bounds: Indices of words that bound a number: "no more than two dogs".

    Returns:
        The negation; None without one.
    """
    wanted = [i for i, is_wanted in enumerate(looked_for) if is_wanted and not _negates(words[i])]
    first = min(wanted, default=len(words))
    for i, word in enumerate(words):
        following = word_at(words, i + 1)
        if i in bounds or (word == "no" and (following == "." or following.isdecimal())):
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


def _negates(word: str) -> bool:
    return word in _NEGATIONS or word.endswith(_CONTRACTED)
