"""`refam eval DATASET` with the shipped model on small copies of the datasets."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from backend.cli.main import app
from refam.evaluation.benchmark import SampleScore, results_table, score_track
from refam.evaluation.datasets import read_dataset
from refam.evaluation.samples import IndexedTruth
from tests.refam.evaluation.layouts import (
    LAYOUTS,
    NAMES,
    SIZE,
    TRUTH,
    N,
    read_samples,
    write_davis,
    write_expressions,
    write_mevis,
    write_ref_davis17,
    write_refer_youtube_vos,
)
from video import masks, metrics
from video.types import MaskTrack


def run(*args):
    return CliRunner().invoke(app, ["eval", *(str(a) for a in args)])


def spoil_frame(root):
    (root / "train/JPEGImages/v1/00010.jpg").unlink()


def spoil_truth(root):
    (root / "train/Annotations/v1/00010.png").unlink()


def spoil_number(root):
    content = {"0": {"exp": "x", "obj_id": "one"}}
    write_expressions(root / "meta_expressions/train/meta_expressions.json", NAMES, content)


def spoil_name(root):
    write_expressions(root / "meta_expressions/train/meta_expressions.json", ["../../x"], {"0": {"exp": "x"}})


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (spoil_frame, "00010.jpg is not there"),
        (spoil_truth, "00010.png is not there"),
        (spoil_number, "obj_id must be a number"),
        (spoil_name, "leads out of its folder"),
    ],
)
def test_what_is_missing_or_wrong_is_named(tmp_path, spoil, sentence):
    write_refer_youtube_vos(tmp_path)
    spoil(tmp_path)
    ran = run("refer-youtube-vos", tmp_path, "--split", "train")
    assert ran.exit_code == 1
    assert sentence in ran.output


@pytest.mark.parametrize("dataset", LAYOUTS)
def test_an_empty_folder_says_what_belongs_there(tmp_path, dataset):
    ran = run(dataset, tmp_path)
    assert ran.exit_code == 1
    assert "looked for" in ran.output


# --- one bad item costs only itself ----------------------------------------------------------------------------------


def another_video(root, listed, name="v2"):
    """Copy the video v1 of a dataset as another, in its list or file of expressions too."""
    for folder in list(root.rglob("v1")):
        shutil.copytree(folder, folder.with_name(name))
    path = root / listed
    if path.suffix == ".txt":
        path.write_text(f"v1\n{name}\n")
        return
    content = json.loads(path.read_text())
    content["videos"][name] = content["videos"]["v1"]
    path.write_text(json.dumps(content))


def erase_mask(root):
    for path in root.glob("**/Annotations*/**/v2/*.png"):
        cv2.imwrite(str(path), np.zeros(TRUTH.shape[2:], np.uint8))


def erase_first_mask(root):
    cv2.imwrite(str(min(root.glob("**/Annotations*/**/v2/*.png"))), np.zeros(TRUTH.shape[2:], np.uint8))


def break_frame(root):
    next(root.glob("**/JPEGImages/**/v2/00002.jpg")).write_bytes(b"no picture")


def break_mask(root):
    next(root.glob("**/Annotations*/**/v2/00003.png")).write_bytes(b"no picture")


def remove_frames(root):
    shutil.rmtree(next(root.glob("**/JPEGImages/**/v2")))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (erase_mask, "shows no object"),
        (erase_first_mask, "shows no object"),
        (break_frame, "00002.jpg"),
        (break_mask, "00003.png"),
        (remove_frames, "v2"),
    ],
)
def test_a_bad_clip_of_davis_costs_only_itself(tmp_path, spoil, sentence):
    root, out = tmp_path / "data", tmp_path / "out"
    write_davis(root)
    another_video(root, "ImageSets/2017/val.txt")
    spoil(root)
    ran = run("davis", root, "--start", "click", "--out", out)
    assert ran.exit_code == 3, ran.output
    said = " ".join(ran.output.split())
    assert "2 expressions done; left out:" in said
    assert sentence in said.partition("left out:")[2]
    assert "v2" in said.partition("left out:")[2]
    assert "| as it ships | 2 |" in (out / "table.md").read_text()
    records = [json.loads(line) for line in (out / "as-it-ships/results.jsonl").read_text().splitlines()]
    assert [r["key"] for r in records] == ["v1/1-0", "v1/2-0"]
    with zipfile.ZipFile(out / "as-it-ships/submission.zip") as archive:
        assert {name.split("/")[1] for name in archive.namelist()} == {"v1"}
    assert run("davis", root, "--start", "click", "--out", out).exit_code == 3, "a second start says it again"


def test_an_object_that_is_never_seen_costs_only_its_expression(tmp_path):
    write_ref_davis17(tmp_path)
    for path in (tmp_path / "valid/Annotations/v1").iterdir():
        picture = np.array(Image.open(path))
        picture[picture == 2] = 0
        Image.fromarray(picture, mode="L").save(path)
    ran = run("ref-davis17", tmp_path, "--start", "click")
    assert ran.exit_code == 3, ran.output
    assert "1 expressions done; left out:" in ran.output
    assert "v1/4 is seen on no picture" in " ".join(ran.output.split())


def test_a_bad_expression_costs_only_itself(tmp_path):
    write_mevis(tmp_path)
    path = tmp_path / "valid_u/meta_expressions.json"
    content = json.loads(path.read_text())
    content["videos"]["v1"]["expressions"] |= {"2": {"exp": "the ring", "anno_id": [77]}, "3": {"exp": 5}, "4": None}
    path.write_text(json.dumps(content))
    ran = run("mevis", tmp_path, "--start", "click")
    assert ran.exit_code == 3, ran.output
    said = " ".join(ran.output.split())
    assert "2 expressions done; left out:" in said
    assert all(f"v1/{key}" in said for key in "234")


def test_a_model_that_is_not_there_is_said_once(tmp_path):
    write_ref_davis17(tmp_path)
    ran = run("ref-davis17", tmp_path, "--backbone", str(tmp_path / "none"))
    assert ran.exit_code == 1
    assert "left out" not in ran.output


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dataset", [name if i == 0 else pytest.param(name, marks=pytest.mark.slow) for i, name in enumerate(LAYOUTS)]
)
def test_the_shipped_model_is_judged_end_to_end(tmp_path, dataset):
    make, split = LAYOUTS[dataset]
    make(tmp_path / "data")
    out = tmp_path / "out"
    ran = run(dataset, tmp_path / "data", "--split", split, "--limit", 1, "--out", out)
    assert ran.exit_code == 0, ran.output
    (record,) = [
        SampleScore(**json.loads(line)) for line in (out / "as-it-ships/results.jsonl").read_text().splitlines()
    ]
    assert record.hit is True
    assert record.j > 0.8
    recorded = json.loads((out / "settings.json").read_text())
    assert recorded["settings"]["backbone"].startswith("small")
    assert recorded["versions"]["torch"]
    if dataset == "refcoco":
        assert "46.91" in ran.output
        return
    # What was written is what was judged: worked out anew from the submission.
    (sample, *_) = read_dataset(dataset, tmp_path / "data", split)
    with zipfile.ZipFile(out / "as-it-ships/submission.zip") as archive:
        names = sorted(archive.namelist())
        assert names == [f"Annotations/v1/{sample.expression}/{f}.png" for f in sample.frames]
        drawn = [cv2.imdecode(np.frombuffer(archive.read(n), np.uint8), cv2.IMREAD_UNCHANGED) for n in names]
    assert all(d.dtype == np.uint8 and set(np.unique(d)) <= {0, 255} for d in drawn)
    js = [
        metrics.region_similarity(drawn[k] == 255, sample.truth.mask(k), void=sample.truth.void(k))
        for k in sample.scored_frames
    ]
    assert np.mean(js) == pytest.approx(record.j, abs=1e-5)


def test_a_second_start_goes_on_and_asks_nothing_twice(tmp_path, monkeypatch):
    write_mevis(tmp_path / "data")
    out = tmp_path / "out"
    args = ("mevis", tmp_path / "data", "--out", out, "--start", "click")
    assert run(*args, "--limit", 1).exit_code == 0
    records = out / "as-it-ships/results.jsonl"
    first = records.read_text()
    records.write_text(first + '{"key": "v1/1", "wor')  # cut off while it was written
    ran = run(*args)
    assert ran.exit_code == 0, ran.output
    lines = records.read_text().splitlines()
    assert lines[0] + "\n" == first
    assert [json.loads(line)["key"] for line in lines] == ["v1/0", "v1/1"]
    assert (out / "table.md").read_text() in ran.output
    ran = run("mevis", tmp_path / "data", "--out", out, "--limit", 1)
    assert ran.exit_code == 1
    assert "results of other settings" in ran.output


def test_the_ablation_stands_beside_the_paper(tmp_path):
    write_ref_davis17(tmp_path / "data")
    ran = run("ref-davis17", tmp_path / "data", "--ablate", "--start", "paper", "--limit", 1)
    assert ran.exit_code == 0, ran.output
    rows = {line.split("|")[1].strip(): line for line in ran.output.splitlines() if line.startswith("|")}
    assert "57.6 | 54.5 | 60.6 | 68.9" in rows["AM + NP + SB, as published"]
    assert {"none", "NP", "NP + SB", "AM + NP", "AM + NP + SB", "as it ships"} <= rows.keys()


def test_without_truth_masks_are_written_and_nothing_is_judged(tmp_path):
    write_refer_youtube_vos(tmp_path / "data")
    ran = run("refer-youtube-vos", tmp_path / "data", "--out", tmp_path / "out")
    assert ran.exit_code == 0, ran.output
    assert "not published" in ran.output
    assert (tmp_path / "out/as-it-ships/submission.zip").is_file()
    ran = run("refer-youtube-vos", tmp_path / "data", "--start", "click")
    assert ran.exit_code == 1
    assert "nothing to click on" in ran.output


def test_words_that_mean_nothing_are_an_empty_answer_with_the_reason(tmp_path):
    write_mevis(tmp_path / "data")
    write_expressions(
        tmp_path / "data/valid_u/meta_expressions.json",
        NAMES,
        {"0": {"exp": "xyzzy plugh", "obj_id": [0], "anno_id": [7]}},
    )
    assert run("mevis", tmp_path / "data", "--out", tmp_path / "out").exit_code == 0
    record = json.loads((tmp_path / "out/as-it-ships/results.jsonl").read_text())
    assert record["j"] == 0
    assert record["hit"] is False
    assert record["why"]


def test_a_click_asks_each_object_once(tmp_path):
    write_ref_davis17(tmp_path / "data")
    out = tmp_path / "out"
    assert run("ref-davis17", tmp_path / "data", "--start", "click", "--out", out).exit_code == 0
    records = [json.loads(line) for line in (out / "as-it-ships/results.jsonl").read_text().splitlines()]
    assert [r["key"] for r in records] == ["v1/0", "v1/4"]
    assert all(r["j"] > 0.8 and r["hit"] is None for r in records)


def test_the_table_by_hand():
    scores = [
        SampleScore("a/0", "w", 1, 1, 5, j=0.5, f=0.7, hit=True, inter=10, union=20, switches=1),
        SampleScore("a/1", "w", 1, 1, 5, j=0.9, f=0.9, hit=None, inter=90, union=100, switches=0),
    ]
    row = results_table("mevis", "valid_u", {"as it ships": scores}).splitlines()[2]
    cells = [c.strip() for c in row.split("|")[1:-1]]
    assert cells[1] == "2"
    assert cells[2].startswith("75.0 (")
    assert cells[3].startswith("70.0 (")
    assert cells[4].startswith("80.0 (")
    assert cells[5].startswith("100.0 (")
    assert cells[6:] == ["83.3", "70.0", "100.0", "1"]


def test_a_track_that_goes_to_another_object_has_switched(tmp_path):
    write_ref_davis17(tmp_path)
    truth = read_samples("ref-davis17", tmp_path, "valid")["v1/0"].truth
    assert isinstance(truth, IndexedTruth)

    shapes = [TRUTH[0, 0], TRUTH[0, 1], TRUTH[1, 2], TRUTH[1, 3], TRUTH[0, 4]]
    track = MaskTrack(
        "x", SIZE, np.arange(N), tuple(masks.encode(m) for m in shapes), np.zeros((N, 4)), np.ones(N), np.ones(N, bool)
    )
    sample = replace(read_samples("ref-davis17", tmp_path, "valid")["v1/0"])
    found = score_track(SampleScore("k", "w", 0, 1, N), sample, track, SIZE, (0.5, 0.5), from_click=False)
    assert found.switches == 2
    assert found.j == pytest.approx(3 / 5, abs=1e-6)
