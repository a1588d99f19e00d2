"""Fits how to tell nouns that a photograph does not show, on photographs with labels of what is there and what not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refam.calibration import require_both_kinds
from refam.evaluation.photos import knows_noun
from refam.evaluation.presence_scores import fit_on_pictures
from refam.photos.features import read_picture
from refam.photos.labels import Photo
from refam.presence import KINDS, PresenceModel
from video.errors import Skipped, UserError, leave_out

if TYPE_CHECKING:
    from refam.grounder import Grounder

_PER_PICTURE = 2
"""Nouns that are there, and as many that are not, asked of each picture at most."""


def sample_nouns(
    photos: Sequence[Photo], known: Callable[[str], bool], count: int, seed: int
) -> Iterator[tuple[Photo, list[tuple[str, bool]]]]:
    """Yield pictures in a random order, each with nouns of which it is known whether they are there.

    Args:
        photos: Only those whose `complete` names something that is not there, beside a label, are used.
        known: Whether the model knows a noun.
        count: How many pictures.
        seed: Chooses pictures and nouns.
    """
    rng = np.random.default_rng(seed)
    left = count
    for index in rng.permutation(len(photos)):
        if not left:
            return
        photo = photos[index]
        there = [n for n in photo.labels if known(n)]
        absent = [n for n in photo.complete if n not in photo.labels and known(n)]
        if there and absent:
            left -= 1
            chosen = [(str(n), True) for n in rng.permutation(there)[:_PER_PICTURE]]
            chosen += [(str(n), False) for n in rng.permutation(absent)[:_PER_PICTURE]]
            yield photo, chosen


def calibrate_presence_on_photos(
    grounder: Grounder,
    photos: Sequence[Photo],
    count: int,
    *,
    seed: int = 0,
    progress: Callable[[float], None] = lambda _: None,
    skipped: Skipped = None,
) -> PresenceModel:
    """Fit the presence model of a grounder.

    Args:
        grounder: What grounds nouns.
        photos: Pictures with labels, and with `complete` lists.
        count: How many of them to use at most.
        seed: Chooses pictures and nouns.
        progress: Called with the share that is done.
        skipped: Gets a sentence for each picture that cannot be read; if it is None, the first one is an error.

    Raises:
        UserError: If there are too few pictures with a noun that is there and one that is not, both known to the
            model, or if the model does not tell such nouns apart.
    """
    known = cache(partial(knows_noun, grounder))
    sampled = list(sample_nouns(photos, known, count, seed))
    if not sampled:
        raise UserError(
            "no picture has a label and, in its `complete` list, a noun that is not there, both known to the model"
        )
    require_both_kinds(np.array([is_there for _, nouns in sampled for _, is_there in nouns]), KINDS)
    return fit_on_pictures(grounder, _read(sampled, skipped), len(sampled), seed=seed, progress=progress)


def _read(
    sampled: Sequence[tuple[Photo, list[tuple[str, bool]]]], skipped: Skipped
) -> Iterator[tuple[NDArray[np.uint8], list[tuple[str, bool]]]]:
    for photo, nouns in sampled:
        pictures = []
        with leave_out(skipped):
            pictures.append(read_picture(photo.file))
        for picture in pictures:
            yield picture, [(f"the {noun}", is_there) for noun, is_there in nouns]
