"""A group of two grounders: each expression goes to the member that knows its words, and only that one is loaded."""

from __future__ import annotations

import numpy as np
import pytest

from refam.backbones.word_reader import GroupReader, WordReader
from refam.grounder import Grounder, GroundingError, GroundingOptions
from refam.grounder_group import GrounderGroup
from refam.reading import Reading
from refam.tiny.model import build_tokenizer


@pytest.fixture
def group(random_backbone):
    """The members are one random backbone; their readers know different shapes."""
    loads: list[str] = []

    def load(name):
        loads.append(name)
        return Grounder(random_backbone)

    readers = {
        "shapes": WordReader(build_tokenizer(("the", "red", "blue", "circle", "star")), max_tokens=24),
        "photos": WordReader(build_tokenizer(("the", "square")), max_tokens=24),
    }
    made = GrounderGroup("both@1", GroupReader(readers), {n: lambda n=n: load(n) for n in readers})
    return made, loads


def test_heatmaps_come_in_the_order_of_the_expressions(group, random_backbone):
    made, loads = group
    frames = [np.full((32, 48, 3), value, np.uint8) for value in (40, 200)]
    words = ["the red circle", "the square", "the blue star"]
    rows = made.ground(frames, words, indices=[3, 7])
    alone = Grounder(random_backbone)
    for text, row in zip(words, rows, strict=True):
        (expected,) = alone.ground(frames, [text], indices=[3, 7])
        assert [h.frame for h in row] == [3, 7]
        assert all((a.grid == b.grid).all() for a, b in zip(row, expected, strict=True))
    assert loads == ["shapes", "photos"]


def test_progress_is_called_after_each_expression_so_that_a_long_list_can_be_ended(group):
    made, _ = group
    frames, words = [np.full((32, 48, 3), 40, np.uint8)], ["the red circle", "the square", "the blue star", "the star"]
    shares = []
    made.ground(frames, words, progress=shares.append)
    assert shares == [0.25, 0.5, 0.75, 1.0]

    def end(share):
        raise InterruptedError(share)

    with pytest.raises(InterruptedError, match=r"0\.25"):
        made.ground(frames, words, progress=end)


def test_the_name_says_how_attention_is_read(group):
    made, _ = group
    reading = Reading(prototypes=0.1)
    changed = made.with_options(GroundingOptions(reading=reading))
    assert changed.name == f"both@1{reading.version_suffix}"
    assert changed.for_words("the square").options.reading == reading
    assert changed.with_options(GroundingOptions()).name == made.name == "both@1"


def test_only_the_member_that_the_words_choose_is_loaded_and_once(group):
    made, loads = group
    assert made.for_words("the square") is made.for_words("the square")
    assert loads == ["photos"]
    with pytest.raises(GroundingError, match="unicorn"):
        made.for_words("the unicorn")
    assert loads == ["photos"]
