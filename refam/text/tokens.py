"""The tokens of a prompt: which word each belongs to, by its characters, and which words the tokenizer lacks."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from refam.text.lexicon import (
    APPEARANCE_WORDS,
    ENDINGS,
    FRAME_WORDS,
    RELATION_WORDS,
    RELATIVE_PRONOUNS,
    STOP_WORDS,
)
from refam.text.word_classes import PLACE_NOUNS
from refam.text.words import Word, split_words

# They say how things stand to each other or to the frame, which no model reads from the words themselves.
GRAMMAR_WORDS = STOP_WORDS | RELATION_WORDS | APPEARANCE_WORDS | RELATIVE_PRONOUNS | FRAME_WORDS | PLACE_NOUNS


class TokenRole(StrEnum):
    """What a token is for. The maps of CONTENT and HEAD make the heatmap; all others are dropped."""

    CONTENT = "content"
    HEAD = "head"  # of the head noun
    STOP = "stop"  # of a stop word
    FILLER = "filler"  # of what names nothing: "please", "a group of", see refam.text.instructions and .partitives
    QUANTITY = "quantity"  # of a number or a quantifier such as "every", see refam.text.quantity
    PLACE = "place"  # of a spatial cue such as "left", see refam.text.spatial
    SIZE = "size"  # of a spatial cue such as "small"
    MOTION = "motion"  # of a direction of movement such as "turning left", see refam.text.motion
    OTHER = "other"  # of what is said about another thing
    MAGNET = "magnet"
    END = "end"


@dataclass(frozen=True)
class Token:
    """One token of the prompt.

    Attributes:
        text: The piece, as the tokenizer writes it.
        word: The word that it belongs to; None for special tokens.
        role: What the token is for.
        word_index: Which word of the prompt that is.
    """

    text: str
    word: str | None
    role: TokenRole
    word_index: int | None = None


def runs_words_together(prompt: str, encoding: Any, tokenizer: Any) -> bool:
    """Whether the tokenizer does not know a piece at a word that another one touches: '"dog"', "dog/cat"."""
    words = split_words(prompt)
    touching = [
        word
        for before, word, after in zip([None, *words], words, [*words[1:], None], strict=False)
        if (before and before.end == word.start) or (after and after.start == word.end)
    ]
    unknown = [
        span
        for token_id, span in zip(encoding["input_ids"], encoding["offset_mapping"], strict=True)
        if token_id == tokenizer.unk_token_id
    ]
    return any(start < word.end and word.start < end for start, end in unknown for word in touching)


def assign_tokens(
    tokenizer: Any, encoding: Any, words: Sequence[Word], roles: Sequence[TokenRole]
) -> tuple[Token, ...]:
    """Give each token of a prompt the word that it belongs to, and that word's role.

    Args:
        tokenizer: What made the tokens.
        encoding: Its output, with the offsets of the tokens' characters.
        words: The prompt's words.
        roles: One for each word.
    """
    pieces = tokenizer.convert_ids_to_tokens(encoding["input_ids"])
    tokens = []
    for piece, (start, end) in zip(pieces, encoding["offset_mapping"], strict=True):
        at = _find_word(words, start, end)
        if at is None:
            tokens.append(Token(piece, None, TokenRole.END))
        else:
            tokens.append(Token(piece, words[at].text, roles[at], at))
    return tuple(tokens)


def _find_word(words: Sequence[Word], start: int, end: int) -> int | None:
    """Index of the word that shares most characters with [start, end); a lone space mark belongs to the next word."""
    if start == end:  # special tokens
        return None
    shared = [min(end, w.end) - max(start, w.start) for w in words]
    most = max(range(len(words)), key=shared.__getitem__)
    if shared[most] > 0:
        return most
    return next((i for i, w in enumerate(words) if w.start >= end), None)


def find_unknown_words(
    words: Sequence[Word], roles: Sequence[TokenRole], encoding: Any, tokenizer: Any, torn: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the words of which the tokenizer does not have enough to mean what was written.

    "circles" is a circle where only its s is not known; "starfish" is no star, and "red-dog" is not red.

    Args:
        words: The expression's words.
        roles: One for each word.
        encoding: Of the prompt, which begins with the expression.
        tokenizer: What made it.
        torn: Words that it has, but that mean nothing to the model on their own.
    """
    pieces = tokenizer.convert_ids_to_tokens(encoding["input_ids"])
    known = [
        span
        for piece, token_id, span in zip(pieces, encoding["input_ids"], encoding["offset_mapping"], strict=True)
        if token_id != tokenizer.unk_token_id and piece.strip("▁Ġ ")
    ]
    unknown = [
        word.text
        for word, role in zip(words, roles, strict=True)
        if _has_meaning(word.text, role) and (word.text in torn or not _is_known(word, known))
    ]
    return tuple(dict.fromkeys(unknown))


def _is_known(word: Word, known: Sequence[tuple[int, int]]) -> bool:
    """Whether a word is made of known pieces but for an ending. known: characters of all known pieces."""
    covered = {i for start, end in known for i in range(max(start, word.start), min(end, word.end))}
    missing = [i for i in range(word.start, word.end) if i not in covered and word.text[i - word.start].isalnum()]
    if not covered or not missing:
        return bool(covered)
    stem, rest = word.text[: missing[0] - word.start], word.text[missing[0] - word.start :]
    return rest in ENDINGS and stem not in STOP_WORDS  # "driver" is no river, and "anything" no thing


def _has_meaning(word: str, role: TokenRole) -> bool:
    """Return whether people must be told if the model does not know a word."""
    if role in (TokenRole.PLACE, TokenRole.SIZE, TokenRole.MOTION, TokenRole.FILLER, TokenRole.QUANTITY):
        return False  # these are not read
    if role in (TokenRole.CONTENT, TokenRole.HEAD):
        return True
    is_sign = any(c.isalnum() or unicodedata.category(c).startswith("S") for c in word)  # "S": symbols
    return is_sign and word not in GRAMMAR_WORDS
