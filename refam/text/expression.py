"""Words -> tokens with roles.

A referring expression gets attention magnets appended (RefAM, section on attention magnets: stop words and a colour
word that the scene does not have), is tokenised once, and every token is given the word it belongs to by character
offsets, so that sub-words, hyphens and punctuation need no guessing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import regex

from refam.text.lexicon import STOP_WORDS
from refam.text.magnets import Magnets
from refam.text.noun_phrase import Ignored, NounPhrase, read_phrase
from refam.text.spatial import Cue, CueKind, read_cues
from video.errors import UserError

# A word with the marks of its letters ("é" in two characters, vowels of Hindi); else one visible character (an emoji).
_WORD = regex.compile(r"\w[\w\p{M}\u200c\u200d]*(?:['’\-][\w\p{M}]+)*|(?=\S)\X")


class Role(StrEnum):
    """What a token is for. CONTENT and HEAD are read for the heatmap."""

    CONTENT = "content"
    HEAD = "head"  # of the noun that names the thing
    STOP = "stop"
    PLACE = "place"  # left, top, ...: chooses among candidates, see refam.text.spatial
    SIZE = "size"  # small, biggest, ...: the same
    OTHER = "other"  # of what is said about another thing
    MAGNET = "magnet"
    END = "end"


@dataclass(frozen=True)
class Token:
    """One token of the prompt. word: the word it is (part) of, None for special tokens; number: which word that is."""

    text: str
    word: str | None
    role: Role
    number: int | None = None


@dataclass(frozen=True)
class Word:
    """One word of a prompt, lower case. start, end: its characters."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Expression:
    """A parsed expression.

    text: what the person wrote, spaces tidied. prompt: with magnets. tokens: one for each position of the text
    encoder's sequence up to the end token (padding is left out). unknown: words that the tokenizer does not have.
    cues: words of place and size; they choose among candidates. ignored: what is said of other things, which does not
    guide the search, with a sentence each. note: what else should be known about how the words were read, or "".
    """

    text: str
    prompt: str
    tokens: tuple[Token, ...]
    unknown: tuple[str, ...]
    cues: tuple[Cue, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    note: str = ""

    def positions(self, *roles: Role) -> list[int]:
        """Where tokens of these roles are in the sequence."""
        return [i for i, t in enumerate(self.tokens) if t.role in roles]

    def content_words(self) -> list[list[int]]:
        """The positions of the tokens of each word that is read for the heatmap."""
        words: list[list[int]] = []
        for i in self.positions(Role.CONTENT, Role.HEAD):
            token, last = self.tokens[i], self.tokens[words[-1][-1]] if words else None
            if last is not None and (last.number, last.word) == (token.number, token.word):
                words[-1].append(i)
            else:
                words.append([i])
        return words


class ExpressionError(UserError):
    """The expression cannot be grounded; the message says why and what would work."""


def words_of(text: str) -> list[Word]:
    """The words of a text, punctuation as words of its own. A hyphen or an apostrophe inside a word belongs to it."""
    return [Word(m.group().lower(), m.start(), m.end()) for m in _WORD.finditer(text)]


def parse(
    text: str,
    tokenizer: Any,
    *,
    max_tokens: int,
    magnets: Magnets | None = Magnets(),  # noqa: B008 - frozen
    stop_filter: bool = True,
    spatial_bias: bool = True,
    noun_phrase: bool = True,
) -> Expression:
    """Tokenise and give roles.

    tokenizer: a fast transformers tokenizer (it must give character offsets). max_tokens: the text encoder's length,
    end token included. magnets: None appends none. stop_filter False reads every word of the expression. spatial_bias
    False takes words of place and size for words like any other. noun_phrase False looks for other things that are
    named, too; so does an expression in which no head noun is found, which its `note` says.
    Raises ExpressionError when nothing is left to look for, or when the text encoder would cut the expression.
    """
    text = " ".join(text.split())
    if not text:
        raise ExpressionError("the expression is empty; write what to look for, such as: the red car")
    prompt = " ".join([text, *magnets.beside(w.text for w in words_of(text))]) if magnets else text
    coded = tokenizer(prompt, return_offsets_mapping=True, truncation=False)
    if len(coded["input_ids"]) > max_tokens:
        raise ExpressionError(
            f"the expression {text[:60]!r} has {len(coded['input_ids'])} tokens with its magnets, but this model reads "
            f"{max_tokens}; say it in fewer words"
        )
    words = words_of(prompt)
    count = sum(w.start < len(text) for w in words)
    said = [w.text for w in words[:count]]
    cues = read_cues(said) if spatial_bias else ()
    phrase = read_phrase(said, read_cues(said)) if noun_phrase else None  # words of place are in no noun phrase
    if phrase is not None:
        cues = tuple(cue for cue in cues if phrase.cue.issuperset(cue.words))
    left_out = phrase.left_out(len(said)) if phrase else frozenset()
    roles = [_role(i, word, phrase, left_out, stop_filter=stop_filter) for i, word in enumerate(said)]
    for cue in cues:
        for i in cue.words:
            roles[i] = Role.SIZE if cue.kind is CueKind.SIZE else Role.PLACE
    roles += [Role.MAGNET] * (len(words) - count)
    tokens = _tokens(tokenizer, coded, words, roles)
    unknown = _unknown(tokens, coded["input_ids"], tokenizer.unk_token_id)
    _check(text, tokens, unknown, cues)
    note = "No head noun was found, so every word is looked for." if noun_phrase and phrase is None else ""
    return Expression(text, prompt, tokens, unknown, cues, tuple(phrase.ignored) if phrase else (), note)


def _role(at: int, word: str, phrase: NounPhrase | None, left_out: frozenset[int], *, stop_filter: bool) -> Role:
    if phrase is not None and at == phrase.head:
        return Role.HEAD
    if _says_nothing(word):
        return Role.STOP if stop_filter else Role.CONTENT
    return Role.OTHER if at in left_out else Role.CONTENT


def _says_nothing(word: str) -> bool:
    letters = any(c.isalnum() or unicodedata.category(c) == "So" for c in word)  # "So": emoji and other symbols
    return word in STOP_WORDS or not letters


def _tokens(tokenizer: Any, coded: Any, words: Sequence[Word], roles: Sequence[Role]) -> tuple[Token, ...]:
    pieces = tokenizer.convert_ids_to_tokens(coded["input_ids"])
    tokens = []
    for piece, (start, end) in zip(pieces, coded["offset_mapping"], strict=True):
        at = _word_at(words, start, end)
        if at is None:
            tokens.append(Token(piece, None, Role.END))
        else:
            tokens.append(Token(piece, words[at].text, roles[at], at))
    return tuple(tokens)


def _word_at(words: Sequence[Word], start: int, end: int) -> int | None:
    """The word that shares most characters with [start, end); a lone space mark belongs to the word after it."""
    if start == end:  # special tokens
        return None
    shared = [min(end, w.end) - max(start, w.start) for w in words]
    most = max(range(len(words)), key=shared.__getitem__)
    if shared[most] > 0:
        return most
    return next((i for i, w in enumerate(words) if w.start >= end), None)


def _unknown(tokens: Sequence[Token], ids: Sequence[int], unknown_id: int | None) -> tuple[str, ...]:
    """Words to look for of which no part is known: a word of which some part is can still guide."""
    known: dict[str, bool] = {}
    for token, token_id in zip(tokens, ids, strict=True):
        if token.word is not None and token.role in (Role.CONTENT, Role.HEAD):
            says = token_id != unknown_id and bool(token.text.strip("▁Ġ "))
            known[token.word] = known.get(token.word, False) or says
    return tuple(word for word, is_known in known.items() if not is_known)


def _check(text: str, tokens: Sequence[Token], unknown: Sequence[str], cues: Sequence[Cue]) -> None:
    looked_for = {t.word for t in tokens if t.role in (Role.CONTENT, Role.HEAD)}
    if not looked_for and cues:
        said = ", ".join(repr(c.said) for c in cues)
        raise ExpressionError(f"{text!r} names nothing to look for, only where or how large ({said}); add a noun, such "
                              "as: the red car on the left")  # fmt: skip
    if not looked_for:
        raise ExpressionError(f"{text!r} names nothing to look for; add a noun, such as: the red car")
    if looked_for == set(unknown):
        raise ExpressionError(
            f"the model in use knows none of the words {', '.join(map(repr, unknown))}; use words that it knows, "
            "a model that knows more, or a box or a point instead of words"
        )
