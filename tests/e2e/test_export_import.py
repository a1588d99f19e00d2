"""Label Studio's export of a corrected annotation beside its own interpolation, and its import of what we export."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from typer.testing import CliRunner

from backend.cli.main import app
from backend.cli.outputs import tracks_json
from backend.demo.local_studio import LocalStudio
from backend.labelstudio.import_tasks import importable_task
from refam.evaluation.synthetic import RED, red_star_and_blue_ring
from refam.pipeline.types import Target, TrackResult
from tests.media import cfr
from video import masks
from video.io.reader import open_clip
from video.types import MaskTrack

pytestmark = pytest.mark.e2e

_SIZE, _N = (320, 180), 40


@pytest.fixture(scope="module")
def clip_and_result(tmp_path_factory: pytest.TempPathFactory):
    frames, truth = red_star_and_blue_ring(_N, size=_SIZE)
    clip = open_clip(cfr(tmp_path_factory.mktemp("videos") / "a clip.mp4", frames))
    visible_masks = truth[0].copy()
    visible_masks[15:20] = False
    track = MaskTrack(
        RED,
        _SIZE,
        np.arange(_N),
        tuple(masks.encode(m) for m in visible_masks),
        np.array([masks.box_of(m) or (0, 0, 0, 0) for m in visible_masks]),
        np.ones(_N),
        visible_masks.any(axis=(1, 2)),
    )
    return clip, TrackResult(Target(RED, words=RED), track, (), 0.9, 0, ())


def _run(*args: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in args])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_corrected_annotation_becomes_coco(studio: LocalStudio, clip_and_result, tmp_path: Path) -> None:
    clip, result = clip_and_result
    _, xml = importable_task([result], clip, video="x", words=RED, fps=25, model_version="v")
    project, (address,) = studio.create_project("corrected", xml, [clip.path])
    task, _ = importable_task([result], clip, video=address, words=RED, fps=25, model_version="v")
    (task_id,) = studio.import_tasks(project, [task["data"]])
    region = json.loads(json.dumps(task["predictions"][0]["result"][0]))
    moved = region["value"]["sequence"][1]
    moved |= {"x": 30.0, "y": 20.0, "width": 12.0, "height": 25.0}  # as a person drags it
    studio.api("POST", f"/api/tasks/{task_id}/annotations/", json={"result": [region], "was_cancelled": False})

    export_url = f"/api/projects/{project}/export?exportType=JSON&download_all_tasks=true"
    (tmp_path / "plain.json").write_text(json.dumps(studio.api("GET", export_url)))
    interpolated = studio.api("GET", export_url + "&interpolate_key_frames=true")
    (tmp_path / "interpolated.json").write_text(json.dumps(interpolated))
    (tmp_path / "config.xml").write_text(studio.api("GET", f"/api/projects/{project}")["label_config"])

    label_studio_boxes = {k["frame"]: k for k in interpolated[0]["annotations"][0]["result"][0]["value"]["sequence"]}
    assert len(label_studio_boxes) > len(region["value"]["sequence"])
    for name in ("plain", "interpolated"):
        out = tmp_path / name
        args = ("--format", "coco", "--config", tmp_path / "config.xml", "--videos", clip.path.parent, "--out", out)
        output = _run("export", tmp_path / f"{name}.json", *args)
        assert "1 videos, 1 objects, 40 frames" in output
        read = COCO(str(out / "annotations/instances_all.json"))
        exported_boxes = {read.imgs[a["image_id"]]["frame_index"]: np.array(a["bbox"]) for a in read.anns.values()}
        assert sorted(exported_boxes) == [f for f in range(_N) if not 15 <= f < 20]
        for frame, box in exported_boxes.items():  # at the clip's own rate the editor's frame k + 1 shows frame k
            item = label_studio_boxes[frame + 1]
            expected = [item["x"] * 3.2, item["y"] * 1.8, item["width"] * 3.2, item["height"] * 1.8]
            np.testing.assert_allclose(box, expected, atol=0.02)
        assert [round(v) for v in exported_boxes[moved["frame"] - 1]] == [96, 36, 38, 45]


def test_what_is_imported_is_stored_and_comes_back(studio: LocalStudio, clip_and_result, tmp_path: Path) -> None:
    """tracks -> YouTube-VIS -> tasks -> Label Studio -> its export -> DAVIS: the same pixels."""
    clip, result = clip_and_result
    content = tracks_json(clip, [result], model_version="v")
    (tmp_path / "tracks.json").write_text(json.dumps(content))
    _run("export", tmp_path, "--format", "youtube-vis", "--out", tmp_path / "ytvis")
    _run("import", "youtube-vis", tmp_path / "ytvis/all/instances.json", "--out", tmp_path / "in")
    xml = (tmp_path / "in/label_config.xml").read_text()
    created = studio.api("POST", "/api/projects/", json={"title": "imported", "label_config": xml})
    project = int(created["id"])
    studio.api("POST", f"/api/projects/{project}/import", json=json.loads((tmp_path / "in/tasks.json").read_text()))
    (task,) = studio.task_ids(project)
    (prediction,) = studio.predictions(task)
    assert prediction["model_version"] == "imported/youtube-vis"
    studio.api("POST", f"/api/tasks/{task}/annotations/", json={"result": prediction["result"]})
    exported = studio.api("GET", f"/api/projects/{project}/export?exportType=JSON")
    (tmp_path / "back.json").write_text(json.dumps(exported))
    args = ("--config", tmp_path / "in/label_config.xml", "--out", tmp_path / "davis")
    _run("export", tmp_path / "back.json", "--format", "davis", *args)
    from PIL import Image

    files = sorted((tmp_path / "davis/Annotations/Full-Resolution").rglob("*.png"))
    assert len(files) == _N
    for frame, file in enumerate(files):
        np.testing.assert_array_equal(np.array(Image.open(file)) == 1, masks.decode(result.track.rles[frame]))
