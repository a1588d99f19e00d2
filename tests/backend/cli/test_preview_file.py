"""`refam label --preview` and `--preview-only`: the first mask is there before anything is tracked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from backend.cli.main import app
from backend.cli.report import preview_json, print_agreements
from refam.pipeline.preview import PreviewResult
from refam.pipeline.types import Target
from tests import media
from tests.doubles import track_of_masks

W, H, SIDE = 160, 96, 16


@pytest.fixture(autouse=True)
def videos(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        media.cfr(Path(f"{name}.mp4"), media.numbered_frames(12))


def refam(*arguments):
    return CliRunner().invoke(app, ["label", *arguments, "--sam2", "grabcut"], env={"COLUMNS": "200"})


def box_on(frame):
    """The box of the square of media.numbered_frames, in pixels."""
    return f"{frame * 5},32,{SIDE},{SIDE}@{frame}"


def coloured(picture):
    """(H, W) bool: where a picture has the hue of the first object's outline."""
    hsv = cv2.cvtColor(picture, cv2.COLOR_BGR2HSV).astype(int)
    return (abs(hsv[..., 0] - 20) < 4) & (hsv[..., 1] > 200) & (hsv[..., 2] > 150)


@pytest.mark.parametrize(("option", "goes_on"), [("--preview", True), ("--preview-only", False)])
@pytest.mark.parametrize("part", [[], ["--range", "2-9", "--every", "3"]])
def test_the_first_mask_is_written_and_named(option, goes_on, part):
    result = refam("a.mp4", "--box", box_on(4), option, *part, "--out", "o")
    assert result.exit_code == 0, result.output
    assert "first mask       o/preview.png: frame 4 (0.16 s)" in result.stdout
    picture = cv2.imread("o/preview.png")
    assert picture.shape == (H, W, 3)
    columns = np.nonzero(coloured(picture)[31:])[1]  # below the plate with the label
    assert abs(columns.mean() - (4 * 5 + SIDE / 2)) < 3
    assert Path("o/tracks.json").exists() == Path("o/masks").exists() == goes_on


def test_objects_on_several_frames_are_one_picture():
    result = refam("a.mp4", "--box", f"A: {box_on(2)}", "--box", f"B: {box_on(8)}", "--preview-only", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [(o["label"], o["frame"]) for o in report["objects"]] == [("A", 2), ("B", 8)]
    assert report["objects"][1]["box"] == pytest.approx([40 / W, 32 / H, 56 / W, 48 / H], abs=0.02)
    assert report["files"] == {"preview": "found/a/preview.png"}
    assert [o["agreement"] for o in report["objects"]] == [None, None], "no words were looked for"
    assert cv2.imread("found/a/preview.png").shape == (2 * H, W, 3)


def test_several_videos_have_a_preview_each_and_a_bad_one_costs_only_itself():
    media.garbage(Path("bad.mp4"))
    result = refam("a.mp4", "bad.mp4", "b.mp4", "--box", box_on(3), "--preview-only")
    assert result.exit_code == 3, result.output
    assert sorted(path.parent.name for path in Path("found").glob("*/preview.png")) == ["a", "b"]


def test_a_full_run_goes_on_after_a_preview_and_deletes_an_old_one():
    assert refam("a.mp4", "--box", box_on(4), "--preview-only", "--out", "o").exit_code == 0
    assert refam("a.mp4", "--box", box_on(4), "--preview", "--out", "o").exit_code == 0
    assert Path("o/preview.png").exists()
    assert refam("a.mp4", "--box", box_on(5), "--out", "o").exit_code == 0
    assert not Path("o/preview.png").exists()


def test_a_preview_of_other_objects_is_never_left_beside_results_without_a_word():
    note = "note: o holds other results (a.mp4: A); preview.png alone is of what was asked now\n"
    arguments = ("a.mp4", "--out", "o", "--box")
    assert refam(*arguments, f"B: {box_on(8)}", "--preview-only").exit_code == 0
    assert refam(*arguments, f"A: {box_on(4)}").exit_code == 0
    assert not Path("o/preview.png").exists(), "it is of B"
    for label, frame, said in (("B", 8, note), ("A", 5, note), ("A", 4, "")):
        result = refam(*arguments, f"{label}: {box_on(frame)}", "--preview-only")
        assert (result.exit_code, note in result.stderr) == (0, bool(said)), result.output


@pytest.mark.parametrize(
    ("of_words", "score", "line"),
    [
        (True, 0.416, "object 0: the man: 0.42 (how well words, mask and frames agree)\n"),
        (False, None, ""),
        (False, 0.9, ""),
    ],
)
def test_the_number_on_a_first_mask_that_words_found_is_printed(of_words, score, line, capsys):
    track = track_of_masks(np.ones((1, 4, 4), bool), label="the man")
    first = None if score is None else replace(track, scores=np.array([score]))
    target = Target("the man", words="the man")
    result = PreviewResult(target, track, (), 0.0, 0, (), first_mask=first, is_of_words=of_words)
    print_agreements([result])
    assert capsys.readouterr().out == line
    (shown,) = preview_json(Path("p.png"), [result])["objects"]
    assert shown["agreement"] == (score if line else None)
