"""What is known of pictures from labels, captions and classes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from refam.photos.labels import Photo, find_labels, read_photos
from refam.photos.vocabulary import load_vocabulary
from video.errors import UserError

VOCABULARY = load_vocabulary()
NAMES = list(VOCABULARY.nouns)


def known(photo, noun, logits=None):
    """(present, weight, told) of one noun."""
    labels = find_labels([photo], VOCABULARY, np.zeros((1, 1000)) if logits is None else logits[None])
    column = NAMES.index(noun)
    return bool(labels.present[0, column]), float(labels.weight[0, column]), bool(labels.told[0, column])


def sure_of(noun):
    """Logits that are sure of one class of a noun."""
    logits = np.zeros(1000)
    logits[VOCABULARY.nouns[noun].classes[0]] = 20
    return logits


CAPTIONS = ("A dog runs.", "A puppy on the grass.", "The dog plays.", "An animal outside.", "Dogs run.")


@pytest.mark.parametrize(
    ("photo", "noun", "expected"),
    [
        (Photo("x", labels=("dog",)), "dog", (True, 1.0, True)),
        (Photo("x", labels=("dog",)), "animal", (True, 1.0, True)),
        (Photo("x", labels=("dog",)), "piano", (False, 1.0, False)),  # a picture of one thing
        (Photo("x", labels=("dog",)), "chair", (False, 0.0, False)),  # may be there, untold
        (Photo("x", labels=("dog",), complete=("dog", "cat")), "cat", (False, 1.0, False)),
        (Photo("x", labels=("dog",), complete=("dog", "cat")), "piano", (False, 0.0, False)),
        (Photo("x", labels=("chair",), complete=("person", "chair")), "shirt", (False, 1.0, False)),
        (Photo("x", captions=CAPTIONS), "dog", (True, 1.0, True)),
        (Photo("x", captions=CAPTIONS), "grass", (False, 0.0, False)),  # one of five is too few to be sure
        (Photo("x", captions=CAPTIONS), "boat", (False, 1.0, False)),
        (Photo("x", captions=CAPTIONS), "shirt", (False, pytest.approx(0.3), False)),
        (Photo("x", captions=CAPTIONS), "person", (False, 1.0, False)),
        (Photo("x"), "dog", (False, 0.0, False)),
    ],
)
def test_labels_and_captions(photo, noun, expected):
    assert known(photo, noun) == expected


def test_the_encoders_classes_say_what_is_there_and_what_is_not():
    assert known(Photo("x"), "zebra", sure_of("zebra")) == (True, 1.0, False)
    assert known(Photo("x"), "animal", sure_of("zebra")) == (True, 1.0, False)
    assert known(Photo("x"), "piano", sure_of("zebra")) == (False, 1.0, False)


def test_what_a_person_denied_denies_its_kinds():
    photo = Photo("x", labels=("cat",), complete=("cat", "dog"))
    assert known(photo, "terrier") == (False, 1.0, False)


def test_a_listing_is_read(tmp_path):
    line = {"file": "a.jpg", "labels": ["dog"], "complete": [], "captions": ["A dog."], "source": "mine"}
    (tmp_path / "photos.jsonl").write_text(json.dumps(line) + "\n")
    photo = Photo(tmp_path / "pictures" / "a.jpg", ("dog",), (), ("A dog.",))
    assert read_photos(tmp_path) == [photo]


@pytest.mark.parametrize(
    "line",
    [
        *("{", "[]", "[" * 100_000, '{"labels": ["dog"]}', '{"file": 5}', '{"file": null}', '{"file": ""}'),
        *(json.dumps({"file": "a.jpg", "labels": bad}) for bad in (3, "dog", {"dog": 1}, [5], [None], [""], None)),
        *(json.dumps({"file": "a.jpg", key: "dog"}) for key in ("complete", "captions")),
        '{"file": "h\xfcndin.jpg"}',
    ],
)
def test_a_broken_line_is_named_and_costs_only_itself(tmp_path, line):
    (tmp_path / "photos.jsonl").write_bytes(b'{"file": "a.jpg"}\n' + line.encode("latin-1") + b"\n")
    with pytest.raises(UserError, match=r"photos\.jsonl, line 2"):
        read_photos(tmp_path)
    skipped = []
    assert [p.file.name for p in read_photos(tmp_path, skipped=skipped)] == ["a.jpg"]
    assert len(skipped) == 1


def test_a_folder_without_a_listing_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no photos\.jsonl"):
        read_photos(tmp_path)
