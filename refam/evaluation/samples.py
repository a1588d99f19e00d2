"""One sample of a referring segmentation benchmark: an expression, the frames it refers to, and its ground truth.

Masks are read from their files only when they are needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from video import masks
from video.formats.base import FormatError, read_indices
from video.formats.coco import parse_segmentation

Mask = NDArray[np.bool_]
VOID = 255  # the index of pixels that are not scored


class GroundTruth(Protocol):
    """The masks of a sample, by frame. `k` counts the sample's frames from 0. All masks are (H, W) bool."""

    def mask(self, k: int) -> Mask:
        """Return the mask of the object; empty where it is not visible."""
        ...

    def void(self, k: int) -> Mask | None:
        """Return the pixels that are not scored; None if all are."""
        ...

    def others(self, k: int) -> list[Mask]:
        """Return the masks of the other annotated objects, in the same order on every frame."""
        ...


@dataclass(frozen=True, eq=False)
class BenchmarkSample:
    """One expression of a dataset.

    Attributes:
        video: Name of the video.
        expression: Identifier of the expression within the video.
        words: The expression; empty where a dataset has none.
        pictures: Image files of the frames, in order.
        frames: Names of the frames in a submission.
        truth: None where the ground truth is not published.
        scored_frames: Indices of the frames that are scored, from 0.
    """

    video: str
    expression: str
    words: str
    pictures: tuple[Path, ...]
    frames: tuple[str, ...]
    truth: GroundTruth | None = None
    scored_frames: tuple[int, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.pictures or len(self.pictures) != len(self.frames):
            raise FormatError(f"{self.key}: {len(self.pictures)} pictures and {len(self.frames)} names of frames")
        if self.truth is not None and not self.scored_frames:
            raise FormatError(f"{self.key}: there is a truth, and no frame that is judged by it")

    @property
    def key(self) -> str:
        """VIDEO/EXPRESSION, unique within the dataset; identifies the sample in the records of a run."""
        return f"{self.video}/{self.expression}"


@dataclass(frozen=True, eq=False)
class IndexedTruth:
    """Ground truth in indexed PNG files.

    Attributes:
        files: One file for each frame.
        number: The index of the object's pixels.
        has_void: Whether the index 255 marks pixels that are not scored; otherwise it is an object like any other.
    """

    files: tuple[Path, ...]
    number: int
    has_void: bool

    def mask(self, k: int) -> Mask:
        """See `GroundTruth.mask`."""
        return np.asarray(read_indices(self.files[k]) == self.number)

    def void(self, k: int) -> Mask | None:
        """See `GroundTruth.void`."""
        return np.asarray(read_indices(self.files[k]) == VOID) if self.has_void else None

    def others(self, k: int) -> list[Mask]:
        """See `GroundTruth.others`: the objects annotated on the first frame, whether visible on frame `k` or not."""
        indices = read_indices(self.files[k])
        on_first_frame = np.unique(read_indices(self.files[0]))
        return [indices == n for n in on_first_frame.tolist() if n not in (0, self.number, VOID)]


@dataclass(frozen=True, eq=False)
class CocoTruth:
    """Ground truth as COCO segmentations: run-length codes or polygons.

    Attributes:
        segmentations: For each frame, those whose union is the object.
        size: (width, height) in pixels.
        where: Where they come from, for error messages.
    """

    segmentations: tuple[tuple[Any, ...], ...]
    size: tuple[int, int]
    where: str

    def mask(self, k: int) -> Mask:
        """See `GroundTruth.mask`."""
        union = np.zeros((self.size[1], self.size[0]), np.bool_)
        for segmentation in self.segmentations[k]:
            union |= masks.decode(parse_segmentation(segmentation, self.size, self.where))
        return union

    def void(self, k: int) -> Mask | None:
        """See `GroundTruth.void`: all pixels are scored."""
        return None

    def others(self, k: int) -> list[Mask]:
        """See `GroundTruth.others`: none are known."""
        return []


def require_files(paths: Sequence[Path], what: str) -> tuple[Path, ...]:
    """Return the paths unchanged. Raises FormatError, which begins with `what`, if one of them is no file."""
    missing = next((path for path in paths if not path.is_file()), None)
    if missing is not None:
        raise FormatError(f"{what}: {missing} is not there")
    return tuple(paths)


def first_existing(root: Path, places: Sequence[str], what: str) -> Path:
    """Return the first of several paths below `root` that exists. Raises FormatError, which lists them all."""
    for place in places:
        if (root / place).exists():
            return root / place
    raise FormatError(f"{root} holds no {what}: looked for {', '.join(places)}")


def one_per_object(samples: Iterable[BenchmarkSample]) -> Iterator[BenchmarkSample]:
    """Yield one sample for each annotated object, for prompts that do not depend on the words.

    Samples whose truth does not number its objects are all kept.
    """
    known: set[tuple[str, int]] = set()
    for sample in samples:
        if isinstance(sample.truth, IndexedTruth):
            key = (sample.video, sample.truth.number)
            if key in known:
                continue
            known.add(key)
        yield sample


def visible_frames(truth: GroundTruth, frames: Sequence[int]) -> Iterator[int]:
    """Yield those of the frames on which the object is visible."""
    return (k for k in frames if truth.mask(k).any())
