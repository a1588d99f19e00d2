"""Words -> tokens with roles.

A referring expression gets attention magnets appended (RefAM, section on attention magnets: stop words and a colour
word that the scene does not have), is tokenised once, and every token is given the word it belongs to by character
offsets, so that sub-words, hyphens and punctuation need no guessing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

STOP_MAGNETS = (".", "a", "with", "to")
COLOUR_MAGNETS = ("pink", "cyan", "purple", "orange", "brown")  # the first that the expression does not name
STOP_WORDS = frozenset(
    [
        "a",
        "an",
        "the",
        "this",
        "that",
        "these",
        "those",
        "some",
        "any",
        "each",
        "every",
        "no",
        "and",
        "or",
        "but",
        "nor",
        "so",
        "as",
        "if",
        "than",
        "then",
        "of",
        "in",
        "on",
        "at",
        "to",
        "from",
        "by",
        "with",
        "without",
        "into",
        "onto",
        "over",
        "under",
        "up",
        "down",
        "off",
        "out",
        "about",
        "around",
        "near",
        "next",
        "beside",
        "between",
        "behind",
        "before",
        "after",
        "above",
        "below",
        "through",
        "during",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "being",
        "am",
        "do",
        "does",
        "did",
        "has",
        "have",
        "had",
        "having",
        "it",
        "its",
        "he",
        "she",
        "they",
        "them",
        "his",
        "her",
        "their",
        "him",
        "who",
        "whom",
        "whose",
        "which",
        "what",
        "where",
        "when",
        "there",
        "here",
        "i",
        "you",
        "we",
        "me",
        "us",
        "my",
        "your",
        "our",
        "not",
        "very",
        "just",
        "also",
        "only",
        "will",
        "would",
        "can",
        "could",
        "shall",
        "should",
        "may",
        "might",
        "must",
    ]
)
_WORD = re.compile(r"\w+(?:['’\-]\w+)*|[^\w\s]")


class Role(StrEnum):
    """What a token is for. Only CONTENT is read for the heatmap."""

    CONTENT = "content"
    STOP = "stop"
    PLACE = "place"  # left, top, ...: weighs the heatmap by position, see refam.spatial
    MAGNET = "magnet"
    END = "end"


@dataclass(frozen=True)
class Token:
    """One token of the prompt. word: the word it is (part) of, None for special tokens."""

    text: str
    word: str | None
    role: Role


@dataclass(frozen=True)
class Expression:
    """A parsed expression.

    text: what the person wrote, spaces tidied. prompt: with magnets. tokens: one for each position of the text
    encoder's sequence up to the end token (padding is left out).
    """

    text: str
    prompt: str
    tokens: tuple[Token, ...]
    unknown: tuple[str, ...]

    def positions(self, *roles: Role) -> list[int]:
        """Where tokens of these roles are in the sequence."""
        return [i for i, t in enumerate(self.tokens) if t.role in roles]

    def content_words(self) -> list[list[int]]:
        """The positions of each content word's tokens."""
        words: list[list[int]] = []
        for i in self.positions(Role.CONTENT):
            if words and words[-1][-1] == i - 1 and self.tokens[i].word == self.tokens[i - 1].word:
                words[-1].append(i)
            else:
                words.append([i])
        return words


class ExpressionError(ValueError):
    """The expression cannot be grounded; the message says why and what would work."""


def magnets_for(
    text: str, *, stop_magnets: Sequence[str] = STOP_MAGNETS, colours: Sequence[str] = COLOUR_MAGNETS
) -> tuple[str, ...]:
    """The magnets to append: stop words, and a colour that the expression does not name."""
    said = {w.lower() for w in _WORD.findall(text)}
    free = [c for c in colours if c not in said]
    return (*stop_magnets, *free[:1])


def parse(
    text: str,
    tokenizer: Any,
    *,
    max_tokens: int,
    magnets: bool = True,
    stop_filter: bool = True,
    place_words: frozenset[str] = frozenset(),
) -> Expression:
    """Tokenise and give roles.

    tokenizer: a fast transformers tokenizer (it must give character offsets). max_tokens: the text encoder's length,
    end token included. stop_filter False reads every word of the expression. place_words: words that say where.
    Raises ExpressionError when nothing is left to look for, or when the text encoder would cut the expression.
    """
    text = " ".join(text.split())
    if not text:
        raise ExpressionError("the expression is empty; write what to look for, such as: the red car")
    prompt = " ".join([text, *magnets_for(text)]) if magnets else text
    coded = tokenizer(prompt, return_offsets_mapping=True, truncation=False)
    if len(coded["input_ids"]) > max_tokens:
        raise ExpressionError(
            f"the expression {text[:60]!r} has {len(coded['input_ids'])} tokens with its magnets, but this model reads "
            f"{max_tokens}; say it in fewer words"
        )
    words = [(m.group().lower(), m.start(), m.end()) for m in _WORD.finditer(prompt)]
    tokens: list[Token] = []
    known: dict[str, bool] = {}  # a word of which some part is known can still guide
    pieces = tokenizer.convert_ids_to_tokens(coded["input_ids"])
    for piece, token_id, (start, end) in zip(pieces, coded["input_ids"], coded["offset_mapping"], strict=True):
        word = _word_at(words, start, end)
        role = Role.END if word is None else _role(word, len(text), stop_filter, place_words)
        tokens.append(Token(piece, word[0] if word else None, role))
        if word and role is Role.CONTENT:
            says = token_id != tokenizer.unk_token_id and bool(piece.strip("▁ "))
            known[word[0]] = known.get(word[0], False) or says
    if not known:
        raise ExpressionError(f"{text!r} names nothing to look for; add a noun, such as: the red car")
    unknown = tuple(w for w, is_known in known.items() if not is_known)
    if len(unknown) == len(known):
        raise ExpressionError(
            f"the model in use knows none of the words {', '.join(map(repr, unknown))}; use words that it knows, "
            "a model that knows more, or a box or a point instead of words"
        )
    return Expression(text, prompt, tuple(tokens), unknown)


def _word_at(words: Sequence[tuple[str, int, int]], start: int, end: int) -> tuple[str, int, int] | None:
    """The word that shares most characters with [start, end); a lone space mark belongs to the word after it."""
    if start == end:
        return None
    shared = [(min(end, e) - max(start, s), w) for w in words for s, e in [w[1:]]]
    most, word = max(shared, key=lambda pair: pair[0])
    if most > 0:
        return word
    return next((w for w in words if w[1] >= end), None)


def _role(word: tuple[str, int, int], text_end: int, stop_filter: bool, place_words: frozenset[str]) -> Role:
    name, start, _ = word
    if start >= text_end:
        return Role.MAGNET
    if name in place_words:
        return Role.PLACE
    if stop_filter and (name in STOP_WORDS or not any(c.isalnum() for c in name)):
        return Role.STOP
    return Role.CONTENT
