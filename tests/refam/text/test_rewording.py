"""What is said of replaced words: only of those that guide the search."""

from __future__ import annotations

import pytest

from refam.text.expression import UnknownWordsError, parse_expression
from refam.text.rewording import Rewording, parse_reworded
from refam.tiny.model import build_tokenizer


@pytest.mark.parametrize(
    ("written", "text", "read_as", "note"),
    [
        ("the  puppy", "the dog", (("puppy", "dog"),), 'The model has a smaller vocabulary: "puppy" is read as "dog".'),
        ("the dog", "the dog", (), ""),
        ("a dog beside the jeep", "a dog beside the car", (("jeep", "car"),), ""),
        (
            "the red puppy beside the jeep",
            "the red dog beside the car",
            (("puppy", "dog"), ("jeep", "car")),
            'The model has a smaller vocabulary: "puppy" is read as "dog".',
        ),
    ],
)
def test_the_note_names_the_words_that_are_looked_for(written, text, read_as, note):
    tokenizer = build_tokenizer(("a", "the", "red", "dog", "car", "beside", "and"))
    restored = parse_reworded(written, lambda _: Rewording(text, read_as), tokenizer, max_tokens=24)
    assert restored.text == " ".join(written.split())
    assert restored.note == note
    assert restored.tokens == parse_expression(text, tokenizer, max_tokens=24).tokens


@pytest.mark.parametrize(
    ("text", "torn", "unknown", "looked_for"),
    [
        ("the light blue car", ("light",), ("light",), {"blue", "car"}),
        ("the light blue car", (), (), {"light", "blue", "car"}),
    ],
)
def test_torn_words_are_not_looked_for(text, torn, unknown, looked_for):
    tokenizer = build_tokenizer(("a", "the", "light", "blue", "car"))
    parsed = parse_reworded(text, lambda t: Rewording(t, torn=torn), tokenizer, max_tokens=24)
    assert parsed.unknown == unknown
    assert {parsed.tokens[i].word for positions in parsed.content_words() for i in positions} == looked_for


def test_a_torn_head_is_refused():
    tokenizer = build_tokenizer(("a", "the", "machine", "car"))
    with pytest.raises(UnknownWordsError, match="knows none of the words 'machine'"):
        parse_reworded("the machine", lambda t: Rewording(t, torn=("machine",)), tokenizer, max_tokens=24)


@pytest.mark.parametrize(
    ("vocabulary", "text", "prompt"),
    [
        (("the", "grey", "dog", "."), "the gray dog", "the grey dog"),
        (("the", "grey", "dog", "."), "the Grayish dog", "the Greyish dog"),
        (("the", "grey", "dog", "."), "the gray-haired dog", "the grey-haired dog"),
        (("the", "grey", "gray", "dog", "."), "the gray dog", "the gray dog"),
        (("the", "dog", "."), "the gray dog", "the gray dog"),
        (("the", "grey", "dog", "."), "the grayling dog", "the grayling dog"),
    ],
)
def test_grey_has_two_spellings(vocabulary, text, prompt):
    parsed = parse_reworded(text, Rewording, build_tokenizer(vocabulary), max_tokens=32, magnets=None)
    assert (parsed.text, parsed.prompt) == (text, prompt)
