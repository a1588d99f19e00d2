"""Statements about drawn scenes are what they say they are, read from the objects themselves."""

from __future__ import annotations

import numpy as np
import pytest

from refam.tiny.heldout import CHOICE_SEED, HELD_OUT_SEED
from refam.tiny.scenes import COLOURS, SHAPES, TEXTURES, Scene, SceneObject
from refam.tiny.statements import ABSENT_KINDS, PRESENT, sample_statements, stated_scenes


def matches(text: str, scene: Scene) -> tuple[int, ...]:
    """Which objects have every attribute that a text names."""
    words = [w for w in text.split() if w in (*COLOURS, *SHAPES, *TEXTURES)]
    assert words
    return tuple(i for i, o in enumerate(scene.objects) if set(words) <= {o.colour, o.shape, o.texture})


def test_statements_are_true_or_absent_as_their_kind_says() -> None:
    seen = set()
    for stated in stated_scenes(60, 5):
        colours, shapes = ({getattr(o, name) for o in stated.scene.objects} for name in ("colour", "shape"))
        for statement in stated.statements:
            assert matches(statement.text, stated.scene) == statement.objects
            assert statement.is_present == bool(statement.objects) == (statement.kind == PRESENT)
            words = set(statement.text.split())
            has_colour, has_shape = bool(words & colours), bool(words & shapes)
            expected = {"colour": (False, True), "shape": (True, False), "both": (False, False), "noun": (False, False)}
            assert (has_colour, has_shape) == expected.get(statement.kind, (has_colour, has_shape))
            if statement.kind in ("pair", "texture"):
                assert has_colour
                assert has_shape
            seen.add(statement.kind)
    assert seen == {PRESENT, *ABSENT_KINDS}


def test_scenes_depend_on_the_seed_alone_and_have_one_to_four_objects() -> None:
    first = list(stated_scenes(24, 9))
    again = list(stated_scenes(8, 9))
    for a, b in zip(first, again, strict=False):
        assert a.statements == b.statements
        np.testing.assert_array_equal(a.picture, b.picture)
        assert len(a.masks) == len(a.scene.objects)
    assert {len(stated.scene.objects) for stated in first} == {1, 2, 3, 4}
    chosen, held_out = (next(stated_scenes(1, seed)) for seed in (CHOICE_SEED, HELD_OUT_SEED))
    assert chosen.scene != held_out.scene


@pytest.mark.parametrize("count", [1, 6])
def test_kinds_that_a_scene_does_not_allow_are_left_out(count: int) -> None:
    shapes = SHAPES[:count]
    objects = tuple(SceneObject("red", shape, "plain", "large", 10, 10, 10) for shape in shapes)
    kinds = {s.kind for s in sample_statements(np.random.default_rng(0), Scene((64, 64), objects, "grey", 1))}
    left_out = {"pair"} if count == 1 else {"pair", "shape", "both", "noun"}
    assert kinds == {PRESENT, *ABSENT_KINDS} - left_out
