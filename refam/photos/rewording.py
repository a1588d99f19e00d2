"""Words of an expression that the model's text encoder lacks, replaced by nouns that it knows."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from refam.photos.vocabulary import Vocabulary, load_vocabulary, singular_forms
from refam.photos.words import model_words
from refam.text.expression import split_words
from refam.text.lexicon import STOP_WORDS

Reword = Callable[[str], tuple[str, str]]
"""Takes an expression; returns it in words that a model has, and a note of what was read as what, or ""."""


def open_rewording(directory: Path) -> Reword:
    """Return the rewording of a model for photographs, by the vocabulary that it was trained on.

    Args:
        directory: Of its pipeline.
    """
    vocabulary = load_vocabulary(directory / "vocabulary.json.gz")
    known = frozenset(model_words(vocabulary))

    def reword_for_model(expression: str) -> tuple[str, str]:
        rewording = reword(expression, vocabulary, known)
        return rewording.text, rewording.note

    return reword_for_model


@dataclass(frozen=True)
class Rewording:
    """An expression in the model's words.

    Attributes:
        text: The expression with some of its words replaced.
        note: What was read as what, as a sentence, or "". Plurals are replaced without a word.
    """

    text: str
    note: str = ""


def reword(text: str, vocabulary: Vocabulary, known: Collection[str]) -> Rewording:
    """Replace words that the model does not know by the nearest noun that it does.

    Args:
        text: The expression.
        vocabulary: The nouns, and the words that are read as one of them.
        known: All words of the text encoder.
    """
    words = split_words(text)
    pieces: list[str] = []
    read_as: list[str] = []
    end, at = 0, 0
    while at < len(words):
        word = words[at].text
        pair = f"{word} {words[at + 1].text}" if at + 1 < len(words) else None
        taken = 1
        noun = None
        if pair is not None and (noun := vocabulary.noun_for(pair)) is not None:
            taken = 2
        elif word not in known and word not in STOP_WORDS:
            noun = vocabulary.noun_for(word)
        last = words[at + taken - 1]
        pieces.append(text[end : words[at].start])
        pieces.append(text[words[at].start : last.end] if noun is None else noun)
        written = word if taken == 1 else pair
        if noun is not None and written != noun and noun not in singular_forms(str(written)):
            read_as.append(f'"{written}" is read as "{noun}"')
        end, at = last.end, at + taken
    note = f"The model has a smaller vocabulary: {', '.join(read_as)}." if read_as else ""
    return Rewording("".join(pieces) + text[end:], note)
