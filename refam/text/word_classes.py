"""Word classes: what each word of an expression is, from the endings of words, short lists and the words beside it.

A class is one letter: N noun, J adjective, V verb, R adverb, p preposition or word of appearance, w relative pronoun, c
spatial cue, d direction of movement, "," punctuation, "." other stop word.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence

from refam.text.lexicon import (
    ADJECTIVES,
    ADVERBS,
    AFTER_EMPHATIC_RIGHT,
    ALSO_PARTICIPLES,
    APPEARANCE_WORDS,
    CANS,
    CLOTHES,
    COLOURS,
    COMPOUND_ENDS,
    DETERMINERS,
    IRREGULAR_PARTICIPLES,
    NOUNS_IN_ING_AND_ED,
    RELATION_WORDS,
    RELATIVE_PRONOUNS,
    STOP_WORDS,
    is_shade,
    word_at,
    word_set,
)
from refam.text.partitives import COMPARATIVES
from refam.text.relative_clauses import is_pronoun
from refam.text.words import MINUS_SIGNS

Tagger = Callable[[Sequence[str]], Sequence[str]]
"""Words -> one part-of-speech tag of the Penn Treebank for each (NN, NNS, JJ, VBG, VBN, VBZ, ...)."""

PLACE_NOUNS = word_set(
    "left right top bottom front back side middle center centre corner edge end closest nearest close closer nearer"
)
_AFTER_A_OF_SEVERAL = word_set("few couple dozen hundred thousand half")  # "a few birds"
_IS_AND_HAS = word_set("is are was were has have had")
_MODALS = word_set("can could will would should must may might")


def classify_words(
    words: Sequence[str], *, fixed: Mapping[int, str], first: int, tags: Sequence[str] | None
) -> list[str]:
    """Return the class of each word.

    Args:
        words: Words of an expression in lower case; each punctuation mark is a word of its own.
        fixed: Classes that are known already, by the indices of their words.
        first: Index of the first word that names the thing.
        tags: Part-of-speech tags of the Penn Treebank; None classifies by endings and lists.
    """
    classifier = _Classifier(words, first)
    for i in range(len(words)):
        word_class = fixed.get(i) or classifier.classify(i, tags[i] if tags else None)
        classifier.classes.append(word_class)
    return classifier.classes


def is_pictograph(word: str) -> bool:
    """Return whether a word is an emoji or another pictograph, which says what a thing is or looks like."""
    return any(unicodedata.category(c) == "So" for c in word)


class _Classifier:
    """Classifies the words from left to right."""

    def __init__(self, words: Sequence[str], first: int) -> None:
        self.words, self.first = words, first
        self.classes: list[str] = []

    def classify(self, i: int, tag: str | None) -> str:
        word = self.words[i]
        if not any(c.isalnum() for c in word):
            return "J" if is_pictograph(word) else ","
        if word == "off" and "".join(self.words[i + 1 : i + 2]) == "white":
            return "J"
        if self.words[max(0, i - 1) : i + 1] == ["upside", "down"]:
            return "."
        if word in APPEARANCE_WORDS or word in RELATION_WORDS or word == "in":
            return "p"
        if word in RELATIVE_PRONOUNS:
            return "w" if i > self.first and not self._points(i) else "."  # "which car", "that dog"
        if (rule := self._classify_by_neighbours(i)) is not None:
            return rule
        if word in STOP_WORDS or is_pronoun(word) or self._is_part_of_relation(i):
            return "."
        is_light = word == "light" and "".join(self.words[i + 1 : i + 2]) in COLOURS
        if word.endswith(("'s", "’s")) or is_light or is_shade(self.words, i):
            return "J"
        if (word in ADVERBS and i > 0) or (
            word.endswith("ly") and len(word) > 6 and word not in ("butterfly", "dragonfly")
        ):
            return "R"
        if word in ("closer", "nearer", "farther", "further"):
            return "."
        if word in ADJECTIVES or word in COMPARATIVES or word.lstrip(MINUS_SIGNS)[:1].isdigit():
            return "J"
        if i > 0 and self.classes[-1] == "w":
            return "V"  # "the cat that jumps"
        if tag is None:
            return self._classify_by_ending(i, word)
        if tag.startswith(("VBG", "VBN", "VBD")) or (tag.startswith("NN") and word.endswith("ing")):
            return self._classify_by_ending(i, word, participle=True)
        if tag.startswith("VB"):
            return "V" if "N" in self.classes else "N"
        return "J" if tag.startswith("JJ") else "R" if tag.startswith("RB") else "N"

    def _classify_by_neighbours(self, i: int) -> str | None:
        """Words whose class is decided by those beside them."""
        before, word, after = ["", *self.words][i], self.words[i], [*self.words, ""][i + 1]
        if word == "can" and (before in CANS or before in DETERMINERS or before in ADJECTIVES):
            return "N"  # "a white trash can"
        if (word, after) == ("upside", "down"):
            return "J"
        if word in COMPOUND_ENDS and i > 0 and self.classes[-1] in "NJ" and any(c.isalnum() for c in after):
            return "J"  # "tan colored mouse"
        if (
            word in ("baby", "adult", "newborn")
            and after in ADJECTIVES
            and not CLOTHES.intersection(self.words[i + 2 :])
        ):
            return "J"  # "baby white sheep"
        if (before in ("being", "been") or before in _MODALS) and self._follows_noun(i):
            return "V"
        return "." if self.words[max(0, i - 2) : i + 1] == ["all", "the", "way"] else None

    def _points(self, i: int) -> bool:
        """ "that" of "behind that" and "behind that dog", but not of "the chair he sits on that is red"."""
        follows_relation = i > 0 and self.classes[i - 1] == "p" and self.words[i - 1] in RELATION_WORDS
        return self.words[i] == "that" and follows_relation and word_at(self.words, i + 1) not in _MODALS | _IS_AND_HAS

    def _is_part_of_relation(self, i: int) -> bool:
        """ "left" of "left of", "front" of "in front of", "closest" of "closest to"; "right" of "right there"."""
        after = "".join(self.words[i + 1 : i + 2])
        if self.words[i] == "right" and after in AFTER_EMPHATIC_RIGHT:
            return True
        return self.words[i] in PLACE_NOUNS and after in ("of", "to") and "N" in self.classes

    def _classify_by_ending(self, i: int, word: str, *, participle: bool = False) -> str:
        """After a noun, a participle is a verb ("a dog running"); before one, an adjective ("a running dog")."""
        if word in NOUNS_IN_ING_AND_ED or (word in ALSO_PARTICIPLES and not self._follows_noun(i)):
            return "N"
        if participle or word in IRREGULAR_PARTICIPLES or (len(word) > 4 and word.endswith(("ing", "ed"))):
            return "V" if self._follows_noun(i) else "J"
        third_person = word.endswith("s") and not word.endswith(("ss", "us", "is", "'s", "’s"))
        singular = (
            self.words[self.first] in ("a", "an")
            and "".join(self.words[self.first + 1 : self.first + 2]) not in _AFTER_A_OF_SEVERAL
            and i > 1
            and self.classes[i - 1] == "N"
            and "p" not in self.classes
        )
        return "V" if third_person and singular else "N"  # "a cat jumps off the bed"

    def _follows_noun(self, i: int) -> bool:
        """Whether there is a noun before, with only such words in between as may stand between it and its verb."""
        before = [c for c in self.classes[:i] if c not in ".cdR"]
        return bool(before) and before[-1] in "NwVpJ" and "N" in before
