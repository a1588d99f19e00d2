"""Times in sight that a real Label Studio stores and exports, beside a box, for an object that leaves and returns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from backend.demo.local_studio import LocalStudio
from backend.labelstudio.connect import connect
from backend.labelstudio.export_reader import read_export
from backend.labelstudio.export_sources import VideoFolder
from backend.labelstudio.label_config import parse_label_config
from backend.service.app import BackgroundServer
from refam.evaluation.synthetic import RED, red_star_and_blue_ring
from tests.media import cfr
from tests.studio import settings_beside

pytestmark = pytest.mark.e2e

_TIMELINE = '<TimelineLabels name="seen" toName="video"><Label value="Star"/></TimelineLabels>'
_VIDEO = '<Video name="video" value="$video" frameRate="$fps"/>'
_LABEL_CONFIGS = {
    "timeline": f"<View>{_TIMELINE}{_VIDEO}</View>",
    "timeline and box": f'<View>{_TIMELINE}{_VIDEO}<VideoRectangle name="box" toName="video"/></View>',
}
_HIDDEN = range(20, 32)  # clip frames


@pytest.mark.parametrize("kind", _LABEL_CONFIGS)
def test_times_in_sight_are_stored(studio: LocalStudio, tmp_path: Path, kind: str) -> None:
    frames, truth = red_star_and_blue_ring(48)
    background = frames[0, 0, 0].copy()
    frames = frames.copy()
    for i in _HIDDEN:
        frames[i][truth[0][i]] = background
        frames[i][np.linalg.norm(frames[i].astype(float) - [220, 30, 30], axis=-1) < 110] = background
    video = cfr(tmp_path / "clip.mp4", frames)
    project, (address,) = studio.create_project(kind, _LABEL_CONFIGS[kind], [video])
    (task,) = studio.import_tasks(project, [{"video": address, "prompt": RED, "fps": 25}])
    settings = settings_beside(studio, tmp_path)
    with BackgroundServer(settings) as backend:
        findings = [f.text for f in connect(settings, project, url=backend.url)]
        assert any('the time in sight goes to <TimelineLabels name="seen">' in text for text in findings), findings
        studio.retrieve_predictions(project)
        assert studio.wait_for_predictions([task], timeout_s=600)
    (prediction,) = studio.predictions(task)
    seen = prediction["result"][-1]
    print(json.dumps(seen, indent=1))
    boxes = ["videorectangle"] if kind == "timeline and box" else []
    assert [r["type"] for r in prediction["result"]] == [*boxes, "timelinelabels"]
    shown = np.zeros(48, bool)
    for item in seen["value"]["ranges"]:
        shown[item["start"] - 1 : item["end"]] = True
    wrong = np.flatnonzero(shown != [i not in _HIDDEN for i in range(48)])
    assert len(wrong) <= 4, (wrong, seen["value"])  # the tracker may see it leave a frame early or late
    assert len(seen["value"]["ranges"]) == 2
    # Accepted as it is, it comes back from the export to the letter, and our reader says what it left out.
    studio.api("POST", f"/api/tasks/{task}/annotations/", json={"result": prediction["result"]})
    exported = studio.api("GET", f"/api/projects/{project}/export?exportType=JSON")
    assert exported[0]["annotations"][0]["result"][-1]["value"] == seen["value"]
    (tmp_path / "export.json").write_text(json.dumps(exported))
    videos = VideoFolder(tmp_path)
    (loaded,) = read_export(tmp_path / "export.json", parse_label_config(_LABEL_CONFIGS[kind]), videos=videos)
    assert len(loaded.video.objects) == len(prediction["result"]) - 1
    assert any("1 times in sight" in note for note in loaded.video.notes)
