"""Fixed scenes for evaluation: pictures and clips with an expression whose object is known.

The held-out scenes have seed 20261122, a third each square, 4:3 and 16:9. Whatever is chosen or fitted (blocks, noise
level, ways to sum, the calibration of confidence) uses other scenes, of seed 7. Training used yet other seeds and
another generator.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refam.tiny.language import KINDS, ReferringExpression, sample_referring_scene
from refam.tiny.scenes import Scene, draw_moving_scene, draw_scene, set_in_motion

HELD_OUT_SEED = 20261122
CHOICE_SEED = 7
EXTENTS = ((64.0, 64.0), (85.0, 64.0), (114.0, 64.0))
CLIP_FRAMES, CLIP_EVERY = 29, 4  # 8 frames to ground, with all frames between them for the motion
_PIXELS_PER_UNIT = 2

GROUPS: dict[str, tuple[str, ...]] = {
    "all": tuple(KINDS),
    "colour is unique": ("colour",),
    "only shape, size or texture": ("shape", "size", "texture"),
    "- shape": ("shape",),
    "- size": ("size",),
    "- texture": ("texture",),
    "colour and shape together": ("colour+shape",),
    "place": ("place",),
}
"""How kinds of expressions are grouped in tables."""


@dataclass(frozen=True, eq=False)
class HeldOutScene:
    """One picture with an expression.

    Attributes:
        picture: (h, w, 3) uint8 RGB.
        masks: (K, h, w) bool, of all objects.
        referral: The expression and which object it means.
        others: What the other objects are, in words that the expression does not have: "the blue star".
    """

    picture: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    referral: ReferringExpression
    others: tuple[str, ...] = ()

    @property
    def truth(self) -> NDArray[np.bool_]:
        """(h, w) bool, the mask of the object that is meant."""
        return np.asarray(self.masks[self.referral.target])


@dataclass(frozen=True, eq=False)
class HeldOutClip:
    """A clip with an expression.

    Attributes:
        frames: (N, h, w, 3) uint8 RGB.
        masks: (K, N, h, w) bool, of all objects.
        planned: Indices of the frames to ground.
        referral: The expression and which object it means.
        others: See `HeldOutScene`.
    """

    frames: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    planned: tuple[int, ...]
    referral: ReferringExpression
    others: tuple[str, ...] = ()

    def planned_scenes(self) -> list[HeldOutScene]:
        """Return each planned frame as a scene by itself."""
        return [HeldOutScene(self.frames[i], self.masks[:, i], self.referral, self.others) for i in self.planned]


def held_out_scenes(count: int, seed: int) -> Iterator[HeldOutScene]:
    """Yield `count` scenes, which depend on the seed alone; more of them begin with the same ones."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        extent = EXTENTS[i % len(EXTENTS)]
        scene, referral = sample_referring_scene(rng, extent)
        picture, masks = draw_scene(scene, picture_size(extent))
        yield HeldOutScene(picture, masks, referral, _describe_others(scene, referral))


def held_out_clips(count: int, seed: int, *, speed: float = 0.6) -> Iterator[HeldOutClip]:
    """Yield `count` clips of other scenes of the same kinds.

    Expressions with a place are left out, since motion makes them untrue, and so are clips in which the object is more
    than half hidden on a planned frame.

    Args:
        count: Number of clips.
        seed: Seed of the clips.
        speed: In units per frame; the short side of a frame is 64 units.
    """
    rng = np.random.default_rng([seed, 1])
    made = 0
    planned = tuple(range(0, CLIP_FRAMES, CLIP_EVERY))
    while made < count:
        extent = EXTENTS[made % len(EXTENTS)]
        scene, referral = sample_referring_scene(rng, extent)
        moving = set_in_motion(scene, rng, speed=speed)
        if referral.kind == "place":
            continue
        frames, masks = draw_moving_scene(moving, picture_size(extent), n_frames=CLIP_FRAMES)
        visible = masks[referral.target, list(planned)].sum((1, 2))
        if visible.min() >= 0.5 * visible.max():
            made += 1
            yield HeldOutClip(frames, masks, planned, referral, _describe_others(scene, referral))


def _describe_others(scene: Scene, referral: ReferringExpression) -> tuple[str, ...]:
    """The colour and the shape of each other object, without words of the expression; each description once."""
    used = referral.text.split()
    words = [
        [word for word in (obj.colour, obj.shape) if word not in used]
        for i, obj in enumerate(scene.objects)
        if i != referral.target
    ]
    return tuple(dict.fromkeys(f"the {' '.join(some)}" for some in words if some))


def picture_size(extent: tuple[float, float]) -> tuple[int, int]:
    """Return (width, height) in pixels of a picture of so many units."""
    return int(extent[0] * _PIXELS_PER_UNIT), int(extent[1] * _PIXELS_PER_UNIT)
