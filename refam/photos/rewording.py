"""Words of an expression that the model's text encoder lacks, replaced by nouns that it knows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from functools import partial

from refam.photos.vocabulary import Vocabulary, singular_forms
from refam.photos.words import lone_words, model_words
from refam.text.lexicon import COLOURS, STOP_WORDS, SUBJECT_PRONOUNS, is_shade, word_at
from refam.text.rewording import Reword, Rewording
from refam.text.words import Word, split_words

_PERSON = "person"
_LIVING = frozenset({_PERSON, "animal"})
_ALSO_COMPARATIVES = frozenset({"lighter"})
"""Nouns that say what the thing behind them is like: "the lighter car" is no lighter."""


def make_rewording(vocabulary: Vocabulary) -> Reword:
    """Return the rewording of a model for photographs.

    Args:
        vocabulary: What it was trained on.
    """
    known = lone_words(vocabulary)
    return partial(reword, vocabulary=vocabulary, known=known, parts=frozenset(model_words(vocabulary)) - known)


def reword(
    text: str, vocabulary: Vocabulary, known: Collection[str], parts: AbstractSet[str] = frozenset()
) -> Rewording:
    """Replace words that the model does not know by the nearest noun that it does.

    A word before a noun is no second thing to look for: a chocolate dog is no food, and a young one not two animals.

    Args:
        text: The expression.
        vocabulary: The nouns, and the words that are read as one of them.
        known: Words of the text encoder that mean something by themselves.
        parts: Its other words, which are parts of nouns.
    """
    words = split_words(text)
    pieces: list[str] = []
    read_as: list[tuple[str, str]] = []
    loose: dict[str, str] = {}
    torn: list[str] = []
    whole: set[str] = set()  # words of the nouns that were read
    end, at = 0, 0
    while at < len(words):
        taken, noun = _read_noun(words, at, vocabulary, known)
        if noun is not None and _describes(words, at, taken, noun, vocabulary):
            taken, noun = 1, None
        last = words[at + taken - 1]
        pieces.append(text[end : words[at].start])
        pieces.append(text[words[at].start : last.end] if noun is None else noun)
        if noun is not None:
            whole.update(noun.split())
        elif _is_one_of(last.text, parts) or (
            last.text in _ALSO_COMPARATIVES and _names_thing(words, at + taken, vocabulary)
        ):
            torn.append(last.text)
        written = " ".join(word.text for word in words[at : at + taken])
        if noun is not None and written != noun and noun not in singular_forms(written):
            read_as.append((written, noun))
        read = vocabulary.nouns.get(noun or written)
        if read is not None and _PERSON in read.above:  # no set of pictures tells "man" from "girl"
            loose[read.name] = _PERSON
        end, at = last.end, at + taken
    return Rewording(
        "".join(pieces) + text[end:], tuple(read_as), tuple(loose.items()), tuple(w for w in torn if w not in whole)
    )


def _read_noun(
    words: Sequence[Word], at: int, vocabulary: Vocabulary, known: Collection[str]
) -> tuple[int, str | None]:
    """Return how many words are read as a noun, and which; None leaves the word as it is."""
    word = words[at].text
    pair = f"{word} {words[at + 1].text}" if at + 1 < len(words) else ""
    noun = vocabulary.noun_for(pair)
    before = words[at - 1].text if at > 0 else ""
    if noun is not None and (vocabulary.noun_for(before) is None or not _is_doing(pair, vocabulary)):
        return 2, noun
    stays = word in known or word in STOP_WORDS or before in SUBJECT_PRONOUNS or is_shade([w.text for w in words], at)
    return 1, None if stays else vocabulary.noun_for(word)


def _describes(words: Sequence[Word], at: int, taken: int, noun: str, vocabulary: Vocabulary) -> bool:
    """Whether words that are not among the nouns stand before one, and so say what it is like: "the salmon shirt"."""
    written = " ".join(word.text for word in words[at : at + taken])
    if written in vocabulary.nouns or noun in singular_forms(written) or not _names_noun(words, at + taken, vocabulary):
        return False
    after = words[at + taken].text
    # "the skater swings": what somebody does may look like a plural.
    may_act = after.endswith("s") and not _LIVING.isdisjoint({noun, *vocabulary.nouns[noun].above})
    return not may_act or after in vocabulary.nouns


def _is_one_of(word: str, parts: AbstractSet[str]) -> bool:
    return word in parts or not parts.isdisjoint(singular_forms(word))


def _names_thing(words: Sequence[Word], at: int, vocabulary: Vocabulary) -> bool:
    """Whether a noun stands at `at`, or a colour before one."""
    return _names_noun(words, at + (word_at([w.text for w in words], at) in COLOURS), vocabulary)


def _names_noun(words: Sequence[Word], at: int, vocabulary: Vocabulary) -> bool:
    """Whether a noun stands at `at`."""
    return at < len(words) and words[at].text not in STOP_WORDS and vocabulary.noun_for(words[at].text) is not None


def _is_doing(pair: str, vocabulary: Vocabulary) -> bool:
    """Whether two words after a noun may say what it does: "the elephant drinking water", but "the dining table"."""
    first, last = pair.split()
    return first.endswith("ing") and pair not in vocabulary.nouns and vocabulary.noun_for(pair) != last
