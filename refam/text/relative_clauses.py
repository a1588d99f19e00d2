"""Relative clauses with a subject of their own: "the thing the man is holding", "the couch that nobody is sitting on".

What such a clause says is about its subject, not about the noun before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import regex

from refam.text.lexicon import DETERMINERS, NUMBERS, RELATION_WORDS, word_set

_PRONOUNS = word_set("i he she they it we you somebody someone nobody everybody everyone anybody anyone")
_CONTRACTION = regex.compile(r"(?:i|he|she|they|it|we|you|somebody|someone|nobody|everyone)['’](?:s|re|m|d|ve|ll)")
_AUXILIARIES = word_set("is are was were has have had can could will would does did do")
_WEARS = word_set("wears wear wore")  # verbs that are classed as prepositions


def is_pronoun(word: str) -> bool:
    """Return whether a word is a pronoun that may be a subject, or one with its verb: "he", "he's"."""
    return word in _PRONOUNS or _CONTRACTION.fullmatch(word) is not None


def read_object_relative(words: Sequence[str], classes: Sequence[str], at: int) -> int:
    """Return where the relative clause that begins at `at` ends, if it has a subject of its own; else `at`.

    A place after it is about the noun: "the bike the boy is riding on the left".

    Args:
        words: Words of an expression, lower case.
        classes: Their classes, see `refam.text.noun_phrase`.
        at: Index of a word behind a noun.
    """
    has_pronoun = classes[at] == "w"
    subject = at + has_pronoun
    if subject >= len(words) or not _begins_subject(words, classes, subject, has_pronoun=has_pronoun):
        return at
    end = subject + 1
    while end < len(words) and not _ends_clause(classes, end):
        end += 1
    content = [i for i in range(subject, end) if classes[i] in "NJVR"]
    if is_pronoun(words[subject]):
        return end if end > subject + 1 else at
    has_auxiliary = not (_AUXILIARIES | _WEARS).isdisjoint(words[subject:end])
    is_apposition = bool(content) and words[content[-1]] in ("one", "ones")  # "dog the left one"
    return end if content and len(content) + has_auxiliary > 1 and not is_apposition else at


def is_bare_verb(words: Sequence[str], classes: Sequence[str], at: int, end: int) -> bool:
    """Return whether a word that looks like a noun is the verb of its clause: "holds" of "that the man holds".

    Args:
        words: Words of an expression, lower case.
        classes: Their classes, see `refam.text.noun_phrase`.
        at: Index of a word in a relative clause with a subject of its own.
        end: Where that clause ends.
    """
    if classes[at - 1 : at + 1] != ["N", "N"] or not _AUXILIARIES.isdisjoint(words[at:end]):
        return False
    is_third_person = words[at].endswith("s") and not words[at].endswith("ss")
    return at + 1 == end or (is_third_person and classes[at + 1] in "p.R")


def _begins_subject(words: Sequence[str], classes: Sequence[str], at: int, *, has_pronoun: bool) -> bool:
    word = words[at]
    if has_pronoun:  # "that people are standing on", "which two dogs are chasing"
        auxiliary = next((i for i in range(at, min(at + 4, len(words))) if words[i] in _AUXILIARIES), at)
        if auxiliary > at and all(classes[i] in "JN" for i in range(at + 1, auxiliary)):
            return True
    if is_pronoun(word) or word in DETERMINERS or (has_pronoun and word in NUMBERS):
        return has_pronoun or (at > 0 and classes[at - 1] == "N")
    # "the boat people are standing on": two nouns, and a preposition without a thing.
    is_bare = at > 0 and classes[at - 1 : at + 1] == ["N", "N"] and "".join(words[at + 1 : at + 2]) in _AUXILIARIES
    return is_bare and (words[-1] in RELATION_WORDS or words[-1] == "in")


def _ends_clause(classes: Sequence[str], at: int) -> bool:
    """A comma, another relative pronoun, or a place: "... on the left"."""
    if classes[at] in ",cdw":
        return True
    after = next((c for c in classes[at + 1 :] if c != "."), "")
    return classes[at] == "p" and after in ("c", "d")
