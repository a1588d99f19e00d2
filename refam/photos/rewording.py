"""Words of an expression that the model's text encoder lacks, replaced by nouns that it knows."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path

from refam.photos.vocabulary import Vocabulary, load_vocabulary, singular_forms
from refam.photos.words import model_words
from refam.text.expression import split_words
from refam.text.lexicon import STOP_WORDS
from refam.text.rewording import Reword, Rewording


def open_rewording(directory: Path) -> Reword:
    """Return the rewording of a model for photographs, by the vocabulary that it was trained on.

    Args:
        directory: Of its pipeline.
    """
    vocabulary = load_vocabulary(directory / "vocabulary.json.gz")
    known = frozenset(model_words(vocabulary))

    return partial(reword, vocabulary=vocabulary, known=known)


def reword(text: str, vocabulary: Vocabulary, known: Collection[str]) -> Rewording:
    """Replace words that the model does not know by the nearest noun that it does.

    Args:
        text: The expression.
        vocabulary: The nouns, and the words that are read as one of them.
        known: All words of the text encoder.
    """
    words = split_words(text)
    pieces: list[str] = []
    read_as: list[tuple[str, str]] = []
    end, at = 0, 0
    while at < len(words):
        word = words[at].text
        pair = f"{word} {words[at + 1].text}" if at + 1 < len(words) else None
        taken = 1
        noun = None
        if pair is not None and (noun := vocabulary.noun_for(pair)) is not None and not _is_doing(pair, vocabulary):
            taken = 2
        elif word not in known and word not in STOP_WORDS:
            noun = vocabulary.noun_for(word)
        last = words[at + taken - 1]
        pieces.append(text[end : words[at].start])
        pieces.append(text[words[at].start : last.end] if noun is None else noun)
        written = word if taken == 1 else pair
        if noun is not None and written != noun and noun not in singular_forms(str(written)):
            read_as.append((str(written), noun))
        end, at = last.end, at + taken
    return Rewording("".join(pieces) + text[end:], tuple(read_as))


def _is_doing(pair: str, vocabulary: Vocabulary) -> bool:
    """Whether two words may say what something does: "the elephant drinking water", but "the dining table"."""
    first, last = pair.split()
    return first.endswith("ing") and pair not in vocabulary.nouns and vocabulary.noun_for(pair) != last
