"""What is known of pictures: which nouns are there, and which are not. Where they are is not known.

Sources: their labels; their captions; for nouns that ImageNet has, the encoder's own classes; and what a noun is a kind
of (a dog is an animal).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from refam.photos.listing import read_listing
from refam.photos.vocabulary import Vocabulary
from video.checked_json import LENIENT
from video.errors import Skipped, UserError

_SHARPEN = 2.0
"""Factor on the encoder's logits: it was trained with smoothed labels and is right more often than it is sure."""
_SURE_PRESENT = 0.6  # probability of a noun's classes
_SURE_ABSENT = 0.001
_CAPTION_SHARE = 0.4  # of the captions of a picture that name a thing which is there
_UNTOLD_WEIGHT = 0.3  # of "no caption names it" for things that are often not told
# Things of these themes are in many pictures without being labelled or told.
_OFTEN_UNTOLD = frozenset(
    {"people", "clothes", "furniture", "kitchen", "household", "electronics", "street", "nature", "buildings", "tools"}
)
_OFTEN_UNTOLD_NOUNS = frozenset({"animal", "vehicle", "car", "ball", "food", "bottle", "book", "toy", "flag"})


@dataclass(frozen=True)
class Photo:
    """One picture and what is said of it, a line of `photos.jsonl`.

    Attributes:
        file: Path of the picture.
        labels: Things that are there.
        complete: Things of which it is known whether they are there.
        captions: Sentences about it.
    """

    file: Path
    labels: tuple[str, ...] = ()
    complete: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()


_FORM = "{file, labels, complete, captions}"
_Words = list[Annotated[str, Field(min_length=1)]]


@dataclass(frozen=True)
class _Row:
    """A line of `photos.jsonl`."""

    __pydantic_config__: ClassVar[ConfigDict] = LENIENT

    file: Annotated[str, Field(min_length=1)]
    labels: _Words = field(default_factory=list)
    complete: _Words = field(default_factory=list)
    captions: _Words = field(default_factory=list)


def read_photos(directory: Path, *, skipped: Skipped = None) -> list[Photo]:
    """Read `photos.jsonl` of a directory whose pictures are in its folder `pictures`.

    Args:
        directory: The directory.
        skipped: Gets a sentence for each line that is not as it should be; if it is None, the first one is an error.

    Raises:
        UserError: If the file is missing, or if none of its lines can be used.
    """
    listing = directory / "photos.jsonl"
    if not listing.is_file():
        raise UserError(f"{directory} has no photos.jsonl; it lists each picture as {_FORM}")

    def make(row: _Row) -> Photo:
        return Photo(directory / "pictures" / row.file, tuple(row.labels), tuple(row.complete), tuple(row.captions))

    return read_listing(listing, _Row, make, form=_FORM, skipped=skipped)


@dataclass(frozen=True, eq=False)
class Labels:
    """Which of V nouns N pictures show.

    Attributes:
        nouns: Their names.
        present: (N, V) bool.
        weight: (N, V) float32 in [0, 1], how far `present` is to be trusted; 0 where nothing is known.
        told: (N, V) bool, the present ones that a person named.
    """

    nouns: tuple[str, ...]
    present: NDArray[np.bool_]
    weight: NDArray[np.float32]
    told: NDArray[np.bool_]


def find_labels(photos: Sequence[Photo], vocabulary: Vocabulary, logits: NDArray[np.floating]) -> Labels:
    """Collect what is known of pictures.

    Args:
        photos: N pictures.
        vocabulary: The nouns.
        logits: (N, 1000) ImageNet's classes for the whole picture.
    """
    nouns = tuple(vocabulary.nouns)
    index = {name: i for i, name in enumerate(nouns)}
    above = [[index[a] for a in vocabulary.nouns[n].above] for n in nouns]
    often = np.array([_is_often_untold(vocabulary, n) for n in nouns])
    clothes = np.array([vocabulary.nouns[n].theme == "clothes" for n in nouns])
    person = index["person"]
    told = np.zeros((len(photos), len(nouns)), bool)
    absent = np.zeros((len(photos), len(nouns)), np.float32)
    for row, photo in enumerate(photos):
        told[row, [index[n] for label in photo.labels if (n := vocabulary.noun_for(label)) is not None]] = True
        complete = [index[n] for label in photo.complete if (n := vocabulary.noun_for(label)) is not None]
        if photo.labels and not photo.complete and not photo.captions:  # a picture of one thing
            absent[row, ~often] = 1
        if photo.captions:
            counts = count_nouns(photo.captions, vocabulary, index)
            told[row, counts >= _CAPTION_SHARE * len(photo.captions)] = True
            absent[row, counts == 0] = np.where(often, _UNTOLD_WEIGHT, 1)[counts == 0]
            absent[row, person] = counts[person] == 0
        absent[row, complete] = 1
        if absent[row, person] == 1 and person in complete and not told[row, person]:
            absent[row, clothes] = 1  # nobody is there to wear them
    shares = _class_shares(logits, [vocabulary.nouns[n].classes for n in nouns])
    has_classes = np.array([bool(vocabulary.nouns[n].classes) for n in nouns])
    present = told | (shares >= _SURE_PRESENT)
    for array in (present, told):
        for column, parents in enumerate(above):
            array[:, parents] |= array[:, [column]]
    absent[has_classes & (shares < _SURE_ABSENT)] = 1
    for column, parents in enumerate(above):  # without any dog there is no terrier
        for parent in parents:
            absent[:, column] = np.maximum(absent[:, column], absent[:, parent] * ~present[:, parent])
    return Labels(nouns, present, np.where(present, 1, absent).astype(np.float32), told)


def _class_shares(logits: NDArray[np.floating], classes: Sequence[tuple[int, ...]]) -> NDArray[np.float32]:
    """(N, V) the probability of each noun's classes, 0 for nouns without any."""
    sharp = np.asarray(logits, np.float32) * _SHARPEN
    shares = np.exp(sharp - sharp.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    return np.stack([shares[:, list(c)].sum(1) for c in classes], 1)


def _is_often_untold(vocabulary: Vocabulary, name: str) -> bool:
    return vocabulary.nouns[name].theme in _OFTEN_UNTOLD or name in _OFTEN_UNTOLD_NOUNS


def count_nouns(captions: Sequence[str], vocabulary: Vocabulary, index: Mapping[str, int]) -> NDArray[np.int64]:
    """Return (V,) how many captions name each noun, what it is a kind of included."""
    counts = np.zeros(len(index), np.int64)
    for caption in captions:
        words = re.findall(r"[a-z'-]+", caption.lower())
        pairs = [" ".join(pair) for pair in pairwise(words)]
        named = {n for word in (*words, *pairs) if (n := vocabulary.noun_for(word)) is not None}
        named |= {a for n in named for a in vocabulary.nouns[n].above}
        counts[[index[n] for n in named]] += 1
    return counts
