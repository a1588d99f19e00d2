"""RefCOCO, RefCOCO+ and RefCOCOg as the authors' `refer` toolkit keeps them (https://github.com/lichengunc/refer).

ROOT/NAME/refs(unc).p (RefCOCOg: refs(umd).p or refs(google).p) is a pickle of a list of
{ref_id, ann_id, image_id, split, sentences: [{sent_id, sent, ...}], ...}, ROOT/NAME/instances.json COCO's instances,
and the pictures are COCO's train2014. Pickles can run anything when they are read: only plain data is let through.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from refam.evaluation.questions import CodedTruth, Question, first_of, require_files
from video.formats.base import FormatError, field, read_json, safe_name

_REFS = {"refcoco": ("unc", "google"), "refcoco+": ("unc",), "refcocog": ("umd", "google")}
_PICTURES = ("images/mscoco/images/train2014", "images/train2014", "train2014", "coco/train2014")


def refcoco(root: Path, split: str, *, name: str = "refcoco", partition: str | None = None) -> Iterator[Question]:
    """Every sentence of a split (val, testA, testB; RefCOCOg: val, test). Raises FormatError.

    partition: "unc", "umd" or "google"; the usual one of the dataset unless given.
    """
    wanted = [partition] if partition else list(_REFS[name])
    refs = first_of(root, [f"{place}refs({p}).p" for p in wanted for place in (f"{name}/", "")], f"refs of {name}")
    instances = read_json(refs.with_name("instances.json"))
    images = {image.get("id"): image for image in field(instances, "images", list, "instances.json")}
    annotations = {a.get("id"): a for a in field(instances, "annotations", list, "instances.json")}
    pictures = first_of(root, _PICTURES, "pictures of COCO's train2014")
    found = False
    for ref in plain_pickle(refs):
        where = f"{refs}: ref {ref.get('ref_id') if isinstance(ref, dict) else ref!r:.40}"
        if field(ref, "split", str, where) != split:
            continue
        found = True
        image, annotation = images.get(ref.get("image_id")), annotations.get(ref.get("ann_id"))
        if image is None or annotation is None:
            raise FormatError(f"{where}: instances.json has no image {ref.get('image_id')} or no {ref.get('ann_id')}")
        size = (field(image, "width", int, where), field(image, "height", int, where))
        truth = CodedTruth(((annotation.get("segmentation"),),), size, where)
        file = field(image, "file_name", str, where)
        path = require_files([pictures / safe_name(file, where)], where)
        for sentence in field(ref, "sentences", list, where):
            words = " ".join(field(sentence, "sent", str, where).split())
            key = str(field(sentence, "sent_id", int, where))
            yield Question(Path(file).stem, key, words, path, (Path(file).stem,), truth, (0,))
    if not found:
        raise FormatError(f"{refs} has no refs of the split {split!r}")


class _Plain(pickle.Unpickler):
    """Lists, dicts, strings and numbers need no class; whatever asks for one is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise FormatError(f"it asks for {module}.{name}, and only plain data is read")


def plain_pickle(path: Path) -> list[Any]:
    """A pickle of a list of plain data. Raises FormatError."""
    try:
        content = _Plain(io.BytesIO(path.read_bytes()), encoding="latin-1").load()
    except FormatError as error:
        raise FormatError(f"{path} is refused: {error}") from None
    except Exception as error:  # a damaged pickle raises almost anything
        raise FormatError(f"{path} is no pickle that can be read: {error}") from None
    if not isinstance(content, list):
        raise FormatError(f"{path} must hold a list of refs, not a {type(content).__name__}")
    return content
