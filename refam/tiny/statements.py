"""Expressions of which it is known whether a drawn scene has what they name, and if not, what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from refam.tiny.heldout import EXTENTS, picture_size
from refam.tiny.scenes import COLOURS, SHAPES, TEXTURES, Scene, draw_scene, random_scene

PRESENT = "present"
ABSENT_KINDS = {
    "colour": "a colour that nothing has",
    "shape": "a shape that nothing has",
    "both": "a colour and a shape that nothing has",
    "pair": "colour and shape of different things",
    "noun": "the shape alone, which nothing has",
    "texture": "another texture",
}
"""What is wrong with an expression whose object is not there."""


@dataclass(frozen=True)
class Statement:
    """An expression about a scene.

    Attributes:
        text: The expression.
        kind: `PRESENT`, or one of `ABSENT_KINDS`.
        objects: Indices of the objects that it is true of; none if it is absent.
    """

    text: str
    kind: str
    objects: tuple[int, ...] = ()

    @property
    def is_present(self) -> bool:
        """Whether the scene has what the expression names."""
        return self.kind == PRESENT


@dataclass(frozen=True, eq=False)
class StatedScene:
    """A picture and statements about it.

    Attributes:
        scene: What is drawn.
        picture: (h, w, 3) uint8 RGB.
        masks: (K, h, w) bool, of all objects.
        statements: Some that are true, and one of each kind of absence that the scene allows.
    """

    scene: Scene
    picture: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    statements: tuple[Statement, ...]


def sample_statements(rng: np.random.Generator, scene: Scene) -> tuple[Statement, ...]:
    """Sample statements about a scene: three that are true, by shape, by colour, and by texture; then the absent ones.

    Args:
        rng: Source of randomness.
        scene: With at least one object, and with fewer colours than there are.
    """

    def pick(values: Sequence[str]) -> str:
        return str(rng.choice(list(values)))

    def write(*words: str) -> str:
        return " ".join([pick(("the", "a")), *words])

    def true_of(**attributes: str) -> tuple[int, ...]:
        return tuple(
            i for i, o in enumerate(scene.objects) if all(getattr(o, name) == v for name, v in attributes.items())
        )

    found = []
    for names in (("shape",), ("colour", "shape"), ("texture", "colour", "shape")):
        chosen = scene.objects[int(rng.integers(len(scene.objects)))]
        attributes = {name: str(getattr(chosen, name)) for name in names}
        found.append(Statement(write(*attributes.values()), PRESENT, true_of(**attributes)))
    colours, shapes = ({str(getattr(o, name)) for o in scene.objects} for name in ("colour", "shape"))
    no_colours, no_shapes = sorted(set(COLOURS) - colours), sorted(set(SHAPES) - shapes)
    found.append(Statement(write(pick(no_colours), pick(sorted(shapes))), "colour"))
    if no_shapes:
        found.append(Statement(write(pick(sorted(colours)), pick(no_shapes)), "shape"))
        found.append(Statement(write(pick(no_colours), pick(no_shapes)), "both"))
        found.append(Statement(write(pick(no_shapes)), "noun"))
    pairs = [f"{c} {s}" for c in sorted(colours) for s in sorted(shapes) if not true_of(colour=c, shape=s)]
    if pairs:
        found.append(Statement(write(pick(pairs)), "pair"))
    other = scene.objects[int(rng.integers(len(scene.objects)))]
    textures = [t for t in TEXTURES if not true_of(texture=t, colour=other.colour, shape=other.shape)]
    if textures:
        found.append(Statement(write(pick(textures), other.colour, other.shape), "texture"))
    return tuple(found)


def stated_scenes(count: int, seed: int) -> Iterator[StatedScene]:
    """Yield `count` pictures of one to four objects, which depend on the seed alone; more begin with the same ones."""
    rng = np.random.default_rng([seed, 2])
    for i in range(count):
        extent = EXTENTS[i % len(EXTENTS)]
        scene = sample_scene(rng, extent)
        picture, masks = draw_scene(scene, picture_size(extent))
        yield StatedScene(scene, picture, masks, sample_statements(rng, scene))


def sample_scene(rng: np.random.Generator, extent: tuple[float, float]) -> Scene:
    """Sample a scene of one to four objects; in half of them two share their colour or their shape."""
    count = int(rng.integers(1, 5))
    shared = str(rng.choice(["colour", "shape", "", ""]))
    return random_scene(
        rng,
        extent=extent,
        count=count,
        vary=lambda o, before: replace(o, **{shared: getattr(before[0], shared)}) if shared and before else o,
    )
