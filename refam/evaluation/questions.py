"""What a benchmark asks: find what these words mean in these pictures. Read from files only when it is looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from video import masks
from video.formats.base import FormatError, read_indices
from video.formats.coco import rle_of

Mask = NDArray[np.bool_]
VOID = 255


class QuestionTruth(Protocol):
    """What is meant, frame by frame; k counts the question's pictures from 0. All masks are (H, W) bool."""

    def mask(self, k: int) -> Mask:
        """The object; empty where it is not seen."""
        ...

    def void(self, k: int) -> Mask | None:
        """Where nothing is judged."""
        ...

    def others(self, k: int) -> list[Mask]:
        """The other objects that are annotated, in an order that stays."""
        ...


@dataclass(frozen=True, eq=False)
class Question:
    """One expression. key: tells it from the others of its dataset, "VIDEO/EXPRESSION".

    pictures: files, in order. frames: their names in a submission. truth: None where it is not published. judged: the
    pictures that are judged, from 0. words may be empty where a dataset has none.
    """

    video: str
    expression: str
    words: str
    pictures: tuple[Path, ...]
    frames: tuple[str, ...]
    truth: QuestionTruth | None = None
    judged: tuple[int, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.pictures or len(self.pictures) != len(self.frames):
            raise FormatError(f"{self.key}: {len(self.pictures)} pictures and {len(self.frames)} names of frames")
        if self.truth is not None and not self.judged:
            raise FormatError(f"{self.key}: there is a truth, and no frame that is judged by it")

    @property
    def key(self) -> str:
        """As in the records of a run."""
        return f"{self.video}/{self.expression}"


@dataclass(frozen=True, eq=False)
class IndexedTruth:
    """Indexed PNGs in which the object has this number. has_void: 255 is not judged, else it is a number as others."""

    files: tuple[Path, ...]
    number: int
    has_void: bool

    def mask(self, k: int) -> Mask:
        """See `QuestionTruth`."""
        return np.asarray(read_indices(self.files[k]) == self.number)

    def void(self, k: int) -> Mask | None:
        """See `QuestionTruth`."""
        return np.asarray(read_indices(self.files[k]) == VOID) if self.has_void else None

    def others(self, k: int) -> list[Mask]:
        """See `QuestionTruth`. Those of the first picture, whether they are seen on this one or not."""
        picture = read_indices(self.files[k])
        known = np.unique(read_indices(self.files[0]))
        return [picture == n for n in known.tolist() if n not in (0, self.number, VOID)]


@dataclass(frozen=True, eq=False)
class CodedTruth:
    """COCO segmentations, for each picture those whose union is meant. size: (width, height)."""

    rows: tuple[tuple[Any, ...], ...]
    size: tuple[int, int]
    where: str

    def mask(self, k: int) -> Mask:
        """See `QuestionTruth`."""
        out = np.zeros((self.size[1], self.size[0]), np.bool_)
        for segmentation in self.rows[k]:
            out |= masks.decode(rle_of(segmentation, self.size, self.where))
        return out

    def void(self, k: int) -> Mask | None:
        """See `QuestionTruth`."""
        return None

    def others(self, k: int) -> list[Mask]:
        """See `QuestionTruth`; not known."""
        return []


def require_files(paths: Sequence[Path], what: str) -> tuple[Path, ...]:
    """The same files. Raises FormatError for the first that is not there."""
    gone = next((path for path in paths if not path.is_file()), None)
    if gone is not None:
        raise FormatError(f"{what}: {gone} is not there")
    return tuple(paths)


def first_of(root: Path, places: Sequence[str], what: str) -> Path:
    """The first of several places that is there. Raises FormatError, which names all."""
    for place in places:
        if (root / place).exists():
            return root / place
    raise FormatError(f"{root} holds no {what}: looked for {', '.join(places)}")


def objects(questions: Iterable[Question]) -> Iterator[Question]:
    """One question for each annotated object: a click is the same whatever the words. Others are left as they are."""
    asked: set[tuple[str, int]] = set()
    for question in questions:
        if isinstance(question.truth, IndexedTruth):
            key = (question.video, question.truth.number)
            if key in asked:
                continue
            asked.add(key)
        yield question


def seen_on(truth: QuestionTruth, judged: Sequence[int]) -> Iterator[int]:
    """The judged pictures on which the object is seen."""
    return (k for k in judged if truth.mask(k).any())
