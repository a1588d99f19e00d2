"""The words that the model's text encoder has: nouns, colours, and what stands around them."""

from __future__ import annotations

from collections.abc import Iterable

from refam.photos.colours import COLOURS
from refam.photos.vocabulary import Vocabulary

AROUND = (
    *("a", "an", "the", "and", "with", "of", "in", "on", "to", "at", "is", "there", "next", "photo", "picture"),
    *("one", "two", "three", "small", "big", "large", "little", "left", "right", "top", "bottom", "middle"),
    *("thing", "background", ".", ","),
)  # fmt: skip


def model_words(vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return all words of the tokenizer, each once, in a fixed order."""
    return tuple(dict.fromkeys((*AROUND, *COLOURS, *(w for noun in vocabulary.nouns for w in noun.split()))))


def lone_words(vocabulary: Vocabulary) -> frozenset[str]:
    """Return the words of the tokenizer that mean something by themselves: not the "light" of "traffic light"."""
    return frozenset((*AROUND, *COLOURS, *(noun for noun in vocabulary.nouns if " " not in noun)))


def restrict(vocabulary: Vocabulary, nouns: Iterable[str]) -> Vocabulary:
    """Return the vocabulary with some of its nouns; words for the others are read as what those are a kind of."""
    kept = set(nouns)

    def nearest(name: str) -> str | None:
        if name in kept:
            return name
        # The nearest of several is the one that is itself a kind of the most others.
        above = [a for a in vocabulary.nouns[name].above if a in kept]
        return max(above, key=lambda a: len(vocabulary.nouns[a].above), default=None)

    dropped = {n: nearest(n) for n in vocabulary.nouns if n not in kept and n not in vocabulary.read_as}
    read_as = {word: nearest(noun) for word, noun in vocabulary.read_as.items()} | dropped
    return Vocabulary(
        {n: noun for n, noun in vocabulary.nouns.items() if n in kept},
        {word: noun for word, noun in read_as.items() if noun is not None},
    )
