"""Datasets with a meta_expressions.json: Refer-YouTube-VOS, Ref-DAVIS17 in the same form, and MeViS.

    {"videos": {VIDEO: {"frames": ["00000", ...], "expressions": {"0": {"exp": "...", "obj_id": "1"}, ...}}}}

Refer-YouTube-VOS (https://youtube-vos.org/dataset/rvos/): ROOT/meta_expressions/SPLIT/meta_expressions.json,
ROOT/SPLIT/JPEGImages/VIDEO/FRAME.jpg and, where they are published, ROOT/SPLIT/Annotations/VIDEO/FRAME.png (indexed).

Ref-DAVIS17 (Khoreva et al., "Video Object Segmentation with Language Referring Expressions", ACCV 2018) as ReferFormer
converts it: the same folders, DAVIS 2017's Annotations_unsupervised with 255 for void. Pictures and annotations
may have stayed in ROOT/DAVIS as well. Four expressions an object: two annotators, each with the first frame and with
the whole video before them.

MeViS (https://henghuiding.github.io/MeViS/): ROOT/SPLIT/meta_expressions.json, mask_dict.json and JPEGImages; an
expression has a list "anno_id" of keys of mask_dict, whose rows are COCO masks, or null, for each frame: what is meant
is their union.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from refam.evaluation.questions import CodedTruth, IndexedTruth, Question, QuestionTruth, first_of, require_files
from video.formats.base import FormatError, field, picture_size, read_json, safe_name

_META = "meta_expressions.json"


def refer_youtube_vos(root: Path, split: str) -> Iterator[Question]:
    """Every expression; `valid` without the videos of `test`, as the server wants it. Raises FormatError."""
    path = first_of(root, [f"meta_expressions/{split}/{_META}", f"{split}/{_META}"], f"expressions of {split!r}")
    tested = root / "meta_expressions" / "test" / _META
    left_out = set(_videos(tested)) if split == "valid" and tested.is_file() else set()
    annotations = root / split / "Annotations"
    for name, video in _videos(path).items():
        if name not in left_out:
            yield from _indexed(path, name, video, root / split / "JPEGImages", annotations, has_void=False)


def ref_davis17(root: Path, split: str) -> Iterator[Question]:
    """Every expression of the four sets. Raises FormatError."""
    path = first_of(root, [f"meta_expressions/{split}/{_META}", f"{split}/{_META}"], f"expressions of {split!r}")
    pictures = first_of(
        root, [f"{split}/JPEGImages", "DAVIS/JPEGImages/480p", "JPEGImages/480p"], f"pictures of {split!r}"
    )
    annotations = first_of(
        root,
        [f"{split}/Annotations", "DAVIS/Annotations_unsupervised/480p", "Annotations_unsupervised/480p"],
        f"annotations of {split!r}",
    )
    for name, video in _videos(path).items():
        yield from _indexed(path, name, video, pictures, annotations, has_void=True)


def mevis(root: Path, split: str) -> Iterator[Question]:
    """Every expression; with truth where the split has a mask_dict.json. Raises FormatError."""
    path = first_of(root, [f"{split}/{_META}"], f"expressions of {split!r}")
    coded = path.with_name("mask_dict.json")
    masks = read_json(coded) if coded.is_file() else None
    for name, video in _videos(path).items():
        where = f"{path}: {name}"
        frames = _frames(video, where)
        pictures = _pictures(path.parent / "JPEGImages", name, frames)
        size = picture_size(pictures[0]) if masks is not None else (1, 1)
        for key, expression in field(video, "expressions", dict, where).items():
            truth = None if masks is None else _union(expression, masks, len(frames), size, f"{where}/{key}")
            yield _question(name, key, expression, pictures, frames, truth, where)


def _union(expression: Any, masks: Mapping[str, Any], n: int, size: tuple[int, int], where: str) -> CodedTruth:
    keys = [str(key) for key in field(expression, "anno_id", list, where)]
    gone = next((key for key in keys if key not in masks), None)
    if gone is not None:
        raise FormatError(f"{where}: mask_dict.json has no annotation {gone!r}")
    if any(len(masks[key]) != n for key in keys):
        raise FormatError(f"{where}: mask_dict.json must have a row for each of its {n} frames")
    rows = tuple(tuple(masks[key][k] for key in keys if masks[key][k]) for k in range(n))
    return CodedTruth(rows, size, where)


def _videos(path: Path) -> dict[str, Any]:
    videos: dict[str, Any] = field(read_json(path), "videos", dict, str(path))
    return videos


def _frames(video: Any, where: str) -> list[str]:
    frames = field(video, "frames", list, where)
    if not frames or not all(isinstance(name, str) for name in frames):
        raise FormatError(f"{where}: frames must be the names of one picture or more")
    return sorted(safe_name(name, f"{where}: a frame") for name in frames)


def _pictures(folder: Path, name: str, frames: list[str]) -> tuple[Path, ...]:
    return require_files([folder / safe_name(name, "a video") / f"{f}.jpg" for f in frames], f"video {name}")


def _indexed(
    path: Path, name: str, video: Any, pictures: Path, annotations: Path, *, has_void: bool
) -> Iterator[Question]:
    where = f"{path}: {name}"
    frames = _frames(video, where)
    files = _pictures(pictures, name, frames)
    for key, expression in field(video, "expressions", dict, where).items():
        truth = None
        if annotations.is_dir() and isinstance(expression, Mapping) and "obj_id" in expression:
            number = str(expression["obj_id"])
            if not number.isdigit() or not 0 < int(number) < 255:
                raise FormatError(f"{where}/{key}: obj_id must be a number from 1 to 254, got {number!r}")
            drawn = require_files([annotations / name / f"{f}.png" for f in frames], f"video {name}")
            truth = IndexedTruth(drawn, int(number), has_void)
        yield _question(name, key, expression, files, frames, truth, where)


def _question(
    name: str,
    key: str,
    expression: Any,
    files: tuple[Path, ...],
    frames: list[str],
    truth: QuestionTruth | None,
    where: str,
) -> Question:
    words = " ".join(field(expression, "exp", str, f"{where}/{key}").split())
    judged = tuple(range(len(files))) if truth is not None else ()
    return Question(name, safe_name(key, f"{where}: an expression"), words, files, tuple(frames), truth, judged)
