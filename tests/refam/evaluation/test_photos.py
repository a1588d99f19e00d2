"""Scores of nouns in outlined pictures, with a grounder whose peaks are known."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from backend.cli.main import app
from refam.evaluation.photos import (
    PairScore,
    photo_table,
    place_table,
    read_outlined,
    score_pictures,
    score_places,
)
from video.errors import UserError
from video.types import Candidate, Heatmap


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


class LeftHalf:
    """Outlines the left half, whatever it is asked."""

    def segment(self, image, prompt, *, frame=0):
        mask = np.zeros(image.shape[:2], bool)
        mask[:, : image.shape[1] // 2] = True
        return [Candidate(frame, mask, 0.9)]


def test_the_first_mask_is_compared_with_the_object_that_it_fits_best(directory):
    scores = score_pictures(PointsLeft(), read_outlined(directory), lambda _: True, segmenter=LeftHalf())
    by_noun = {s.noun: s.mask_iou for s in scores if s.present}
    assert by_noun == {
        "dog": pytest.approx(1, abs=0.02),
        "cat": pytest.approx(0, abs=0.02),
        "car": pytest.approx(1, abs=0.02),
    }
    assert "IoU of the first mask with the object of that noun that it fits best: all 0.7" in photo_table(scores)
    assert all(s.mask_iou is None for s in scores if not s.present)


def test_the_table_has_people_and_each_noun(directory):
    table = photo_table(score_pictures(PointsLeft(), read_outlined(directory), lambda _: True))
    assert "| - dog | 2 | 1.000" in table
    assert "| all | 4 | 0.750" in table
    assert "AUROC" in table


@pytest.mark.parametrize(
    ("left_ends", "right_begins", "count", "asked"),
    [(0.4, 0.6, 2, 2), (0.4, 0.6, 3, 0), (0.5, 0.55, 1, 0), (0.52, 0.05, 2, 0)],
    ids=["two of a kind", "three of them", "one alone", "not side by side"],
)
def test_one_of_two_is_asked_for_by_its_place(tmp_path, left_ends, right_begins, count, asked):
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures" / "a.png"), np.zeros((60, 100, 3), np.uint8))
    spans = [(0.0, left_ends), (right_begins, right_begins + 0.4), (0.45, 0.5)][:count]
    objects = [{"name": "dog", "polygon": [[a, 0.2], [b, 0.2], [b, 0.9], [a, 0.9]]} for a, b in spans]
    (tmp_path / "objects.jsonl").write_text(json.dumps({"file": "a.png", "objects": objects}))
    scores = score_places(PointsLeft(), read_outlined(tmp_path), lambda _: True)
    assert [(s.named, s.other) for s in scores] == [(True, False), (False, True)][:asked]
    assert (f"{asked} phrases" in place_table(scores)) == bool(asked)


def test_outlines_keep_the_pictures_shape(directory):
    picture = read_outlined(directory)[1]
    assert picture.masks["dog"].shape == (192, 320)
    assert picture.masks["dog"].mean() == pytest.approx(0.5, abs=0.01)
    assert picture.masks["cat"].mean() == pytest.approx(0.3 * 0.8, abs=0.01)


SQUARE = [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]]


def row(file="a.png", **changes):
    return json.dumps({"file": file, "objects": [{"name": "dog", "polygon": SQUARE} | changes]})


BROKEN = {
    "{": "invalid JSON",
    "[]": "should be an object",
    "[" * 100_000: "recursion limit",
    '{"file": "a.png"}': "objects: field required",
    '{"file": "a.png", "objects": {}}': "objects: .*valid array",
    row("zz.png"): "cannot be read as a picture",
    row("a" * 300): "File name too long",
    row("a\0.png"): "cannot be read",
    row(""): "file: ",
    row(None): "file: ",
    row(name=5): "name: .*valid string, not 5",
    row(name=None): "name: ",
    row(name=""): "name: ",
    row(name="\ud800"): "invalid JSON",
    row(polygon="x"): "polygon: ",
    row(polygon=[]): "polygon: .*at least 1",
    row(polygon=[[]]): "at least 3",
    row(polygon=SQUARE[:2]): "at least 3",
    row(polygon=[SQUARE, []]): "at least 3",
    row(polygon=[0.1, 0.1, 0.5, 0.5]): "valid array",
    row(polygon=[[*p, 0.5] for p in SQUARE]): "at most 2",
    row(polygon=[*SQUARE, [np.nan, 0.1]]): "finite number, not nan",
    row(polygon=[*SQUARE, [1e30, 0.1]]): "fractions of .* not 1e\\+30",
    row(polygon=[[70, 40], [140, 40], [140, 90]]): "fractions of .* not 70",
}


@pytest.mark.parametrize(("line", "message"), BROKEN.items())
def test_a_broken_line_is_named_and_costs_only_itself(directory, line, message):
    listing = directory / "objects.jsonl"
    whole = listing.read_text()
    listing.write_text(line)
    with pytest.raises(UserError, match=rf"objects\.jsonl, line 1.*{message}"):
        read_outlined(directory)
    listing.write_text(f"{whole}\n\n{line}\n\n")
    skipped = []
    assert [p.file.name for p in read_outlined(directory, skipped=skipped)] == ["a.png", "b.png", "c.png"]
    assert len(skipped) == 1
    assert "objects.jsonl, line 5" in skipped[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.encode("utf-16"), "no UTF-8 text; save it as UTF-8"),
        (lambda text: b"", "lists no pictures"),
        (lambda text: b"\n \n", "lists no pictures"),
        (lambda text: "hündin".encode("latin-1"), "line 1.*not UTF-8"),
        (lambda text: b"1\n2", "line 1.*its other lines cannot be used either"),
    ],
)
def test_a_list_without_a_line_that_can_be_used_is_refused(directory, change, message):
    listing = directory / "objects.jsonl"
    listing.write_bytes(change(listing.read_text()))
    with pytest.raises(UserError, match=message):
        read_outlined(directory, skipped=[])


def test_line_separators_inside_a_name_and_a_byte_order_mark_are_harmless(directory):
    listing = directory / "objects.jsonl"
    listing.write_bytes("\ufeff".encode() + listing.read_bytes().replace(b"car", "c\u2028\x85ar".encode()) + b"\r\n")
    assert list(read_outlined(directory)[2].masks) == ["c\u2028\x85ar"]


def test_the_command_says_what_it_left_out(directory, monkeypatch):
    monkeypatch.setattr("backend.cli.eval._load_grounder", lambda *_: PointsLeft())
    monkeypatch.setattr("refam.evaluation.photos.knows_noun", lambda *_: True)
    listing = directory / "objects.jsonl"
    whole = listing.read_text()
    assert CliRunner().invoke(app, ["eval", "photos", str(directory)]).exit_code == 0
    listing.write_text(whole + "\n" + row("zz.png"))
    done = CliRunner().invoke(app, ["eval", "photos", str(directory)])
    assert done.exit_code == 3
    assert "3 pictures done; left out:" in done.output
    assert "zz.png cannot be read as a picture" in done.output
    listing.write_text(row("zz.png"))
    done = CliRunner().invoke(app, ["eval", "photos", str(directory)])
    assert done.exit_code == 1
    assert "zz.png cannot be read as a picture" in done.output


def test_masks_are_no_part_of_comparing_blocks(directory):
    done = CliRunner().invoke(app, ["eval", "photos", str(directory), "--choose", "--masks"])
    assert (done.exit_code, done.output) == (
        1,
        "refam: --choose compares the peaks of heatmaps only: give it without --masks\n",
    )


def test_pictures_of_nouns_that_the_model_does_not_know_are_refused(directory):
    with pytest.raises(UserError, match="the nouns are car, cat, dog"):
        score_pictures(PointsLeft(), read_outlined(directory), lambda noun: False)
