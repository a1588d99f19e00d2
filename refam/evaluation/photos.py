"""How well nouns are grounded in photographs whose objects are outlined by hand.

A directory holds `objects.jsonl`, one line for each picture: {file, objects: [{name, polygon}]}, the polygon as (x, y)
in fractions of the picture's width and height, and the pictures in its folder `pictures`. A pair is a picture and a
noun of which it has an object; all objects of one noun are one mask. The peak of the heatmap must lie on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from refam.photos.features import read_picture
from refam.photos.listing import read_listing
from video.checked_json import LENIENT
from video.errors import Skipped, UserError
from video.masks import iou, resize_map
from video.metrics import auroc, estimate_mean, estimate_share

if TYPE_CHECKING:
    from refam.grounder import Grounder
    from video.types import Heatmap, Segmenter

LEAST_AREA = 0.01
"""Of the picture, below which a pair is left out."""
_ABSENT_PER_PICTURE = 4
_LEAST_APART = 0.2  # of the picture's width: centres of two objects that are left and right of each other
_MASK_SIDE = 320  # pixels of the longer side at which outlines are filled


@dataclass(frozen=True, eq=False)
class OutlinedPicture:
    """One picture with the masks of its nouns.

    Attributes:
        file: The picture.
        objects: By noun, one mask for each object, (h, w) bool at a smaller size of the same shape.
    """

    file: Path
    objects: dict[str, list[NDArray[np.bool_]]]

    @cached_property
    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """By noun, the mask of all its objects."""
        return {name: np.logical_or.reduce(each) for name, each in self.objects.items()}


@dataclass(frozen=True)
class PairScore:
    """One noun in one picture.

    Attributes:
        noun: What was looked for.
        present: Whether the picture has it.
        hit: Whether the peak lies on it; False if it is not there.
        centre: Whether the picture's centre lies on it, which is what always pointing there would have.
        certainty: Of the heatmap.
        seconds: For grounding the picture, shared by its nouns.
        mask_iou: IoU of the mask that the words lead to with the object of that noun that it fits best; None if no
            mask was asked for.
    """

    noun: str
    present: bool
    hit: bool
    centre: bool
    certainty: float
    seconds: float
    mask_iou: float | None = None


@dataclass(frozen=True)
class PlaceScore:
    """One of two objects of a noun that stand side by side, asked for by its place.

    Attributes:
        noun: The noun.
        named: Whether the peak lies on the object that was asked for.
        other: Whether it lies on the other one.
    """

    noun: str
    named: bool
    other: bool


_NEAR = 0.01  # how far rounding may move a point out of the picture, as a fraction of it


def _require_fraction(value: float) -> float:
    if not -_NEAR <= value <= 1 + _NEAR:
        raise ValueError(f"points are fractions of the picture's width and height, from 0 to 1, not {value:g}")
    return value


_Point = Annotated[list[Annotated[float, AfterValidator(_require_fraction)]], Field(min_length=2, max_length=2)]
_Outline = Annotated[list[_Point], Field(min_length=3)]


def _as_outlines(polygon: Any) -> Any:
    """One outline, or several, as a list of outlines."""
    is_one = isinstance(polygon, list) and polygon and isinstance(polygon[0], list) and polygon[0]
    return [polygon] if is_one and not isinstance(polygon[0][0], list) else polygon


@dataclass(frozen=True)
class _Object:
    """An object in a line of `objects.jsonl`."""

    __pydantic_config__: ClassVar[ConfigDict] = LENIENT

    name: Annotated[str, Field(min_length=1)]
    polygon: Annotated[list[_Outline], Field(min_length=1), BeforeValidator(_as_outlines)]


@dataclass(frozen=True)
class _Row:
    """A line of `objects.jsonl`."""

    __pydantic_config__: ClassVar[ConfigDict] = LENIENT

    file: Annotated[str, Field(min_length=1)]
    objects: list[_Object]


def read_outlined(directory: Path, *, skipped: Skipped = None) -> list[OutlinedPicture]:
    """Read a directory as described at the top.

    Args:
        directory: The directory.
        skipped: Gets a sentence for each line that is not as it should be, or whose picture cannot be read; if it is
            None, the first one is an error.

    Raises:
        UserError: If `objects.jsonl` is missing, or if none of its lines can be used.
    """
    listing = directory / "objects.jsonl"
    if not listing.is_file():
        raise UserError(f"{directory} has no objects.jsonl, which names each picture's objects with their outlines")

    def make(row: _Row) -> OutlinedPicture:
        file = directory / "pictures" / row.file
        return OutlinedPicture(file, _fill(file, row.objects))

    return read_listing(listing, _Row, make, form="{file, objects: [{name, polygon}]}", skipped=skipped)


def _fill(file: Path, objects: Sequence[_Object]) -> dict[str, list[NDArray[np.bool_]]]:
    picture = read_picture(file)
    scale = _MASK_SIDE / max(picture.shape[:2])
    size = np.array([max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))])
    masks: dict[str, list[NDArray[np.bool_]]] = {}
    for thing in objects:
        mask = np.zeros(size[::-1], np.uint8)
        for outline in thing.polygon:
            cv2.fillPoly(mask, [np.round(np.array(outline) * size - 0.5).astype(np.int32)], 1)
        masks.setdefault(thing.name, []).append(mask.astype(bool))
    return masks


def knows_noun(grounder: Grounder, noun: str) -> bool:
    """Return whether a grounder knows every word of a noun."""
    try:
        return not grounder.unknown_words(f"the {noun}")
    except UserError:  # GroundingError: its head noun is unknown
        return False


def score_pictures(
    grounder: Grounder,
    pictures: Sequence[OutlinedPicture],
    known: Callable[[str], bool],
    *,
    seed: int = 0,
    segmenter: Segmenter | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> list[PairScore]:
    """Ground every noun of every picture, and some that are not there.

    Args:
        grounder: What grounds them.
        pictures: The pictures.
        known: Whether a noun is in the model's vocabulary; others are left out.
        seed: Chooses the absent nouns among those of all pictures.
        segmenter: Outlines what the heatmaps of nouns that are there point at; None leaves that out.
        progress: Called with the share that is done.

    Raises:
        UserError: If no picture has an object whose noun is known.
    """
    rng = np.random.default_rng(seed)
    named = sorted({n for p in pictures for n in p.masks})
    everything = [n for n in named if known(n)]
    if not any(p.masks[n].mean() >= LEAST_AREA for p in pictures for n in p.masks if n in everything):
        raise UserError(
            f"no picture has an object that fills {LEAST_AREA:.0%} of it and whose noun the model knows; "
            f"the nouns are {', '.join(named) or 'none'}"
        )
    scores: list[PairScore] = []
    for index, picture in enumerate(pictures):
        there = [n for n, m in picture.masks.items() if known(n) and m.mean() >= LEAST_AREA]
        absent = [n for n in everything if n not in picture.masks]
        absent = [str(n) for n in rng.permutation(absent)[:_ABSENT_PER_PICTURE]]
        nouns = there + absent
        if not nouns:
            continue
        started = time.perf_counter()
        image = read_picture(picture.file)
        rows = grounder.ground([image], [f"the {n}" for n in nouns], indices=[index])
        seconds = (time.perf_counter() - started) / len(nouns)
        for noun, row in zip(nouns, rows, strict=True):
            mask = picture.masks.get(noun)
            hit = mask is not None and is_at(mask, *row[0].peak)
            centre = mask is not None and is_at(mask, 0.5, 0.5)
            outlined = None
            if mask is not None and segmenter is not None:
                outlined = score_first_mask(segmenter, image, row[0], picture.objects[noun])
            scores.append(PairScore(noun, mask is not None, hit, centre, row[0].certainty, seconds, outlined))
        progress((index + 1) / len(pictures))
    return scores


def score_first_mask(
    segmenter: Segmenter, image: NDArray[np.uint8], heatmap: Heatmap, objects: Sequence[NDArray[np.bool_]]
) -> float:
    """Score the mask that a heatmap leads to.

    Args:
        segmenter: Makes it.
        image: (H, W, 3) uint8 RGB.
        heatmap: Of the image.
        objects: (h, w) bool, all of one size and of the image's shape.

    Returns:
        Its IoU with the object that it fits best; 0 without a mask.
    """
    candidates = segmenter.segment(image, heatmap.to_prompt()) if heatmap.grid.max() > 0 else []
    if not candidates:
        return 0.0
    height, width = objects[0].shape
    found = resize_map(candidates[0].mask, (width, height)) >= 0.5
    return max(iou(found, each) for each in objects)


def score_places(
    grounder: Grounder,
    pictures: Sequence[OutlinedPicture],
    known: Callable[[str], bool],
    *,
    progress: Callable[[float], None] = lambda _: None,
) -> list[PlaceScore]:
    """Ask for each of two objects of one noun that stand side by side, by "on the left" and "on the right".

    Args:
        grounder: What grounds them.
        pictures: The pictures; those with exactly two objects of a noun count, each at least `LEAST_AREA` of the
            picture, their centres at least `_LEAST_APART` of its width apart.
        known: Whether a noun is in the model's vocabulary; others are left out.
        progress: Called with the share that is done.
    """
    scores: list[PlaceScore] = []
    for index, picture in enumerate(pictures):
        pairs = {n: sorted(each, key=_centre_x) for n, each in picture.objects.items() if known(n) and _is_pair(each)}
        if pairs:
            phrases = [(noun, side) for noun in pairs for side in (0, 1)]
            words = [f"the {noun} on the {('left', 'right')[side]}" for noun, side in phrases]
            rows = grounder.ground([read_picture(picture.file)], words, indices=[index])
            for (noun, side), row in zip(phrases, rows, strict=True):
                named, other = (is_at(pairs[noun][k], *row[0].peak) for k in (side, 1 - side))
                scores.append(PlaceScore(noun, named, other and not named))
        progress((index + 1) / len(pictures))
    return scores


def _centre_x(mask: NDArray[np.bool_]) -> float:
    return float(np.nonzero(mask)[1].mean()) / mask.shape[1]


def _is_pair(objects: Sequence[NDArray[np.bool_]]) -> bool:
    if len(objects) != 2 or min(mask.mean() for mask in objects) < LEAST_AREA:
        return False
    return abs(_centre_x(objects[0]) - _centre_x(objects[1])) >= _LEAST_APART


def place_table(scores: Sequence[PlaceScore]) -> str:
    """Return the scores of places as a line of Markdown; a plain sentence if there is none."""
    if not scores:
        return "Words of place: no picture has two objects of one noun side by side."
    named, other = estimate_share([s.named for s in scores]), estimate_share([s.other for s in scores])
    return (
        f"Words of place, two of a kind side by side, {len(scores)} phrases: the peak is on the one that is named in "
        f"{named}, on the other one in {other}."
    )


def is_at(mask: NDArray[np.bool_], x: float, y: float) -> bool:
    """Return whether a point, in fractions of width and height, lies on a mask."""
    height, width = mask.shape
    return bool(mask[min(height - 1, int(y * height)), min(width - 1, int(x * width))])


def photo_table(scores: Sequence[PairScore]) -> str:
    """Return the scores as Markdown: over all, people, others, and each noun."""
    present = [s for s in scores if s.present]
    lines = ["| noun | pairs | peak on the object | centre |", "|---|---|---|---|"]
    groups = {"all": present, "person": [s for s in present if s.noun == "person"]}
    groups["others"] = [s for s in present if s.noun != "person"]
    by_noun: dict[str, list[PairScore]] = {}
    for score in present:
        by_noun.setdefault(score.noun, []).append(score)
    ordered = dict(sorted(by_noun.items(), key=lambda item: (-len(item[1]), item[0])))
    for name, some in {**groups, **{f"- {n}": s for n, s in ordered.items() if n != "person"}}.items():
        if some:
            centre = np.mean([s.centre for s in some])
            lines.append(f"| {name} | {len(some)} | {estimate_share([s.hit for s in some])} | {centre:.3f} |")
    by_group = {name: [s.mask_iou for s in some if s.mask_iou is not None] for name, some in groups.items()}
    if by_group["all"]:
        means = ", ".join(f"{name} {estimate_mean(some, within=(0, 1))}" for name, some in by_group.items() if some)
        lines += ["", f"IoU of the first mask with the object of that noun that it fits best: {means}."]
    absent = len(scores) - len(present)
    told_apart = auroc([s.certainty for s in scores], [s.present for s in scores]) if present and absent else "-"
    seconds = np.median([s.seconds for s in scores])
    lines += [
        "",
        f"Nouns that are not there: AUROC {told_apart} ({len(present)} there, {absent} not). "
        f"{seconds:.2f} s a noun, the median.",
    ]
    return "\n".join(lines)
