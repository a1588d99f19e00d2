"""WordNet's nouns and adjectives, read from its own database files; needed only to build the vocabulary anew.

Source: WordNet 3.0 (wordnet.princeton.edu), the files `index.noun`, `data.noun`, `index.adj` and `cntlist.rev` as
wndb(5WN) and cntlist(5WN) describe them; on Debian: apt install wordnet-base.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from video.errors import UserError

WORDNET_DIRECTORY = Path("/usr/share/wordnet")
_HYPERNYM, _INSTANCE_HYPERNYM = "@", "@i"
_DESCRIBES = frozenset("&!")  # pointers to similar adjectives and to opposites: "red", "old", but not "German"
_CLASS_OF_TYPE = {"1": "noun", "2": "verb", "3": "adjective", "5": "adjective"}  # types of a sense key


class WordClass(StrEnum):
    """A word class whose use is counted."""

    NOUN = "noun"
    VERB = "verb"
    ADJECTIVE = "adjective"


class NounDomain(StrEnum):
    """What a noun is about: some of WordNet's lexicographer files, by their numbers."""

    ANIMAL = "05"
    ARTIFACT = "06"
    FOOD = "13"
    PERSON = "18"
    PLANT = "20"
    SUBSTANCE = "27"


class WordNet:
    """Nouns and what they are kinds of. A synset is named by its offset in `data.noun`, 8 digits.

    Raises:
        UserError: If the directory does not hold WordNet.
    """

    def __init__(self, directory: Path = WORDNET_DIRECTORY) -> None:
        if not (directory / "data.noun").is_file():
            raise UserError(f"{directory} has no WordNet (data.noun); on Debian: apt install wordnet-base")
        self._senses: dict[str, list[str]] = {}
        self._lemmas: dict[str, tuple[str, ...]] = {}
        self._hypernyms: dict[str, tuple[str, ...]] = {}
        self._ancestors: dict[str, frozenset[str]] = {}
        self._domains: dict[str, str] = {}
        self._instances: set[str] = set()
        self._uses: Counter[tuple[str, str]] = Counter()
        self._sense_uses: Counter[tuple[str, int]] = Counter()
        for fields in _entries(directory / "index.noun"):
            self._senses[fields[0].replace("_", " ")] = fields[-int(fields[2]) :]
        for fields in _entries(directory / "data.noun"):
            n_words = int(fields[3], 16)
            pointers = fields[5 + 2 * n_words :]
            self._lemmas[fields[0]] = tuple(w.replace("_", " ") for w in fields[4 : 4 + 2 * n_words : 2])
            parents = [(pointers[i], pointers[i + 1]) for i in range(0, len(pointers) - 3, 4)]
            self._hypernyms[fields[0]] = tuple(to for sign, to in parents if sign in (_HYPERNYM, _INSTANCE_HYPERNYM))
            self._domains[fields[0]] = fields[1]
            if any(sign == _INSTANCE_HYPERNYM for sign, _ in parents):
                self._instances.add(fields[0])
        self._adjectives = frozenset(
            fields[0].replace("_", " ")
            for fields in _entries(directory / "index.adj")
            if _DESCRIBES.intersection(fields[4 : 4 + int(fields[3])])
        )
        for key, number, count in _entries(directory / "cntlist.rev"):
            word, _, rest = key.partition("%")
            if (word_class := _CLASS_OF_TYPE.get(rest[:1])) is not None:
                self._uses[word.replace("_", " "), word_class] += int(count)
                if word_class == WordClass.NOUN:
                    self._sense_uses[word.replace("_", " "), int(number) - 1] += int(count)

    def senses(self, noun: str) -> list[str]:
        """Return the synsets of a noun, its most frequent sense first; none if it is not known."""
        return self._senses.get(noun.lower(), [])

    def lemmas(self, synset: str) -> tuple[str, ...]:
        """Return the words for a synset, the most usual first."""
        return self._lemmas[synset]

    def parents(self, synset: str) -> tuple[str, ...]:
        """Return what the synset is directly a kind of."""
        return self._hypernyms[synset]

    def ancestors(self, synset: str) -> frozenset[str]:
        """Return the synset and all that it is a kind of."""
        if synset not in self._ancestors:
            above = (self.ancestors(parent) for parent in self._hypernyms[synset])
            self._ancestors[synset] = frozenset({synset}).union(*above)
        return self._ancestors[synset]

    def domain(self, synset: str) -> str:
        """Return what the synset is about, the number of its lexicographer file; see `NounDomain`."""
        return self._domains[synset]

    def is_instance(self, synset: str) -> bool:
        """Return whether the synset is one thing or person of a name, not a kind: Stephen Crane."""
        return synset in self._instances

    def uses(self, word: str, word_class: WordClass) -> int:
        """Return how often a word is of a class in the texts whose senses were tagged; 0 also if that is not known."""
        return self._uses[word, word_class]

    def sense_uses(self, noun: str, sense: int) -> int:
        """Return how often the n-th of `senses`, counted from 0, is meant in those texts."""
        return self._sense_uses[noun, sense]

    def is_descriptive(self, word: str) -> bool:
        """Return whether a word is an adjective that says what a thing is like: "red" and "old", but not "German"."""
        return word in self._adjectives

    @cached_property
    def nouns(self) -> tuple[str, ...]:
        """All nouns, in alphabetical order."""
        return tuple(sorted(self._senses))


def _entries(file: Path) -> list[list[str]]:
    """The fields of each entry without its explanation; lines that begin with a space are the licence."""
    lines = file.read_text("utf-8").splitlines()
    return [line.split("|")[0].split() for line in lines if line and not line.startswith(" ")]
