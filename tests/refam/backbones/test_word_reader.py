"""Words read by the tokenizer alone, against the backbones of every family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from refam.backbones import Backbone, BackboneError
from refam.backbones.word_reader import open_word_reader
from refam.grounder import Grounder
from refam.text.expression import ExpressionError, TokenRole
from tests.refam.backbones.pipelines import ALL

EXPRESSIONS = (
    "the red star",
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


def test_what_is_not_here_is_refused_unless_it_may_be_fetched() -> None:
    with pytest.raises(BackboneError, match=r"not on this machine.*refam models pull flux-dev"):
        open_word_reader("flux-dev")
    assert open_word_reader("flux-dev", download=True) is None
    with pytest.raises(BackboneError, match="there is no backbone 'flax'"):
        open_word_reader("flax")
