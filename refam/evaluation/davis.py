"""Plain DAVIS (https://davischallenge.org), 2016 or 2017: JPEGImages/[480p/]VIDEO and Annotations/[480p/]VIDEO.

A list of videos is taken from ImageSets/2017/SPLIT.txt (or ImageSets/480p/SPLIT.txt) where there is one, else all are
asked. DAVIS has no expressions: they come from a meta.json {"clips": {VIDEO: {"expressions": [...]}}} for videos of one
object, or what the objects are from davis_semantics.json; without either only a click can start. As in DAVIS's
semi-supervised task the first frame, which is given there, and the last one are not judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from refam.evaluation.questions import VOID, IndexedTruth, Question, first_of, require_files
from video.formats.base import FormatError, read_indices, read_json

_RESOLUTIONS = ("480p", "Full-Resolution", "")


def davis(root: Path, split: str) -> Iterator[Question]:
    """Every expression, or every object where there are none. Raises FormatError."""
    pictures = first_of(root, [f"JPEGImages/{r}".rstrip("/") for r in _RESOLUTIONS], "pictures")
    annotations = first_of(root, [f"Annotations/{r}".rstrip("/") for r in _RESOLUTIONS], "annotations")
    said = root / "meta.json"
    clips = (read_json(said).get("clips") or {}) if said.is_file() else {}
    semantics = root / "davis_semantics.json"
    meanings = read_json(semantics) if semantics.is_file() else {}
    for name in _names(root, pictures, split):
        files = require_files(sorted((pictures / name).glob("*.jpg")), f"video {name}")
        drawn = require_files([annotations / name / f"{f.stem}.png" for f in files], f"video {name}")
        if len(files) < 3:
            raise FormatError(f"{pictures / name} has {len(files)} pictures; without the first and last none is judged")
        found = [int(n) for n in np.unique(read_indices(drawn[0])) if n]
        only_white = found == [VOID]  # DAVIS 2016
        numbers = found if only_white else [n for n in found if n != VOID]
        for number in numbers:
            truth = IndexedTruth(drawn, number, has_void=not only_white)
            words = _words(clips.get(name, {}), meanings.get(name, {}), number, single=len(numbers) == 1)
            for k, one in enumerate(words):
                key = f"{number}-{k}" if not only_white else str(k)
                frames = tuple(f.stem for f in files)
                yield Question(name, key, one, files, frames, truth, tuple(range(1, len(files) - 1)))


def _words(clip: Mapping[str, list[str]], meaning: Mapping[str, str], number: int, *, single: bool) -> list[str]:
    if single and clip.get("expressions"):
        return list(clip["expressions"])
    return [meaning.get(str(number), "")]


def _names(root: Path, pictures: Path, split: str) -> list[str]:
    for place in ("ImageSets/2017", "ImageSets/2016", "ImageSets/480p"):
        listed = root / place / f"{split}.txt"
        if listed.is_file():
            lines = [line.split() for line in listed.read_text(encoding="utf-8").splitlines()]
            # DAVIS 2016 lists every picture: /JPEGImages/480p/bear/00000.jpg /Annotations/480p/bear/00000.png
            return sorted({line[0] if "/" not in line[0] else Path(line[0]).parts[-2] for line in lines if line})
    if (root / "ImageSets").is_dir():
        raise FormatError(f"{root / 'ImageSets'} has no list {split!r}")
    return sorted(folder.name for folder in pictures.iterdir() if folder.is_dir())
