"""Language about scenes: the vocabulary, captions for training, and referring expressions for evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from refam.tiny.scenes import COLOURS, SHAPES, SIZES, TEXTURES, TONES, Scene, SceneObject, random_scene

ATTRIBUTES = (*COLOURS, *SHAPES, *TEXTURES, *SIZES)
PLACES = ("left", "right", "top", "bottom", "middle")
OTHER = (
    "a",
    "an",
    "the",
    "with",
    "to",
    "and",
    "of",
    "on",
    "in",
    "at",
    "is",
    "there",
    "next",
    "one",
    "object",
    "background",
)
VOCABULARY = (*ATTRIBUTES, *PLACES, *TONES, *OTHER, ".", ",")
TEXT_LENGTH = 24  # tokens, the end token included; the same for training and for grounding


@dataclass(frozen=True)
class ReferringExpression:
    """An expression that means one object of a scene.

    Attributes:
        text: The expression.
        target: Index of the object in `scene.objects`.
        kind: What tells the object apart, one of `KINDS`.
    """

    text: str
    target: int
    kind: str


def place_words(obj: SceneObject, extent: tuple[float, float]) -> str | None:
    """Return "on the left", "at the top", ... if the object is clearly there, else None."""
    x, y = obj.x / extent[0], obj.y / extent[1]
    if 0.38 < x < 0.62 and 0.38 < y < 0.62:
        return "in the middle"
    sides = [(x, "on the left"), (1 - x, "on the right"), (y, "at the top"), (1 - y, "at the bottom")]
    distance, words = min(sides)
    return words if distance < 0.33 else None


def _phrase(obj: SceneObject, scene: Scene, rng: np.random.Generator, *, colour: bool, everything: bool) -> str:
    words = [rng.choice(["a", "the"])]
    if everything or rng.random() < 0.55:
        words.append(obj.size)
    if everything or rng.random() < (0.85 if obj.texture != "plain" else 0.3):
        words.append(obj.texture)
    if everything or colour:
        words.append(obj.colour)
    words.append(obj.shape)
    place = place_words(obj, scene.extent)
    if not everything and place and rng.random() < 0.15:
        words.append(place)
    return " ".join(words)


def caption(scene: Scene, rng: np.random.Generator, *, everything: bool = False) -> str:
    """Write a caption of a scene.

    A third of the captions name no colour; otherwise colour alone would explain the picture, and nouns would not be
    learnt.

    Args:
        scene: The scene.
        rng: Source of randomness.
        everything: Name all attributes of all objects, instead of some.
    """
    order = list(rng.permutation(len(scene.objects)))
    if not everything and rng.random() < 0.2:
        order = order[: int(rng.integers(1, len(order) + 1))]
    colour = bool(rng.random() > 0.33)
    text = ""
    for k, index in enumerate(order):
        phrase = _phrase(scene.objects[index], scene, rng, colour=colour, everything=everything)
        text += (str(rng.choice([",", " and", " with", " next to"])) + " " if k else "") + phrase
    if not everything and rng.random() < 0.2:
        text += f" on a {scene.tone} background"
    return text + (" ." if rng.random() < 0.5 else "")


def sample_training_scene(rng: np.random.Generator, extent: tuple[float, float], counts: Sequence[int]) -> Scene:
    """Sample a scene for training.

    In about half of them the objects share attributes, so that each kind of word matters.
    """
    shared = rng.random(4) < (0.12, 0.2, 0.3, 0.15) if rng.random() < 0.6 else np.zeros(4, bool)

    def vary(obj: SceneObject, before: list[SceneObject]) -> SceneObject:
        if not before:
            return obj
        first = before[0]
        return replace(
            obj,
            size=first.size if shared[0] else obj.size,
            texture=first.texture if shared[1] else obj.texture,
            colour=first.colour if shared[2] else obj.colour,
            shape=first.shape if shared[3] else obj.shape,
        )

    return random_scene(rng, extent=extent, count=int(rng.choice(counts)), vary=vary)


# --- evaluation ------------------------------------------------------------------------------------------------------

KINDS = {"colour": 0.55, "shape": 0.15, "size": 0.08, "texture": 0.08, "colour+shape": 0.08, "place": 0.06}
"""What tells the target apart, and how often a held-out scene is of that kind."""


def _another(rng: np.random.Generator, values: Sequence[str], than: str) -> str:
    return str(rng.choice([v for v in values if v != than]))


def _distractor(kind: str, target: SceneObject, obj: SceneObject, index: int, rng: np.random.Generator) -> SceneObject:
    """`obj` changed so that words of this kind, and no others, tell the target from it."""
    if kind == "colour":
        return replace(obj, colour=_another(rng, list(COLOURS), target.colour))
    if kind == "shape":
        same = replace(obj, colour=target.colour) if index == 0 or rng.random() < 0.5 else obj
        return replace(same, shape=_another(rng, SHAPES, target.shape))
    if kind == "colour+shape":
        if index % 2:
            return replace(obj, colour=_another(rng, list(COLOURS), target.colour), shape=target.shape)
        return replace(obj, colour=target.colour, shape=_another(rng, SHAPES, target.shape))
    if index > 0:  # one look-alike is enough; the rest differ in colour
        return replace(obj, colour=_another(rng, list(COLOURS), target.colour))
    lookalike = replace(obj, colour=target.colour, shape=target.shape, texture=target.texture, size=target.size)
    if kind == "size":
        return replace(lookalike, size=_another(rng, list(SIZES), target.size))
    if kind == "texture":
        return replace(lookalike, texture=_another(rng, TEXTURES, target.texture))
    return lookalike


def _write_expression(kind: str, target: SceneObject, scene: Scene, rng: np.random.Generator) -> str:
    words = [target.colour, target.shape]
    if kind == "colour" and rng.random() < 0.25:
        words = [str(rng.choice([target.size, target.texture])), *words]
    elif kind == "shape" and rng.random() < 0.5 and sum(t.shape == target.shape for t in scene.objects) == 1:
        words = [target.shape]
    elif kind == "size":
        words = [target.size, *words]
    elif kind == "texture":
        words = [target.texture, *words]
    elif kind == "place":
        words = [*words, str(place_words(target, scene.extent))]
    return " ".join([str(rng.choice(["the", "a"])), *words])


def _is_unambiguous(kind: str, scene: Scene) -> bool:
    """Whether the expression can mean one object: of kind "place", the look-alike must be in another place."""
    if len(scene.objects) < (3 if kind == "colour+shape" else 2):
        return False
    if kind != "place":
        return True
    target, lookalike = scene.objects[:2]
    here, there = (place_words(t, scene.extent) for t in (target, lookalike))
    if here is None or there == here:
        return False
    axis = {"left": "x", "right": "x", "top": "y", "bottom": "y"}.get(here.split()[-1])
    if axis is None:
        return True
    side = scene.extent[0 if axis == "x" else 1]
    return bool(abs(getattr(target, axis) - getattr(lookalike, axis)) > 0.25 * side)


def sample_referring_scene(rng: np.random.Generator, extent: tuple[float, float]) -> tuple[Scene, ReferringExpression]:
    """Sample a scene of 2 to 4 objects with an expression that means exactly one of them."""
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))

    def vary(obj: SceneObject, before: list[SceneObject]) -> SceneObject:
        return _distractor(kind, before[0], obj, len(before) - 1, rng) if before else obj

    while True:
        count = int(rng.integers(3 if kind == "colour+shape" else 2, 5))
        scene = random_scene(rng, extent=extent, count=count, vary=vary)
        if _is_unambiguous(kind, scene):
            break
    order = rng.permutation(len(scene.objects))  # the target must not always be drawn first
    text = _write_expression(kind, scene.objects[0], scene, rng)
    shuffled = replace(scene, objects=tuple(scene.objects[i] for i in order))
    return shuffled, ReferringExpression(text, int(np.flatnonzero(order == 0)[0]), kind)
