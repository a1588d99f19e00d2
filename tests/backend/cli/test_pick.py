"""`refam pick`: masks of clicks, the command that tracks them, and a page that only the person who started it has."""

from __future__ import annotations

import re
import shlex
import threading
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from backend.cli.main import app as cli
from backend.cli.pick_page import Picker, create_app
from refam.pipeline.roi import RegionOfInterest
from refam.segmenters.grabcut import GrabCutSegmenter
from tests import media
from video.io.reader import open_clip
from video.types import Candidate

W, H, SIDE = 160, 96, 16
X = (4 * 5 + SIDE / 2) / W  # the middle of the square of media.numbered_frames on frame 4
BOX = {"kind": "box", "frame": 4, "at": [20 / W, 32 / H, 36 / W, 48 / H]}
POINT = {"kind": "point", "frame": 4, "at": [X, 40 / H]}
OFF = {"kind": "not_point", "frame": 4, "at": [0.9, 0.9]}


class SquareSegmenter:
    """Always finds the square of frame 4."""

    name = "square-double"

    def segment(self, image, prompt, *, frame=0):
        mask = np.zeros(image.shape[:2], bool)
        mask[32:48, 20:36] = True
        return [Candidate(frame, mask, 0.9)]


@pytest.fixture
def clip(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return open_clip(media.cfr(Path("my clip.mp4"), media.numbered_frames(12)))


@pytest.fixture
def client(clip):
    picker = Picker(clip, SquareSegmenter(), ["my clip.mp4", "--sam2", "grabcut"])
    return TestClient(create_app(picker, "secret"), raise_server_exceptions=False)


def ask(client, *marks, frame=4):
    return client.post("/secret/mask", json={"frame": frame, "marks": list(marks)})


@pytest.mark.parametrize(
    ("marks", "drawn"),
    [
        ([POINT], ["--point", "0.175,0.4167@4"]),
        ([BOX], ["--box", "0.125,0.3333,0.1,0.1667@4"]),
        ([POINT, OFF], ["--point", "0.175,0.4167@4", "--not-point", "0.9,0.9@4"]),
        ([POINT, {**POINT, "frame": 7}], ["--point", "0.175,0.4167@4", "--point", "0.175,0.4167@7"]),
        ([{**BOX, "at": [0, 0, 1, 1]}, BOX], ["--box", "0.125,0.3333,0.1,0.1667@4"]),
        ([{**BOX, "at": [0.33335, 0.5, 1, 1]}], ["--box", "0.3333,0.5,0.6667,0.5@4"]),
    ],
)
def test_the_command_is_what_was_drawn(client, marks, drawn, capsys):
    answer = ask(client, *marks)
    assert answer.status_code == 200, answer.text
    command = shlex.split(answer.json()["command"])
    assert command == ["refam", "label", "my clip.mp4", *drawn, "--sam2", "grabcut"]
    assert answer.json()["command"] in capsys.readouterr().out


def test_the_command_does_what_the_page_shows(clip):
    picker = Picker(clip, GrabCutSegmenter(), ["my clip.mp4", "--sam2", "grabcut", "--out", "o"])
    client = TestClient(create_app(picker, "secret"))
    command = shlex.split(ask(client, BOX).json()["command"])
    result = CliRunner().invoke(cli, [*command[1:], "--preview-only"])
    assert result.exit_code == 0, result.output
    assert Path("o/preview.png").exists()


@pytest.mark.parametrize(
    ("options", "carried"),
    [
        ([], []),
        (["--quality", "normal", "--every", "1"], []),
        (["--quality", "best"], ["--quality", "best"]),
        (["--range", "2-8", "--every", "3"], ["--range", "2-8", "--every", "3"]),
        (["--max-size", "96", "--fps", "12.5"], ["--fps", "12.5", "--max-size", "96"]),
        (["--out", "o", "--label", "Dog"], ["--label", "Dog", "--out", "o"]),
    ],
)
def test_options_of_label_are_carried_to_its_command(clip, monkeypatch, options, carried):
    apps = []
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: apps.append(self.config.app))
    arguments = ["pick", "my clip.mp4", "--sam2", "grabcut", "--no-download", "--no-browser", *options]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    token = re.search(r"http://127\.0\.0\.1:\d+/([\w-]{32})/", result.stdout)[1]
    answer = TestClient(apps[0]).post(f"/{token}/mask", json={"frame": 4, "marks": [BOX]})
    assert answer.status_code == 200, answer.text
    command = shlex.split(answer.json()["command"])
    assert command[5:] == [*carried, "--sam2", "grabcut", "--no-download"]
    result = CliRunner().invoke(cli, [*command[1:], "--preview-only"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--range", "20-30"], 1, "begins behind the video's end"),
        (["--range", "x"], 2, "--range x: give FROM-TO"),
        (["--every", "0"], 2, "--every 0"),
        (["--quality", "great"], 2, "'great' is not one of"),
    ],
)
def test_options_that_label_would_refuse_are_refused_at_once(clip, options, code, sentence):
    arguments = ["pick", "my clip.mp4", "--sam2", "grabcut", "--no-browser", *options]
    result = CliRunner().invoke(cli, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == code
    assert sentence in " ".join(result.output.split())


def test_a_mark_outside_of_the_range_is_refused_in_the_page(clip):
    picker = Picker(clip, SquareSegmenter(), ["my clip.mp4"], RegionOfInterest("5-9"))
    answer = ask(TestClient(create_app(picker, "secret")), BOX)
    assert answer.status_code == 400
    assert answer.json()["error"] == "frame 4 was drawn on, and --range 5-9 has the frames 5 to 9"


def test_the_mask_is_drawn_on_the_frame_of_its_marks_only(client):
    plain, masked, other = (ask(client, *marks, frame=f).json() for marks, f in (([], 4), ([POINT], 4), ([POINT], 5)))
    assert plain["picture"].startswith("data:image/jpeg;base64,")
    assert plain["picture"] != masked["picture"]
    assert other["picture"] == ask(client, frame=5).json()["picture"]
    assert (plain["command"], plain["notes"]) == ("", [])
    assert masked["time_s"] == pytest.approx(0.16)


@pytest.mark.parametrize(
    ("marks", "frame", "sentence"),
    [
        ([OFF], 4, "says only what is not the object"),
        ([{**POINT, "frame": 99}], 4, "frame 99 was drawn on, and the video has the frames 0 to 11"),
        ([], 12, "there is no frame 12; the video has the frames 0 to 11"),
        ([{**POINT, "at": [0.1, 0.2, 0.3]}], 4, "--point: 3 numbers are neither a point nor a box"),
        ([{**BOX, "at": [0.5, 0.5, 0.5, 0.6]}], 4, "the width and the height must be more than 0"),
    ],
)
def test_what_cannot_be_meant_is_said(client, marks, frame, sentence):
    answer = ask(client, *marks, frame=frame)
    assert answer.status_code == 400
    assert sentence in answer.json()["error"]


@pytest.mark.parametrize(
    "mark",
    [
        {**POINT, "at": [0.5, 1.5]},
        {**POINT, "at": ["nan", 0.5]},
        {**POINT, "kind": "mask"},
        {**POINT, "kind": "--out"},
        {**POINT, "frame": "1 --out /etc"},
        {**POINT, "frame": -1},
    ],
)
def test_the_page_can_send_numbers_only(client, mark):
    assert ask(client, mark).status_code == 422


def test_no_address_is_found_without_the_token(client):
    for path in ("/", "/mask", "/run", "/wrong/", "/wrong/run", "/docs", "/openapi.json"):
        assert client.get(path).status_code in (404, 405), path
    assert client.post("/wrong/mask", json={"frame": 0, "marks": []}).status_code == 404
    assert client.post("/wrong/run", json={"frame": 0, "marks": [POINT]}).status_code == 404


def test_the_page_needs_nothing_from_elsewhere(client):
    answer = client.get("/secret/")
    assert 'max="11"' in answer.text
    assert "http" not in answer.text
    assert "{{" not in answer.text
    (nonce,) = set(re.findall(r'nonce="([^"]+)"', answer.text))
    assert f"script-src 'nonce-{nonce}'" in answer.headers["content-security-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_one_run_at_a_time_and_its_output_is_shown(clip):
    go_on, ran = threading.Event(), []

    def start(arguments):
        ran.append(list(arguments))
        yield "tracking"
        go_on.wait(20)
        yield 3

    client = TestClient(create_app(Picker(clip, SquareSegmenter(), ["my clip.mp4"], start=start), "secret"))
    body = {"frame": 4, "marks": [POINT]}
    assert client.post("/secret/run", json=body).json()["running"]
    assert client.post("/secret/run", json=body).status_code == 409
    go_on.set()
    for thread in [t for t in threading.enumerate() if t.name == "refam-pick"]:
        thread.join(20)
    assert client.get("/secret/run").json() == {"running": False, "exit_code": 3, "lines": ["tracking"]}
    assert ran == [["label", "my clip.mp4", "--point", "0.175,0.4167@4"]]


def test_the_command_serves_on_loopback_with_a_token(clip, monkeypatch):
    served = []

    def run(self, sockets):
        served.append((sockets[0].getsockname(), self.config.access_log))

    monkeypatch.setattr("uvicorn.Server.run", run)
    arguments = ["pick", "my clip.mp4", "--sam2", "grabcut", "--no-browser"]
    results = [CliRunner().invoke(cli, arguments, env={"COLUMNS": "200"}) for _ in range(2)]
    assert [host for (host, _), _ in served] == ["127.0.0.1"] * 2
    assert not any(log for _, log in served)
    tokens = {re.search(r"http://127\.0\.0\.1:\d+/([\w-]{32})/", result.stdout)[1] for result in results}
    assert len(tokens) == 2


@pytest.mark.parametrize(
    ("video", "sentence"),
    [
        ("gone.mp4", "gone.mp4: there is no such file"),
        ("empty", "empty: the folder holds neither"),
        ("clips", "this names 2 videos; give one"),
        ("bad.mp4", "bad.mp4"),
    ],
)
def test_a_video_that_cannot_be_had_is_said(clip, video, sentence):
    Path("empty").mkdir()
    Path("clips").mkdir()
    for name in "ab":
        media.cfr(Path(f"clips/{name}.mp4"), media.numbered_frames(3))
    media.garbage(Path("bad.mp4"))
    result = CliRunner().invoke(cli, ["pick", video, "--sam2", "grabcut", "--no-browser"], env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert sentence in result.stderr
