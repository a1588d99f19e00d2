"""Scores of nouns in outlined pictures, with a grounder whose peaks are known."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from refam.evaluation.photos import PairScore, photo_table, read_outlined, score_pictures
from video.errors import UserError
from video.types import Heatmap


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "pictures").mkdir()
    lines = []
    for name, nouns in (("a", ["dog"]), ("b", ["dog", "cat"]), ("c", ["car"])):
        cv2.imwrite(str(tmp_path / "pictures" / f"{name}.png"), np.zeros((60, 100, 3), np.uint8))
        left = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]
        right = [[0.6, 0.1], [0.9, 0.1], [0.9, 0.9], [0.6, 0.9]]
        objects = [{"name": n, "polygon": p} for n, p in zip(nouns, (left, [right]), strict=False)]
        lines.append(json.dumps({"file": f"{name}.png", "objects": objects}))
    (tmp_path / "objects.jsonl").write_text("\n".join(lines))
    return tmp_path


class PointsLeft:
    """Always points at the left half; sure of dogs alone."""

    def ground(self, frames, expressions, *, indices):
        sure = [0.9 if "dog" in e else 0.2 for e in expressions]
        return [[Heatmap(indices[0], np.ones((4, 4), np.float32), (0.25, 0.5), c)] for c in sure]


def test_peaks_are_judged_by_the_outlines(directory):
    scores = score_pictures(PointsLeft(), read_outlined(directory), lambda noun: noun != "car")
    present = {(s.noun, s.hit) for s in scores if s.present}
    assert present == {("dog", True), ("cat", False)}
    assert {s.noun for s in scores if not s.present} == {"cat", "dog"}


@pytest.mark.parametrize(
    ("there", "absent", "expected"),
    [([0.9, 0.8], [0.1, 0.2], 1.0), ([0.1], [0.9], 0.0), ([0.5], [0.5], 0.5), ([0.9, 0.3], [0.5, 0.1], 0.75)],
)
def test_absent_nouns_should_have_less_confidence(there, absent, expected):
    scores = [PairScore("dog", True, True, True, c, 0.1) for c in there]
    scores += [PairScore("cat", False, False, False, c, 0.1) for c in absent]
    assert f"AUROC {expected:.3f}" in photo_table(scores)


def test_the_table_has_people_and_each_noun(directory):
    table = photo_table(score_pictures(PointsLeft(), read_outlined(directory), lambda _: True))
    assert "| - dog | 2 | 1.000" in table
    assert "| all | 4 | 0.750" in table
    assert "AUROC" in table


def test_outlines_keep_the_pictures_shape(directory):
    picture = read_outlined(directory)[1]
    assert picture.masks["dog"].shape == (192, 320)
    assert picture.masks["dog"].mean() == pytest.approx(0.5, abs=0.01)
    assert picture.masks["cat"].mean() == pytest.approx(0.3 * 0.8, abs=0.01)


@pytest.mark.parametrize("line", ["{", '{"file": "a.png"}', '{"file": "a.png", "objects": [{"name": "dog"}]}'])
def test_a_broken_line_is_named(directory, line):
    (directory / "objects.jsonl").write_text(line)
    with pytest.raises(UserError, match=r"objects\.jsonl, line 1"):
        read_outlined(directory)


def test_pictures_of_nouns_that_the_model_does_not_know_are_refused(directory):
    with pytest.raises(UserError, match="the nouns are car, cat, dog"):
        score_pictures(PointsLeft(), read_outlined(directory), lambda noun: False)
