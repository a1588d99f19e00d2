"""`refam curate` on the command line: usage errors, printed summary, results and exports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("ray", reason="pip install 'refam-label-studio[curate]'")

from backend.batch.manifest import read_manifest
from backend.batch.results import ResultFolderInfo, ResultSink, write_info
from backend.cli.curate import _show_progress
from backend.cli.main import app
from backend.runtime import Runtime
from backend.settings import load_settings
from refam.evaluation.synthetic import BLUE, RED, red_star_and_blue_ring
from tests.backend.batch.manifests import write_manifest
from tests.media import cfr, picture, truncated
from video.masks import box_iou, box_of

ROOT = Path(__file__).parents[3]


def curate(*arguments):
    env = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "COLUMNS": "200", "REFAM_SAM2": "grabcut"}
    return subprocess.run(
        [sys.executable, "-m", "backend.cli.main", "curate", *map(str, arguments)],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give MANIFEST and --out DIR, or --status DIR alone"),
        (["m.csv"], "give MANIFEST and --out DIR"),
        (["m.csv", "--out", "o", "--status", "o"], "or --status DIR alone"),
        (["none.csv", "--out", "o"], "none.csv"),
        (["m.txt", "--out", "o"], "m.txt"),
        (["--status", "nowhere"], "nowhere holds no run of `refam curate`"),
        (["m.csv", "--out", "o", "--export", "xml"], "'xml' is not one of"),
    ],
)
def test_invalid_arguments_are_explained(arguments, message, tmp_path):
    (tmp_path / "m.txt").write_text("nothing")
    given = ["curate", *(str(tmp_path / a) if a.endswith((".csv", ".txt")) else a for a in arguments)]
    result = CliRunner().invoke(app, given, env={"COLUMNS": "200"})
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.output.replace("│", " ").split())
    assert isinstance(result.exception, SystemExit), "an error that nobody expected"


@pytest.fixture
def finished(tmp_path):
    """A manifest and the folder of its finished run by GrabCut: one row whose video could not be used."""
    manifest = write_manifest(tmp_path / "m.csv", [{"video": "none.mp4", "expressions": RED}])
    (manifest_row,) = read_manifest(manifest).rows
    out = tmp_path / "out"
    out.mkdir()
    version = Runtime(load_settings(sam2="grabcut")).model_version
    write_info(out, ResultFolderInfo(str(manifest), 1, 0, version))
    sink = ResultSink(out)
    sink.add(manifest_row, {"status": "error", "error": "there is no none.mp4"})
    sink.flush()
    return manifest, out, version


def test_a_finished_run_needs_no_model(finished, monkeypatch):
    manifest, out, version = finished
    monkeypatch.setattr(Runtime, "fetch_segmenter", lambda self, **_: pytest.fail("a model is fetched"))
    given = ["curate", str(manifest), "--out", str(out), "--quality", "best", "--export", "coco"]
    result = CliRunner().invoke(app, given, env={"COLUMNS": "500"})
    assert "none.mp4" in result.output
    assert f"made by {version}" in " ".join(result.output.split())
    assert "exports/coco" in result.output
    assert result.exit_code == 1, "its only row has no result that is of use"


def test_what_is_no_video_is_refused_before_a_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr("backend.batch.run.ray_cluster", lambda address: pytest.fail("Ray is started"))
    picture(tmp_path / "a.jpg", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "folder").mkdir()
    rows = [{"video": video, "expressions": RED} for video in ("a.jpg", "gone.mp4", "folder")]
    manifest, out = write_manifest(tmp_path / "m.csv", rows), tmp_path / "out"
    result = CliRunner().invoke(app, ["curate", str(manifest), "--out", str(out), "--sam2", "grabcut"])
    assert result.exit_code == 1, result.output
    said = result.stderr.splitlines()
    for line, text in zip(said, ("a.jpg: this is a picture, not a", "there is no file", "is a folder"), strict=True):
        assert text in line
    assert " ".join(result.stdout.split()).startswith("rows error 3 still to do 0")


def test_other_models_go_on_with_a_run_only_when_set_so(finished):
    manifest, out, _ = finished
    again = ["curate", str(manifest), "--out", str(out), "--retry-errors"]
    refused = CliRunner().invoke(app, [*again, "--sam2", "grabcut", "--quality", "best"], env={"COLUMNS": "500"})
    assert refused.exit_code == 1
    assert "go on with --quality normal, or choose another --out" in refused.output


def test_each_object_of_a_plural_is_counted(tmp_path):
    manifest = write_manifest(tmp_path / "m.csv", [{"video": "a.mp4", "expressions": "the dogs; the cat"}])
    (row,) = read_manifest(manifest).rows
    out = tmp_path / "out"
    out.mkdir()
    write_info(out, ResultFolderInfo(str(manifest), 1, 0, "refam-test"))
    sink = ResultSink(out)
    sink.add(row, {"status": "done", "objects": [{"label": label} for label in ("the dogs", "the dogs", "the cat")]})
    sink.flush()
    result = CliRunner().invoke(app, ["curate", "--status", str(out)], env={"COLUMNS": "500"})
    assert "3 objects in" in result.output


def test_a_pipe_gets_lines_between_rows(monkeypatch, capsys):
    monkeypatch.setattr("backend.cli.curate._REPEAT_S", 0.01)
    monkeypatch.setattr("backend.cli.progress._FIRST_LINE_S", 0.05)
    with _show_progress() as progress:
        progress(1, 0, 4)
        time.sleep(0.5)
        between = capsys.readouterr().err
        progress(4, 1, 4)
    assert between.startswith("find the objects of all videos: 25% after 0 s")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_manifest_becomes_results_and_an_export(tmp_path):
    frames, truth = red_star_and_blue_ring(12, size=(320, 180))
    cfr(tmp_path / "good.mp4", frames)
    truncated(tmp_path / "bad.mp4", frames, keep=0.02, index_first=False)
    rows = [
        {"video": "good.mp4", "expressions": f"{RED}; {BLUE}", "labels": "star;ring", "note": "unread"},
        {"video": "good.mp4", "expressions": f"{RED}; {BLUE}", "labels": "star;ring", "note": "the same"},
        {"video": "bad.mp4", "expressions": RED, "labels": "star", "note": ""},
        {"video": "none.mp4", "expressions": RED, "labels": "star", "note": ""},
        {"video": "good.mp4", "expressions": f"{RED}; {BLUE}", "labels": "star", "note": ""},
    ]
    manifest = write_manifest(tmp_path / "m.csv", rows)
    first = curate(manifest, "--out", tmp_path / "out", "--workers", 1, "--export", "coco")
    assert first.returncode == 3, first.stderr
    named = first.stderr.partition("1 rows done; left out:")[2]
    for piece in ("row 5: labels has 1 entries for 2", "row 3: bad.mp4", "row 4: there is no file", "none.mp4"):
        assert piece in named
    assert "1 row(s) say the same as an earlier one" in first.stderr
    assert "columns that nothing reads: note" in first.stderr
    said = " ".join(first.stdout.split())
    for piece in ("done 1", "error 2", "still to do 0", "2 objects", "bad.mp4", "made by refam-", "exports/coco"):
        assert piece in said
    (path,) = (tmp_path / "out" / "exports" / "coco").rglob("*.json")
    coco = json.loads(path.read_text())
    names = {c["id"]: c["name"] for c in coco["categories"]}
    assert set(names.values()) == {"star", "ring"}
    ids = {image["id"]: i for i, image in enumerate(sorted(coco["images"], key=lambda image: image["id"]))}
    for one in coco["annotations"]:
        x, y, w, h = one["bbox"]
        box = np.array([[x / 320, y / 180, (x + w) / 320, (y + h) / 180]])
        true = box_of(truth[["star", "ring"].index(names[one["category_id"]]), ids[one["image_id"]]])
        assert box_iou(box, np.array([true]))[0] > 0.75
    again = curate(manifest, "--out", tmp_path / "out", "--workers", 1)
    assert again.returncode == 3, again.stderr
    assert " ".join(again.stdout.split()).startswith("rows done 1 error 2 still to do 0"), "nothing is done twice"
    status = curate("--status", tmp_path / "out")
    assert status.stdout.splitlines()[:4] == again.stdout.splitlines()[:4]
