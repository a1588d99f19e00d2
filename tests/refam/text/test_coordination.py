"""Expressions that name several objects are looked for as one, which is said."""

from __future__ import annotations

import pytest

from refam.backbones.presets import DEFAULT_BACKBONE
from refam.backbones.word_reader import open_group


@pytest.fixture(scope="module")
def reader():
    return open_group(DEFAULT_BACKBONE)


@pytest.mark.parametrize(
    ("expression", "is_said"),
    [
        ("the red dog and the blue cat", True),
        ("the dog & the cat", True),
        ("two dogs and three cats", True),
        ("the red circle and a blue star", True),
        ("the dog and another dog", True),
        ("the dog", False),
        ("the black and white dog", False),
        ("the dog that is black and white", False),
        ("the man in a red shirt and a blue hat", False),
        ("the dog between the cat and the tree", False),
        ("and the dog", False),
        ("the man, the dog", True),
        ("the man, a small dog", True),
        ("man, dog", True),
        ("dog, cat and horse", True),
        ("the dog, the cat on the left", True),
        ("the big, red car", False),
        ("the man, on the left", False),
        ("on the left, the man", False),
        ("the car, second from the left", False),
        ("the dog, a brown one", False),
        ("the dog, brown", False),
        ("the man, wearing a hat", False),
        ("the woman, all in red", False),
        ("the dog, please", False),
    ],
)
def test_several_objects_in_one_expression_are_said(expression, is_said, reader):
    notes = reader.parse(expression).notes
    assert any("give each an expression, or part them by ';'" in note for note in notes) == is_said, notes
