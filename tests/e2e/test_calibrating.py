"""A project whose settings do not suit its videos: corrections in a real Label Studio bring them right.

The settings that another project's footage led to are in use, and read the words from the wrong block. People correct
every answer, `refam calibrate` chooses anew, and a backend that is started and connected again does better by itself.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from backend.cli.main import app
from backend.demo.local_studio import LocalStudio
from backend.feedback.annotator import EditorTruth, find_wrong_frames
from backend.feedback.calibrated_settings import CalibratedSettings, load_calibrated, save_calibrated
from backend.labelstudio.connect import connect
from backend.labelstudio.controls.video_rectangle import box_sequence
from backend.labelstudio.import_tasks import build_label_config
from backend.runtime import Runtime
from backend.service.app import BackgroundServer
from backend.settings import Settings
from refam.tiny.scenes import draw_clip
from tests.doubles import track_of_masks
from tests.media import cfr
from tests.studio import settings_beside
from video.io.reader import open_clip
from video.keyframes import KEYFRAME_IOU

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

_CLIPS, _FRAMES, _FPS, _SEED = 10, 24, 12, 20261124


def _answered(studio: LocalStudio, settings: Settings, project: int, tasks: list[int]) -> str:
    """Serves, connects and retrieves until every task is answered; the model version."""
    with BackgroundServer(settings) as backend:
        failed = [f for f in connect(settings, project, url=backend.url) if f.state == "fail"]
        assert not failed, failed
        known = {job["id"] for job in _jobs(backend.url)["jobs"]}
        studio.retrieve_predictions(project)
        end = time.monotonic() + 600
        while time.monotonic() < end:
            found = _jobs(backend.url)
            new = [job for job in found["jobs"] if job["id"] not in known]
            ended = [j for j in new if j["state"] == "failed" or (j["state"] == "done" and j["delivered"])]
            if len(ended) == len(tasks):
                return str(found["models"]["version"])
            time.sleep(0.5)
    pytest.fail("the answers did not come")


def _jobs(url: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{url}/jobs", trust_env=False).json()
    return found


def _ious(studio: LocalStudio, tasks: list[int], truths: list[EditorTruth], version: str) -> list[float]:
    """Mean box IoU of each task's answer of that version; 0 where there is none."""
    found = []
    for task, truth in zip(tasks, truths, strict=True):
        stored = [p for p in studio.predictions(task) if p["model_version"] == version]
        sequence = stored[-1]["result"][0]["value"]["sequence"] if stored else []
        found.append(float(find_wrong_frames(sequence, truth)[1][truth.visible].mean()))
    return found


def test_corrections_bring_back_a_reading_that_suits_the_videos(
    studio: LocalStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, truths, videos, sequences = [], [], [], []
    for n in range(_CLIPS):
        drawn = draw_clip(_SEED + n, size=(320, 180), n_frames=_FRAMES, fps=_FPS, speed=0.5)
        k = n % len(drawn.expressions)
        videos.append(cfr(tmp_path / f"clip-{n}.mp4", drawn.frames, fps=_FPS))
        words.append(drawn.expressions[k])
        truths.append(EditorTruth.from_masks(drawn.masks[k]))
        sequences.append(box_sequence(track_of_masks(drawn.masks[k]), open_clip(videos[-1]), fps=_FPS))
    project, addresses = studio.create_project("calibrate", build_label_config(["Object"]), videos)
    data = [{"video": a, "prompt": w, "fps": _FPS} for a, w in zip(addresses, words, strict=True)]
    tasks = studio.import_tasks(project, data)

    settings = settings_beside(studio, tmp_path)
    backbone = Runtime(settings).backbone_identity
    save_calibrated(
        CalibratedSettings(backbone, (0,), 0.5, "", KEYFRAME_IOU, project=999, objects=8), settings.data_dir
    )
    before = _answered(studio, settings, project, tasks)
    poor = _ious(studio, tasks, truths, before)
    assert np.mean(poor) < 0.5, "settings that suit these videos are nothing to be corrected"

    for task, sequence in zip(tasks, sequences, strict=True):
        value = {"sequence": sequence, "labels": ["Object"], "framesCount": _FRAMES, "duration": _FRAMES / _FPS}
        region = {"id": "theirs", "type": "videorectangle", "from_name": "box", "to_name": "video", "value": value}
        studio.api("POST", f"/api/tasks/{task}/annotations/", json={"result": [region]})
    for name, given in {
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": studio.login.token,
        "REFAM_DATA_DIR": str(settings.data_dir),
        "REFAM_CACHE_DIR": str(settings.cache_dir),
    }.items():
        monkeypatch.setenv(name, given)
    said = CliRunner().invoke(app, ["calibrate", "--project", str(project)])
    assert said.exit_code == 0, said.output
    assert "reading: now" in said.output
    chosen = load_calibrated(settings.data_dir, backbone)
    assert chosen is not None
    assert (chosen.project, chosen.objects) == (project, _CLIPS)

    after = _answered(studio, settings, project, tasks)
    assert after != before
    assert after in said.output.replace("\n", "")
    better = _ious(studio, tasks, truths, after)
    print(said.output, f"mean box IoU {np.mean(poor):.3f} -> {np.mean(better):.3f}", poor, better, sep="\n")
    assert np.mean(better) > np.mean(poor) + 0.3
