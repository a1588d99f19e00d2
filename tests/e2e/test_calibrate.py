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
from backend.service.app import BackgroundServer
from backend.settings import Settings
from refam.backbones.identity import name_with_weights
from refam.tiny.scenes import draw_clip
from tests.doubles import track_of_masks
from tests.media import cfr
from tests.studio import settings_beside
from video.io.reader import open_clip
from video.keyframes import KEYFRAME_IOU

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

_CLIPS, _FRAMES, _FPS, _SEED = 10, 24, 12, 20261124


def _predict_all(studio: LocalStudio, settings: Settings, project: int, tasks: list[int]) -> str:
    """Serve, connect and retrieve until every task has its prediction; return the model version."""
    with BackgroundServer(settings) as backend:
        failures = [f for f in connect(settings, project, url=backend.url) if f.state == "fail"]
        assert not failures, failures
        earlier = {job["id"] for job in _jobs(backend.url)["jobs"]}
        studio.retrieve_predictions(project)
        end = time.monotonic() + 600
        while time.monotonic() < end:
            jobs = _jobs(backend.url)
            added = [job for job in jobs["jobs"] if job["id"] not in earlier]
            ended = [j for j in added if j["state"] == "failed" or (j["state"] == "done" and j["delivered"])]
            if len(ended) == len(tasks):
                return str(jobs["models"]["version"])
            time.sleep(0.5)
    pytest.fail("not every task has a prediction after ten minutes")


def _jobs(url: str) -> dict[str, Any]:
    jobs: dict[str, Any] = httpx.get(f"{url}/jobs", trust_env=False).json()
    return jobs


def _ious(studio: LocalStudio, tasks: list[int], truths: list[EditorTruth], version: str) -> list[float]:
    """Return the mean box IoU of each task's prediction of that version; 0 where there is none."""
    ious = []
    for task, truth in zip(tasks, truths, strict=True):
        stored = [p for p in studio.predictions(task) if p["model_version"] == version]
        sequence = stored[-1]["result"][0]["value"]["sequence"] if stored else []
        ious.append(float(find_wrong_frames(sequence, truth)[1][truth.visible].mean()))
    return ious


def test_corrections_restore_settings_that_suit_the_videos(
    studio: LocalStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, truths, videos, sequences = [], [], [], []
    for n in range(_CLIPS):
        clip = draw_clip(_SEED + n, size=(320, 180), n_frames=_FRAMES, fps=_FPS, speed=0.5)
        k = n % len(clip.expressions)
        videos.append(cfr(tmp_path / f"clip-{n}.mp4", clip.frames, fps=_FPS))
        words.append(clip.expressions[k])
        truths.append(EditorTruth.from_masks(clip.masks[k]))
        sequences.append(box_sequence(track_of_masks(clip.masks[k]), open_clip(videos[-1]), fps=_FPS))
    project, addresses = studio.create_project("calibrate", build_label_config(["Object"]), videos)
    data = [{"video": a, "prompt": w, "fps": _FPS} for a, w in zip(addresses, words, strict=True)]
    tasks = studio.import_tasks(project, data)

    settings = settings_beside(studio, tmp_path)
    backbone = name_with_weights("tiny")
    save_calibrated(
        CalibratedSettings(backbone, (0,), 0.5, "", KEYFRAME_IOU, project=999, objects=8), settings.data_dir
    )
    before = _predict_all(studio, settings, project, tasks)
    ious_before = _ious(studio, tasks, truths, before)
    assert np.mean(ious_before) < 0.5, "settings that suit these videos are nothing to be corrected"

    for task, sequence in zip(tasks, sequences, strict=True):
        track = {"sequence": sequence, "labels": ["Object"], "framesCount": _FRAMES, "duration": _FRAMES / _FPS}
        region = {"id": "corrected", "type": "videorectangle", "from_name": "box", "to_name": "video", "value": track}
        studio.api("POST", f"/api/tasks/{task}/annotations/", json={"result": [region]})
    for name, value in {
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": studio.login.token,
        "REFAM_DATA_DIR": str(settings.data_dir),
        "REFAM_CACHE_DIR": str(settings.cache_dir),
    }.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(app, ["calibrate", "--project", str(project)])
    assert result.exit_code == 0, result.output
    assert "reading: now" in result.output
    calibrated = load_calibrated(settings.data_dir, [backbone])
    assert calibrated is not None
    assert (calibrated.project, calibrated.objects) == (project, _CLIPS)

    after = _predict_all(studio, settings, project, tasks)
    assert after != before
    assert after in result.output.replace("\n", "")
    ious_after = _ious(studio, tasks, truths, after)
    print(
        result.output,
        f"mean box IoU {np.mean(ious_before):.3f} -> {np.mean(ious_after):.3f}",
        ious_before,
        ious_after,
        sep="\n",
    )
    assert np.mean(ious_after) > np.mean(ious_before) + 0.3
