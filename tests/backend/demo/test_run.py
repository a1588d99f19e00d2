from __future__ import annotations

import json
import os
import signal
import socket
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from backend.batch.manifest import read_manifest
from backend.cli.main import app
from backend.demo.local_studio import LocalStudio, StudioError, StudioLogin, find_label_studio, free_port
from backend.demo.run import box_ious, main
from backend.demo.synthetic_videos import SyntheticVideo, draw_videos
from backend.labelstudio.controls.video_rectangle import box_sequence
from backend.labelstudio.export_reader import read_export
from backend.labelstudio.export_sources import VideoFolder
from backend.labelstudio.label_config import parse_label_config
from tests.doubles import moving_box


def _prediction(video: SyntheticVideo, **motion: float) -> dict[str, object]:
    track = moving_box(len(video.times), **motion)  # type: ignore[arg-type]
    timing = SimpleNamespace(times=video.times, duration_s=video.duration_s)
    sequence = box_sequence(track, timing, fps=video.fps, keyframe_iou=1.0)
    return {"result": [{"value": {"sequence": sequence}}]}


@pytest.fixture
def video() -> SyntheticVideo:
    track = moving_box(40)
    return SyntheticVideo(Path("none.mp4"), ("a",), track.boxes[None], np.arange(40) / 25, 25.0)


def test_the_check_knows_right_from_wrong(video: SyntheticVideo) -> None:
    right = box_ious(_prediction(video), video.boxes[0], video)
    assert right.shape == (40,)
    assert right.min() > 0.999
    assert box_ious(_prediction(video, side=0.1), video.boxes[0], video).mean() == pytest.approx(0.25, abs=0.01)
    half = _prediction(video)
    half["result"][0]["value"]["sequence"][-1] |= {"frame": 20}  # type: ignore[index]
    assert box_ious(half, video.boxes[0], video).mean() < 0.55  # hidden from there on, though the object is there


def test_frames_where_the_object_is_hidden_do_not_count(video: SyntheticVideo) -> None:
    boxes = video.boxes.copy()
    boxes[0, :30] = np.nan
    assert box_ious(_prediction(video), boxes[0], replace(video, boxes=boxes)).shape == (10,)


def test_drawn_videos_play_as_their_truth_says(tmp_path: Path) -> None:
    (video,) = draw_videos(tmp_path, [(101, 25)])
    with av.open(str(video.path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, video.times, atol=1e-6)
    assert video.boxes.shape == (len(video.expressions), len(times), 4)


def test_a_second_signal_does_not_disturb_the_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = []

    def demo(stack: ExitStack, data: Path, **_: object) -> int:
        stack.callback(ended.append, "Label Studio")
        stack.callback(os.kill, os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        return 1

    monkeypatch.setattr("backend.demo.run._demo", demo)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert main(["--data", str(tmp_path)]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended == ["Label Studio"]
    assert "Another `make demo` takes up what was computed" in capsys.readouterr().out


def test_a_taken_port_is_left_to_who_has_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) != port
    assert free_port(port) == port


def test_a_missing_label_studio_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LABEL_STUDIO_BIN", str(tmp_path / "none"))
    with pytest.raises(StudioError, match="make demo"):
        find_label_studio()


def test_a_new_data_directory_begins_with_the_empty_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    executable, empty = tmp_path / "venv/bin/label-studio", tmp_path / "venv/empty-database/label_studio.sqlite3"
    for file, text in ((executable, "#!/bin/sh\nexit 1\n"), (empty, "empty")):
        file.parent.mkdir(parents=True)
        file.write_text(text)
    executable.chmod(0o755)
    monkeypatch.setenv("LABEL_STUDIO_BIN", str(executable))
    database = tmp_path / "data/label_studio.sqlite3"
    for content in ("empty", "with projects"):  # what is there is kept
        with pytest.raises(StudioError, match="did not come up"):
            LocalStudio(tmp_path / "data").start()
        assert database.read_text() == content
        database.write_text("with projects")


def test_a_login_stays_the_same_and_is_for_its_owner_only(tmp_path: Path) -> None:
    login = StudioLogin.load_or_create(tmp_path / "data")
    assert StudioLogin.load_or_create(tmp_path / "data") == login
    assert (tmp_path / "data" / "login.json").stat().st_mode & 0o077 == 0


def test_the_truth_that_is_drawn_says_where_the_object_is(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["draw", str(tmp_path / "clips"), "--count", "1", "--seed", "101"])
    assert said.exit_code == 0, said.output
    (task,) = json.loads((tmp_path / "clips" / "truth.json").read_text())
    (video,) = draw_videos(tmp_path / "again", [(101, 24)])
    assert box_ious(task["annotations"][0], video.boxes[0], video).min() >= 0.95
    config = parse_label_config((tmp_path / "clips" / "label_config.xml").read_text())
    (loaded,) = read_export(tmp_path / "clips" / "truth.json", config, videos=VideoFolder(tmp_path / "clips"))
    assert len(loaded.video.objects) == 1
    (row,) = read_manifest(tmp_path / "clips" / "manifest.csv").rows
    assert row.expressions == video.expressions
    (asked,) = json.loads((tmp_path / "clips" / "tasks.json").read_text())
    assert asked["data"] == {
        "video": "/data/local-files/?d=clips/scene-101.mp4",
        "prompt": video.expressions[0],
        "fps": 24.0,
    }
