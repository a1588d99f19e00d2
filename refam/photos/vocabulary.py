"""The nouns that the model for photographs knows, and the words that mean one of them."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from refam.photos import VOCABULARY_NAME
from refam.photos.other_words import find_other_words
from refam.photos.wordnet import WordNet
from refam.text.lexicon import ADJECTIVES, COLOURS, NUMBERS, STOP_WORDS
from refam.text.spatial import find_spatial_cues
from video.checked_json import LENIENT, JsonError, parse_json
from video.errors import UserError

NOUNS_FILE = Path(__file__).with_name("nouns.txt")
VOCABULARY_FILE = Path(__file__).with_name(VOCABULARY_NAME)
_LEAST_PART = 2  # letters of each half of a compound


@dataclass(frozen=True)
class Noun:
    """One noun of the vocabulary.

    Attributes:
        name: The word or words.
        theme: What it is listed under.
        classes: The classes of ImageNet that are kinds of it; may be empty.
        above: Nouns of the vocabulary that it is a kind of.
    """

    name: str
    theme: str
    classes: tuple[int, ...]
    above: tuple[str, ...]


@dataclass(frozen=True)
class Vocabulary:
    """Nouns, and other words that are read as one of them.

    Attributes:
        nouns: By name.
        read_as: From a word to the noun that it is read as: "terrier" -> "dog".
    """

    nouns: Mapping[str, Noun]
    read_as: Mapping[str, str]

    def noun_for(self, word: str) -> str | None:
        """Return the noun that a word or two, singular or plural, are read as; None if it is unknown.

        Compounds may be written in other ways than those that are known: "hotdog", "hot-dog", "skate board".
        """
        for form in (word, *singular_forms(word)):
            noun = self._noun_for_form(form) or self._noun_for_form(form.replace("-", " "))
            if noun is not None:
                return noun
        for form in (word, *singular_forms(word)):
            apart = form.replace("-", " ")
            if (noun := self._join(apart) if " " in apart else self._part(form)) is not None:
                return noun
        return None

    def _noun_for_form(self, form: str) -> str | None:
        # To WordNet a letter is a vitamin, and so food.
        return form if form in self.nouns else self.read_as.get(form) if len(form) > 1 else None

    def _join(self, pair: str) -> str | None:
        """Read two words as one: "motor bike". A first word that means something is not joined: "black bird"."""
        first, last = pair.split(" ", 1)
        means_something = STOP_WORDS | ADJECTIVES | COLOURS | NUMBERS.keys()
        if first in means_something or last in STOP_WORDS or find_spatial_cues([first]):
            return None
        joined = self._noun_for_form(first + last)
        return joined if joined in (first + last, None) or self._noun_for_form(first) is None else None

    def _part(self, word: str) -> str | None:
        """Read one word as two that are known together: "racecar"."""
        for i in range(_LEAST_PART, len(word) - _LEAST_PART + 1):
            if (noun := self._noun_for_form(f"{word[:i]} {word[i:]}")) is not None:
                return noun
        return None


def singular_forms(word: str) -> tuple[str, ...]:
    """Return what the singular of a plural may be: boxes -> boxe, box; wolves -> wolf; men -> man."""
    forms = []
    if word.endswith("men"):
        forms.append(word[:-2] + "an")
    if word.endswith("ves"):
        forms += [word[:-3] + "f", word[:-3] + "fe"]
    if word.endswith("ies"):
        forms.append(word[:-3] + "y")
    if word.endswith("s") and not word.endswith("ss"):
        forms.append(word[:-1])  # before the next: oranges are no orangs
    if word.endswith(("ses", "xes", "zes", "ches", "shes", "oes")):  # "poles" are no pols, politicians
        forms.append(word[:-2])
    irregular = {"children": "child", "people": "person", "mice": "mouse", "geese": "goose", "feet": "foot"}
    return (*((irregular[word],) if word in irregular else ()), *forms)


class VocabularyError(UserError):
    """A vocabulary cannot be read; the message says which file and why."""


_Word = Annotated[str, Field(min_length=1)]
_ImageNetClass = Annotated[int, Field(ge=0, lt=1000)]


@dataclass(frozen=True)
class _Stored:
    """What `save_vocabulary` writes: nouns as (name, theme, classes, above), and words by the noun they are read as."""

    __pydantic_config__: ClassVar[ConfigDict] = LENIENT

    nouns: Annotated[list[tuple[_Word, str, list[_ImageNetClass], list[str]]], Field(min_length=1)]
    words: dict[str, list[_Word]]


def load_class_synsets(file: Path = VOCABULARY_FILE) -> list[str]:
    """Return WordNet's synsets of ImageNet's 1000 classes, in their order, as `build_vocabulary` needs them."""
    return list(json.loads(gzip.decompress(file.read_bytes()))["class_synsets"])


def load_vocabulary(file: Path = VOCABULARY_FILE) -> Vocabulary:
    """Read a vocabulary.

    Args:
        file: By default all nouns that a model can be trained on; a model's own file has those that it was trained on.

    Raises:
        VocabularyError: If the file is missing, broken, or no vocabulary.
    """
    if not file.exists():
        raise VocabularyError(f"{file.parent} is not complete: {file.name} is missing; fetch the directory again")
    try:
        stored = parse_json(gzip.decompress(file.read_bytes()), _Stored)
    except (OSError, EOFError, zlib.error, JsonError) as error:
        raise VocabularyError(f"{file} is no vocabulary ({error}); fetch the directory again") from error
    nouns = {name: Noun(name, theme, tuple(classes), tuple(above)) for name, theme, classes, above in stored.nouns}
    if strays := [noun for noun in stored.words if noun not in nouns]:
        raise VocabularyError(
            f"{file} is no vocabulary (words are read as {strays[0]!r}, which is none of its {len(nouns)} nouns); "
            "fetch the directory again"
        )
    return Vocabulary(nouns, {word: noun for noun, words in stored.words.items() for word in words})


def build_vocabulary(wordnet: WordNet, class_synsets: Sequence[str], nouns_file: Path = NOUNS_FILE) -> Vocabulary:
    """Build the vocabulary from a list of nouns and WordNet.

    Args:
        wordnet: WordNet 3.0.
        class_synsets: Synsets of ImageNet's 1000 classes, in their order; they are WordNet 3.0's offsets.
        nouns_file: See the file's own head.
    """
    ancestors = [wordnet.ancestors(synset) for synset in class_synsets]

    def classes_of(synset: str) -> set[int]:
        return {i for i, above in enumerate(ancestors) if synset in above}

    meanings: dict[str, tuple[str, ...]] = {}
    classes: dict[str, tuple[int, ...]] = {}
    themes: dict[str, str] = {}
    for line in nouns_file.read_text("utf-8").splitlines():
        if line.startswith("#"):
            continue
        theme, _, entries = line.partition(": ")
        for entry in entries.split(", "):
            name, _, meaning = entry.partition("=")
            themes[name] = theme
            words = (meaning.removeprefix("-") or name).split("+")
            synsets = [s for word in words if (s := _usual_sense(wordnet, word, classes_of, meaning)) is not None]
            meanings[name] = tuple(synsets)
            classes[name] = tuple(sorted(set().union(*map(classes_of, synsets)))) if meaning[:1] != "-" else ()
    above = {
        name: tuple(
            other
            for other in meanings
            if other != name
            and any(s in wordnet.ancestors(own) for own in meanings[name] for s in meanings[other][:1])
            and meanings[other][:1] != meanings[name][:1]
        )
        for name in meanings
    }
    below = {name: [n for n, parents in above.items() if name in parents] for name in meanings}
    for name in meanings:  # what WordNet files elsewhere: a railway car is a kind of train here
        if classes[name]:
            classes[name] = tuple(sorted(set(classes[name]).union(*(classes[n] for n in below[name]))))
    nouns = {n: Noun(n, themes[n], classes[n], above[n]) for n in meanings}
    return Vocabulary(nouns, find_other_words(wordnet, {n: m[:1] for n, m in meanings.items()}, above))


def _usual_sense(wordnet: WordNet, word: str, classes_of: Callable[[str], set[int]], meaning: str) -> str | None:
    senses = wordnet.senses(word)
    if meaning[:1] != "-":
        for synset in senses:
            if classes_of(synset):
                return synset
    return senses[0] if senses else None


def save_vocabulary(vocabulary: Vocabulary, file: Path, *, class_synsets: Sequence[str] = ()) -> None:
    """Write the vocabulary as `load_vocabulary` reads it; that which ships also holds ImageNet's synsets."""
    words: dict[str, list[str]] = {}
    for word, noun in vocabulary.read_as.items():
        words.setdefault(noun, []).append(word)
    stored = {
        "source": "WordNet 3.0, (c) 2006 Princeton University; licence in WORDNET-LICENSE.txt",
        "nouns": [(n.name, n.theme, n.classes, n.above) for n in vocabulary.nouns.values()],
        "words": words,
        "class_synsets": list(class_synsets),
    }
    file.write_bytes(gzip.compress(json.dumps(stored, separators=(",", ":")).encode(), mtime=0))
