"""What is said about scenes: the vocabulary, captions (for training) and referring expressions (for judging)."""

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
    """An expression, the thing it means (its place in scene.things) and what tells that thing apart."""

    text: str
    target: int
    kind: str


def place_words(thing: SceneObject, extent: tuple[float, float]) -> str | None:
    """ "on the left", "at the top", ... when the thing is plainly there, else None."""
    x, y = thing.x / extent[0], thing.y / extent[1]
    if 0.38 < x < 0.62 and 0.38 < y < 0.62:
        return "in the middle"
    sides = [(x, "on the left"), (1 - x, "on the right"), (y, "at the top"), (1 - y, "at the bottom")]
    distance, words = min(sides)
    return words if distance < 0.33 else None


def _phrase(thing: SceneObject, scene: Scene, rng: np.random.Generator, *, colour: bool, everything: bool) -> str:
    say = [rng.choice(["a", "the"])]
    if everything or rng.random() < 0.55:
        say.append(thing.size)
    if everything or rng.random() < (0.85 if thing.texture != "plain" else 0.3):
        say.append(thing.texture)
    if everything or colour:
        say.append(thing.colour)
    say.append(thing.shape)
    place = place_words(thing, scene.extent)
    if not everything and place and rng.random() < 0.15:
        say.append(place)
    return " ".join(say)


def caption(scene: Scene, rng: np.random.Generator, *, everything: bool = False) -> str:
    """What a person might write under the picture; everything=True says all of every thing.

    A third of the captions name no colour: else colour alone would explain the picture and nouns stay unread.
    """
    order = list(rng.permutation(len(scene.things)))
    if not everything and rng.random() < 0.2:
        order = order[: int(rng.integers(1, len(order) + 1))]
    colour = bool(rng.random() > 0.33)
    text = ""
    for k, index in enumerate(order):
        phrase = _phrase(scene.things[index], scene, rng, colour=colour, everything=everything)
        text += (str(rng.choice([",", " and", " with", " next to"])) + " " if k else "") + phrase
    if not everything and rng.random() < 0.2:
        text += f" on a {scene.tone} background"
    return text + (" ." if rng.random() < 0.5 else "")


def training_scene(rng: np.random.Generator, extent: tuple[float, float], counts: Sequence[int]) -> Scene:
    """A scene for training: in about half of them the things share attributes, so that each kind of word matters."""
    shared = rng.random(4) < (0.12, 0.2, 0.3, 0.15) if rng.random() < 0.6 else np.zeros(4, bool)

    def vary(thing: SceneObject, before: list[SceneObject]) -> SceneObject:
        if not before:
            return thing
        first = before[0]
        return replace(
            thing,
            size=first.size if shared[0] else thing.size,
            texture=first.texture if shared[1] else thing.texture,
            colour=first.colour if shared[2] else thing.colour,
            shape=first.shape if shared[3] else thing.shape,
        )

    return random_scene(rng, extent=extent, count=int(rng.choice(counts)), vary=vary)


# --- judging ---------------------------------------------------------------------------------------------------------

KINDS = {"colour": 0.55, "shape": 0.15, "size": 0.08, "texture": 0.08, "colour+shape": 0.08, "place": 0.06}
"""What tells the target apart, and how often a held-out scene is of that kind."""


def _other(rng: np.random.Generator, values: Sequence[str], than: str) -> str:
    return str(rng.choice([v for v in values if v != than]))


def _distractor(kind: str, target: SceneObject, thing: SceneObject, turn: int, rng: np.random.Generator) -> SceneObject:
    """`thing` changed so that words of this kind, and no others, tell the target from it."""
    if kind == "colour":
        return replace(thing, colour=_other(rng, list(COLOURS), target.colour))
    if kind == "shape":
        same = replace(thing, colour=target.colour) if turn == 0 or rng.random() < 0.5 else thing
        return replace(same, shape=_other(rng, SHAPES, target.shape))
    if kind == "colour+shape":
        if turn % 2:
            return replace(thing, colour=_other(rng, list(COLOURS), target.colour), shape=target.shape)
        return replace(thing, colour=target.colour, shape=_other(rng, SHAPES, target.shape))
    if turn > 0:  # one look-alike is enough; the rest differ in colour
        return replace(thing, colour=_other(rng, list(COLOURS), target.colour))
    alike = replace(thing, colour=target.colour, shape=target.shape, texture=target.texture, size=target.size)
    if kind == "size":
        return replace(alike, size=_other(rng, list(SIZES), target.size))
    if kind == "texture":
        return replace(alike, texture=_other(rng, TEXTURES, target.texture))
    return alike


def _wording(kind: str, target: SceneObject, scene: Scene, rng: np.random.Generator) -> str:
    words = [target.colour, target.shape]
    if kind == "colour" and rng.random() < 0.25:
        words = [str(rng.choice([target.size, target.texture])), *words]
    elif kind == "shape" and rng.random() < 0.5 and sum(t.shape == target.shape for t in scene.things) == 1:
        words = [target.shape]
    elif kind == "size":
        words = [target.size, *words]
    elif kind == "texture":
        words = [target.texture, *words]
    elif kind == "place":
        words = [*words, str(place_words(target, scene.extent))]
    return " ".join([str(rng.choice(["the", "a"])), *words])


def _tells_apart(kind: str, scene: Scene) -> bool:
    """A scene of kind "place" needs target and look-alike in plainly different places."""
    if len(scene.things) < (3 if kind == "colour+shape" else 2):
        return False
    if kind != "place":
        return True
    target, alike = scene.things[:2]
    here, there = (place_words(t, scene.extent) for t in (target, alike))
    if here is None or there == here:
        return False
    axis = {"left": "x", "right": "x", "top": "y", "bottom": "y"}.get(here.split()[-1])
    if axis is None:
        return True
    side = scene.extent[0 if axis == "x" else 1]
    return bool(abs(getattr(target, axis) - getattr(alike, axis)) > 0.25 * side)


def referral_scene(rng: np.random.Generator, extent: tuple[float, float]) -> tuple[Scene, ReferringExpression]:
    """A scene of 2-4 things with an expression that means exactly one of them."""
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))

    def vary(thing: SceneObject, before: list[SceneObject]) -> SceneObject:
        return _distractor(kind, before[0], thing, len(before) - 1, rng) if before else thing

    while True:
        count = int(rng.integers(3 if kind == "colour+shape" else 2, 5))
        scene = random_scene(rng, extent=extent, count=count, vary=vary)
        if _tells_apart(kind, scene):
            break
    order = rng.permutation(len(scene.things))  # the target must not always be drawn first
    text = _wording(kind, scene.things[0], scene, rng)
    shuffled = replace(scene, things=tuple(scene.things[i] for i in order))
    return shuffled, ReferringExpression(text, int(np.flatnonzero(order == 0)[0]), kind)
