"""Words read by the tokenizer alone, against the backbones of every family."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from refam.backbones import Backbone, BackboneError
from refam.backbones.word_reader import open_word_reader
from refam.grounder import Grounder
from refam.grounder_loading import load_grounder
from refam.text.expression import ExpressionError
from refam.text.tokens import TokenRole
from tests.refam.backbones.pipelines import ALL

EXPRESSIONS = (
    "the red star",
    "The RED Star",
    "the small ring on the left",
    "two zebras near the blue circle",
    "🟣",
    "it",
    "of the",
    "",
)
NO_ROLE = (TokenRole.END,)


def read(parse, text):
    """What a reader makes of a text: the words and roles of its tokens and the unknown words, or why nothing."""
    try:
        expression = parse(text)
    except ExpressionError as error:
        return str(error)
    tokens = [(t.text, t.word, t.role) for t in expression.tokens if t.role not in NO_ROLE]
    return tokens, expression.unknown, expression.cues


@pytest.mark.parametrize("name", ALL)
def test_words_are_read_as_the_loaded_backbone_reads_them(
    name: str, saved: Callable[[str], Path], loaded: Callable[[str], Backbone]
) -> None:
    reader, grounder = open_word_reader(str(saved(name))), Grounder(loaded(name))
    assert reader is not None
    for text in EXPRESSIONS:
        assert read(reader.parse, text) == read(grounder.parse, text)


@pytest.mark.parametrize("name", ["tiny", "photos"])
def test_capitals_are_read_as_small_letters_by_the_models_that_ship(name: str) -> None:
    reader, grounder = open_word_reader(name), load_grounder(name, device="cpu")
    assert reader is not None
    plain = {"tiny": "the red star", "photos": "a white car"}[name]
    for text in (
        plain,
        plain.title(),
        plain.upper(),
        plain.split()[-1].capitalize(),
        plain.replace("r", "\N{FULLWIDTH LATIN SMALL LETTER R}"),
    ):
        for parsed in (reader.parse(text), grounder.parse(text)):
            assert parsed.unknown == (), text
            heads = {unicodedata.normalize("NFKC", t.word) for t in parsed.tokens if t.role is TokenRole.HEAD}
            assert heads == {plain.split()[-1]}


def test_what_is_not_here_is_refused_unless_it_may_be_fetched() -> None:
    with pytest.raises(BackboneError, match=r"not on this machine.*refam models pull flux-dev"):
        open_word_reader("flux-dev")
    assert open_word_reader("flux-dev", download=True) is None
    with pytest.raises(BackboneError, match="there is no backbone 'flax'"):
        open_word_reader("flax")
