"""A small vocabulary and small pictures for tests of training."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from refam.photos.vocabulary import Noun, Vocabulary


def small_vocabulary() -> Vocabulary:
    """Three nouns, one of two words, and words that are read as them."""
    nouns = [
        Noun("animal", "animals", (1, 2, 3), ()),
        Noun("dog", "animals", (1, 2), ("animal",)),
        Noun("wine glass", "kitchen", (), ()),
    ]
    return Vocabulary({n.name: n for n in nouns}, {"puppy": "dog", "terrier": "dog", "goblet": "wine glass"})


def write_pictures(folder: Path, count: int = 12, side: int = 120) -> Path:
    """Write pictures of a disc ("dog") or a square ("car") on noise, labelled, as `refam train-photos` reads them."""
    rng = np.random.default_rng(0)
    (folder / "pictures").mkdir(parents=True)
    lines = []
    for index in range(count):
        picture = rng.integers(90, 160, (side, side, 3)).astype(np.uint8)
        noun = ("dog", "car")[index % 2]
        at = (int(rng.integers(35, 85)), int(rng.integers(35, 85)))
        if noun == "dog":
            cv2.circle(picture, at, 25, (20, 20, 220), -1)
        else:
            cv2.rectangle(picture, (at[0] - 25, at[1] - 25), (at[0] + 25, at[1] + 25), (220, 60, 20), -1)
        cv2.imwrite(str(folder / "pictures" / f"{index}.png"), picture)
        lines.append(json.dumps({"file": f"{index}.png", "labels": [noun], "complete": ["dog", "car"]}))
    (folder / "photos.jsonl").write_text("\n".join(lines) + "\n")
    return folder
