"""`refam calibrate`: a task that cannot be used costs only itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from backend.cli.main import app
from tests.media import cfr, garbage, numbered_frames

CONFIG = """<View><TextArea name="t" toName="v" value="$prompt"/>
<Labels name="l" toName="v"><Label value="Car"/></Labels>
<Video name="v" value="$video" frameRate="$fps"/><VideoRectangle name="b" toName="v"/></View>"""
ITEM = {"frame": 1, "x": 1, "y": 1, "width": 9, "height": 9, "enabled": True, "rotation": 0, "words": "the red star"}


def task(identity, video="good.mp4", sequence=ITEM, **more):
    region = {
        "type": "videorectangle",
        "value": {"sequence": [ITEM] if sequence is ITEM else sequence, "labels": ["Car"]},
    }
    annotation = {"id": identity, "result": [region], **more.pop("annotation", {})}
    return SimpleNamespace(id=identity, data={"video": video, "fps": 24, **more}, annotations=[annotation])


BAD = {
    2: task(2, "gone.mp4"),
    3: task(3, "broken.mp4"),
    4: task(4, sequence=[{**ITEM, "x": "left"}]),
    5: task(5, sequence="none"),
    6: task(6, sequence=[ITEM, 7]),
    7: task(7, video=7),
    8: task(8, fps="fast"),
    9: task(9, annotation={"result": 3}),
    10: task(10, "ftp://host/a.mp4"),
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run `refam calibrate` on tasks; what it chooses by them is not looked at here."""
    cfr(tmp_path / "good.mp4", numbered_frames(4))
    garbage(tmp_path / "broken.mp4")
    for name, value in {"MEDIA_ROOT": str(tmp_path), "BACKBONE": "tiny", "SAM2": "grabcut", "DEVICE": "cpu"}.items():
        monkeypatch.setenv(f"REFAM_{name}", value)
    used = []

    def calibrate_settings(grounder, pipeline, usable, *args, **kwargs):
        used.extend(item.task for item in usable)
        return SimpleNamespace(changed=False)

    monkeypatch.setattr("backend.feedback.calibrate.calibrate_settings", calibrate_settings)
    monkeypatch.setattr("backend.cli.calibrate._describe", lambda report: [])

    def calibrate(tasks):
        client = SimpleNamespace(
            projects=SimpleNamespace(get=lambda id: SimpleNamespace(label_config=CONFIG)),
            tasks=SimpleNamespace(list=lambda **kwargs: tasks),
        )
        monkeypatch.setattr("backend.feedback.project.label_studio_client", lambda settings: client)
        result = CliRunner().invoke(app, ["calibrate", "--project", "1"])
        return result.exit_code, " ".join(result.output.split()), used

    return calibrate


def test_tasks_that_cannot_be_used_cost_only_themselves(run):
    code, output, used = run([task(1), *BAD.values(), task(11)])
    assert code == 3, output
    assert used == [1, 11]
    named = output.partition("2 tasks done; left out:")[2]
    for number in BAD:
        assert f"task {number}:" in named or f"task {number}, annotation {number}" in named, number
    assert "gone.mp4" in named


def test_without_bad_tasks_all_is_done(run):
    code, output, used = run([task(1)])
    assert (code, used) == (0, [1]), output


def test_without_a_usable_task_nothing_is_done(run):
    code, output, used = run(list(BAD.values()))
    assert (code, used) == (1, [])
    assert "task 2: " in output
