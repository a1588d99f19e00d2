"""Blocks as people write them."""

from __future__ import annotations

import pytest

from refam.backbones.blocks import parse_blocks
from refam.backbones.weights import BackboneError


@pytest.mark.parametrize(
    ("text", "expected"), [("9", (9,)), ("14-17", (14, 15, 16, 17)), ("0,2-3", (0, 2, 3)), ("3-3", (3,)), ("all", None)]
)
def test_blocks_are_written_as_ranges(text, expected):
    assert parse_blocks(text) == expected


@pytest.mark.parametrize(
    "text", ["", "a", "5-3", "-1", "1,,2", "1-2-3", "9" * 5000, "0-99999999999", "\N{ARABIC-INDIC DIGIT THREE}"]
)
def test_other_texts_are_refused(text):
    with pytest.raises(BackboneError, match=r"blocks are numbers and ranges, as in 9 or 14-17 or 0,2-3, or all"):
        parse_blocks(text)
