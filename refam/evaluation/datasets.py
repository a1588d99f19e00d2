"""Readers of referring segmentation datasets in their official layouts.

Files with expressions hold

    {"videos": {VIDEO: {"frames": ["00000", ...], "expressions": {"0": {"exp": "...", "obj_id": "1"}, ...}}}}
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from refam.evaluation.samples import (
    VOID,
    BenchmarkSample,
    CocoTruth,
    GroundTruth,
    IndexedTruth,
    first_existing,
    require_files,
)
from video.errors import Skipped, leave_out
from video.formats.base import FormatError, get_field, image_size, read_indices, read_json, safe_name

_META = "meta_expressions.json"
_DAVIS_RESOLUTIONS = ("480p", "Full-Resolution", "")
_REFCOCO_PARTITIONS = {"refcoco": ("unc", "google"), "refcoco+": ("unc",), "refcocog": ("umd", "google")}
_COCO_PICTURES = ("images/mscoco/images/train2014", "images/train2014", "train2014", "coco/train2014")
STILL_DATASETS = ("refcoco", "refcoco+", "refcocog")
"""The datasets of single pictures; the others hold videos."""


def read_dataset(name: str, root: Path, split: str, *, skipped: Skipped = None) -> Iterator[BenchmarkSample]:
    """Read every expression of a dataset.

    Args:
        name: ref-davis17, refer-youtube-vos, mevis, davis, refcoco, refcoco+ or refcocog.
        root: The dataset's folder; the readers below describe its layout.
        split: The part of the dataset, as its authors call it.
        skipped: If given, a video or expression that cannot be read is left out, and its error's text appended here.

    Raises:
        FormatError: If files are missing or malformed.
        KeyError: If no dataset has that name.
    """
    readers: dict[str, Callable[..., Iterator[BenchmarkSample]]] = {
        "ref-davis17": read_ref_davis17,
        "refer-youtube-vos": read_refer_youtube_vos,
        "mevis": read_mevis,
        "davis": read_davis,
        **{still: partial(read_refcoco, name=still) for still in STILL_DATASETS},
    }
    return readers[name](root, split, skipped=skipped)


# --- Refer-YouTube-VOS, Ref-DAVIS17 and MeViS ------------------------------------------------------------------------


def read_refer_youtube_vos(root: Path, split: str, *, skipped: Skipped = None) -> Iterator[BenchmarkSample]:
    """Read Refer-YouTube-VOS (https://youtube-vos.org/dataset/rvos/).

    The layout is ROOT/meta_expressions/SPLIT/meta_expressions.json, ROOT/SPLIT/JPEGImages/VIDEO/FRAME.jpg and, where
    they are published, ROOT/SPLIT/Annotations/VIDEO/FRAME.png (indexed). The split `valid` leaves out the videos of
    `test`, as the evaluation server does.

    Raises:
        FormatError: If files are missing or malformed.
    """
    path = first_existing(root, [f"meta_expressions/{split}/{_META}", f"{split}/{_META}"], f"expressions of {split!r}")
    test_set = root / "meta_expressions" / "test" / _META
    left_out = set(_read_videos(test_set)) if split == "valid" and test_set.is_file() else set()
    annotations = root / split / "Annotations"
    for name, video in _read_videos(path).items():
        if name not in left_out:
            with leave_out(skipped):
                pictures = root / split / "JPEGImages"
                yield from _indexed_samples(path, name, video, pictures, annotations, skipped, has_void=False)


def read_ref_davis17(root: Path, split: str, *, skipped: Skipped = None) -> Iterator[BenchmarkSample]:
    """Read Ref-DAVIS17 in the form that ReferFormer converts it to.

    The layout is that of Refer-YouTube-VOS with DAVIS 2017's Annotations_unsupervised, where 255 marks void pixels;
    pictures and annotations may also have stayed in ROOT/DAVIS. Each object has four expressions: those of two
    annotators who saw the first frame, and of two who saw the whole video.

    Source: Khoreva et al., "Video Object Segmentation with Language Referring Expressions", ACCV 2018.

    Raises:
        FormatError: If files are missing or malformed.
    """
    path = first_existing(root, [f"meta_expressions/{split}/{_META}", f"{split}/{_META}"], f"expressions of {split!r}")
    pictures = first_existing(
        root, [f"{split}/JPEGImages", "DAVIS/JPEGImages/480p", "JPEGImages/480p"], f"pictures of {split!r}"
    )
    annotations = first_existing(
        root,
        [f"{split}/Annotations", "DAVIS/Annotations_unsupervised/480p", "Annotations_unsupervised/480p"],
        f"annotations of {split!r}",
    )
    for name, video in _read_videos(path).items():
        with leave_out(skipped):
            yield from _indexed_samples(path, name, video, pictures, annotations, skipped, has_void=True)


def read_mevis(root: Path, split: str, *, skipped: Skipped = None) -> Iterator[BenchmarkSample]:
    """Read MeViS (https://henghuiding.github.io/MeViS/).

    The layout is ROOT/SPLIT/meta_expressions.json, mask_dict.json and JPEGImages. The list "anno_id" of an expression
    names entries of mask_dict, which hold a COCO mask or null for each frame; their union is the ground truth. A split
    without mask_dict.json has none.

    Raises:
        FormatError: If files are missing or malformed.
    """
    path = first_existing(root, [f"{split}/{_META}"], f"expressions of {split!r}")
    coded = path.with_name("mask_dict.json")
    masks = read_json(coded) if coded.is_file() else None
    for name, video in _read_videos(path).items():
        with leave_out(skipped):
            where = f"{path}: {name}"
            frames = _frame_names(video, where)
            pictures = _picture_files(path.parent / "JPEGImages", name, frames)
            size = image_size(pictures[0]) if masks is not None else (1, 1)
            for key, expression in get_field(video, "expressions", dict, where).items():
                with leave_out(skipped):
                    at = f"{where}/{key}"
                    truth = None if masks is None else _union_truth(expression, masks, len(frames), size, at)
                    yield _sample(name, key, expression, pictures, frames, truth, where)


def _union_truth(expression: Any, masks: Mapping[str, Any], n: int, size: tuple[int, int], where: str) -> CocoTruth:
    keys = [str(key) for key in get_field(expression, "anno_id", list, where)]
    missing = next((key for key in keys if key not in masks), None)
    if missing is not None:
        raise FormatError(f"{where}: mask_dict.json has no annotation {missing!r}")
    if any(len(masks[key]) != n for key in keys):
        raise FormatError(f"{where}: mask_dict.json must have a row for each of its {n} frames")
    rows = tuple(tuple(masks[key][k] for key in keys if masks[key][k]) for k in range(n))
    return CocoTruth(rows, size, where)


def _read_videos(path: Path) -> dict[str, Any]:
    videos: dict[str, Any] = get_field(read_json(path), "videos", dict, str(path))
    return videos


def _frame_names(video: Any, where: str) -> list[str]:
    frames = get_field(video, "frames", list, where)
    if not frames or not all(isinstance(name, str) for name in frames):
        raise FormatError(f"{where}: frames must be the names of one picture or more")
    return sorted(safe_name(name, f"{where}: a frame") for name in frames)


def _picture_files(folder: Path, name: str, frames: list[str]) -> tuple[Path, ...]:
    return require_files([folder / safe_name(name, "a video") / f"{f}.jpg" for f in frames], f"video {name}")


def _indexed_samples(
    path: Path, name: str, video: Any, pictures: Path, annotations: Path, skipped: Skipped, *, has_void: bool
) -> Iterator[BenchmarkSample]:
    where = f"{path}: {name}"
    frames = _frame_names(video, where)
    files = _picture_files(pictures, name, frames)
    for key, expression in get_field(video, "expressions", dict, where).items():
        with leave_out(skipped):
            truth = None
            if annotations.is_dir() and isinstance(expression, Mapping) and "obj_id" in expression:
                number = str(expression["obj_id"])
                if not number.isdigit() or not 0 < int(number) < 255:
                    raise FormatError(f"{where}/{key}: obj_id must be a number from 1 to 254, got {number!r}")
                masks = require_files([annotations / name / f"{f}.png" for f in frames], f"video {name}")
                truth = IndexedTruth(masks, int(number), has_void)
            yield _sample(name, key, expression, files, frames, truth, where)


def _sample(
    name: str,
    key: str,
    expression: Any,
    files: tuple[Path, ...],
    frames: list[str],
    truth: GroundTruth | None,
    where: str,
) -> BenchmarkSample:
    words = " ".join(get_field(expression, "exp", str, f"{where}/{key}").split())
    scored_frames = tuple(range(len(files))) if truth is not None else ()
    return BenchmarkSample(
        name, safe_name(key, f"{where}: an expression"), words, files, tuple(frames), truth, scored_frames
    )


# --- DAVIS -----------------------------------------------------------------------------------------------------------


def read_davis(root: Path, split: str, *, skipped: Skipped = None) -> Iterator[BenchmarkSample]:
    """Read DAVIS 2016 or 2017 (https://davischallenge.org): JPEGImages/[480p/]VIDEO and Annotations/[480p/]VIDEO.

    ImageSets/2017/SPLIT.txt (or 2016 or 480p) lists the videos; without ImageSets all are read. DAVIS has no
    expressions: they come from a meta.json {"clips": {VIDEO: {"expressions": [...]}}} for videos of one object, or from
    davis_semantics.json, which names each object. Without either the words are empty. The first frame, which
    semi-supervised DAVIS provides, and the last one are not scored.

    Raises:
        FormatError: If files are missing or malformed.
    """
    pictures = first_existing(root, [f"JPEGImages/{r}".rstrip("/") for r in _DAVIS_RESOLUTIONS], "pictures")
    annotations = first_existing(root, [f"Annotations/{r}".rstrip("/") for r in _DAVIS_RESOLUTIONS], "annotations")
    meta = root / "meta.json"
    clips = (read_json(meta).get("clips") or {}) if meta.is_file() else {}
    semantics = root / "davis_semantics.json"
    object_names = read_json(semantics) if semantics.is_file() else {}
    for name in _davis_videos(root, pictures, split):
        with leave_out(skipped):
            yield from _davis_samples(name, pictures, annotations, clips.get(name, {}), object_names.get(name, {}))


def _davis_samples(
    name: str, pictures: Path, annotations: Path, clip: Mapping[str, list[str]], names: Mapping[str, str]
) -> Iterator[BenchmarkSample]:
    files = require_files(sorted((pictures / name).glob("*.jpg")), f"video {name}")
    annotated = require_files([annotations / name / f"{f.stem}.png" for f in files], f"video {name}")
    if len(files) < 3:
        raise FormatError(f"{pictures / name} has {len(files)} pictures; without the first and last none is judged")
    indices = [int(n) for n in np.unique(read_indices(annotated[0])) if n]
    single_mask = indices == [VOID]  # DAVIS 2016
    numbers = indices if single_mask else [n for n in indices if n != VOID]
    if not numbers:
        raise FormatError(f"video {name}: {annotated[0]} shows no object, and DAVIS says by it which there are")
    for number in numbers:
        truth = IndexedTruth(annotated, number, has_void=not single_mask)
        for k, expression in enumerate(_davis_words(clip, names, number, single=len(numbers) == 1)):
            key = f"{number}-{k}" if not single_mask else str(k)
            frames = tuple(f.stem for f in files)
            yield BenchmarkSample(name, key, expression, files, frames, truth, tuple(range(1, len(files) - 1)))


def _davis_words(clip: Mapping[str, list[str]], names: Mapping[str, str], number: int, *, single: bool) -> list[str]:
    if single and clip.get("expressions"):
        return list(clip["expressions"])
    return [names.get(str(number), "")]


def _davis_videos(root: Path, pictures: Path, split: str) -> list[str]:
    for place in ("ImageSets/2017", "ImageSets/2016", "ImageSets/480p"):
        listed = root / place / f"{split}.txt"
        if listed.is_file():
            lines = [line.split() for line in listed.read_text(encoding="utf-8").splitlines()]
            # DAVIS 2016 lists every picture: /JPEGImages/480p/bear/00000.jpg /Annotations/480p/bear/00000.png
            return sorted({line[0] if "/" not in line[0] else Path(line[0]).parts[-2] for line in lines if line})
    if (root / "ImageSets").is_dir():
        raise FormatError(f"{root / 'ImageSets'} has no list {split!r}")
    return sorted(folder.name for folder in pictures.iterdir() if folder.is_dir())


# --- RefCOCO, RefCOCO+ and RefCOCOg ----------------------------------------------------------------------------------


def read_refcoco(
    root: Path, split: str, *, name: str = "refcoco", partition: str | None = None, skipped: Skipped = None
) -> Iterator[BenchmarkSample]:
    """Read RefCOCO, RefCOCO+ or RefCOCOg as the `refer` toolkit stores them (https://github.com/lichengunc/refer).

    ROOT/NAME/refs(PARTITION).p is a pickle of a list of {ref_id, ann_id, image_id, split, sentences: [{sent_id, sent,
    ...}], ...}; ROOT/NAME/instances.json holds COCO's instances, and the pictures are COCO's train2014.

    Args:
        root: The folder above NAME.
        split: val, testA or testB; for RefCOCOg val or test.
        name: refcoco, refcoco+ or refcocog.
        partition: unc, umd or google; unless given, the first of the dataset's usual ones that is there.
        skipped: See `read_dataset`.

    Raises:
        FormatError: If files are missing or malformed, or the split is empty.
    """
    wanted = [partition] if partition else list(_REFCOCO_PARTITIONS[name])
    refs = first_existing(
        root, [f"{place}refs({p}).p" for p in wanted for place in (f"{name}/", "")], f"refs of {name}"
    )
    instances = read_json(refs.with_name("instances.json"))
    images = {image.get("id"): image for image in get_field(instances, "images", list, "instances.json")}
    annotations = {a.get("id"): a for a in get_field(instances, "annotations", list, "instances.json")}
    pictures = first_existing(root, _COCO_PICTURES, "pictures of COCO's train2014")
    found = False
    for ref in load_plain_pickle(refs):
        where = f"{refs}: ref {ref.get('ref_id') if isinstance(ref, dict) else ref!r:.40}"
        with leave_out(skipped):
            if get_field(ref, "split", str, where) != split:
                continue
            found = True
            yield from _ref_samples(ref, images, annotations, pictures, where)
    if not found:
        raise FormatError(f"{refs} has no refs of the split {split!r}")


def _ref_samples(
    ref: Any, images: Mapping[Any, Any], annotations: Mapping[Any, Any], pictures: Path, where: str
) -> Iterator[BenchmarkSample]:
    image, annotation = images.get(ref.get("image_id")), annotations.get(ref.get("ann_id"))
    if image is None or annotation is None:
        raise FormatError(f"{where}: instances.json has no image {ref.get('image_id')} or no {ref.get('ann_id')}")
    size = (get_field(image, "width", int, where), get_field(image, "height", int, where))
    truth = CocoTruth(((annotation.get("segmentation"),),), size, where)
    file = get_field(image, "file_name", str, where)
    path = require_files([pictures / safe_name(file, where)], where)
    for sentence in get_field(ref, "sentences", list, where):
        words = " ".join(get_field(sentence, "sent", str, where).split())
        key = str(get_field(sentence, "sent_id", int, where))
        yield BenchmarkSample(Path(file).stem, key, words, path, (Path(file).stem,), truth, (0,))


class _PlainUnpickler(pickle.Unpickler):
    """Refuses every class: a pickle may run any code, and lists, dicts, strings and numbers need none."""

    def find_class(self, module: str, name: str) -> Any:
        raise FormatError(f"it asks for {module}.{name}, and only plain data is read")


def load_plain_pickle(path: Path) -> list[Any]:
    """Read a pickle that holds a list of plain data. Raises FormatError for anything else."""
    try:
        content = _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="latin-1").load()
    except FormatError as error:
        raise FormatError(f"{path} is refused: {error}") from None
    except Exception as error:  # a damaged pickle raises almost anything
        raise FormatError(f"{path} is no pickle that can be read: {error}") from None
    if not isinstance(content, list):
        raise FormatError(f"{path} must hold a list of refs, not a {type(content).__name__}")
    return content
