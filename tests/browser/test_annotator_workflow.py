"""An annotator's workflow in a real Label Studio: import, retrieve, watch, open, other words, a stroke, submit, export.

Everything is done with mouse and keyboard, and at each step what is stored and what the screen shows are both looked
at. The pictures that the documentation shows are made here (REFAM_SCREENSHOTS).
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError
from typer.testing import CliRunner

from backend.cli.main import app
from backend.demo.local_studio import LocalStudio
from backend.feedback.compare import RegionFate
from backend.feedback.store import CorrectionStore
from backend.labelstudio.connect import connect
from backend.labelstudio.import_tasks import build_label_config
from backend.runtime import Runtime
from backend.service.app import BackgroundServer
from refam.evaluation.synthetic import BLUE, RED, red_star_and_blue_ring
from refam.pipeline.stages import Progress, Stage
from refam.pipeline.types import Target
from refam.tiny.scenes import COLOURS
from tests.browser.editor import Editor, new_page, screenshot_path, worst_side
from tests.browser.tasks_page import TasksPage
from tests.media import cfr
from tests.studio import settings_beside
from video.io.reader import Clip

pytestmark = pytest.mark.browser

_TASKS = 8
_FRAMES = 36  # of the clip that is opened in the editor
_MORE_FRAMES = 12  # of the first of the others; each next one has one more
_WITHIN_PERCENT = 3.0
_MOVED_PERCENT = (-3.0, 3.0)  # what this person counts as the star's box lies more to the left and down


def _hold_back(runtime: Runtime, monkeypatch: pytest.MonkeyPatch, *, but_frames: int) -> threading.Semaphore:
    """A job begins only once the semaphore that is returned is released; those on a clip of `but_frames` always do."""
    pipeline, released = runtime.pipeline(), threading.Semaphore(0)
    run = pipeline.run

    def run_when_released(clip: Clip, targets: Sequence[Target], *, progress: Progress, **options: Any) -> Any:
        while len(clip) != but_frames and not released.acquire(timeout=0.05):
            progress(Stage.DECODE, 0.0)  # lets urgent jobs in between
        return run(clip, targets, progress=progress, **options)

    monkeypatch.setattr(pipeline, "run", run_when_released)
    return released


def test_tasks_from_import_to_export(
    studio: LocalStudio, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    videos = []
    for i in range(_TASKS // 2):
        n = _FRAMES if i == _TASKS // 2 - 1 else _MORE_FRAMES + i
        frames, _ = red_star_and_blue_ring(n, size=(480, 270))
        videos.append(cfr(clips / f"clip-{i}.mp4", frames, fps=25))
    number, addresses = studio.create_project("From import to export", build_label_config(["Object"]), videos)
    data = [{"video": a, "prompt": words, "fps": 25} for words in (RED, BLUE) for a in addresses]
    (tmp_path / "tasks.json").write_text(json.dumps([{"data": item} for item in data]))
    runtime = Runtime(settings_beside(studio, tmp_path))
    released = _hold_back(runtime, monkeypatch, but_frames=_FRAMES)
    with BackgroundServer(runtime.settings, runtime) as backend, new_page(browser) as page:
        findings = list(connect(runtime.settings, number, url=backend.url))
        assert not [f for f in findings if f.state == "fail"], findings
        editor, tasks_page = Editor(page, studio), TasksPage(page, studio, number)
        jobs = page.context.new_page()
        jobs.goto(backend.url)
        with monkeypatch.context() as patch:
            patch.setitem(runtime.settings.__dict__, "deadline_s", 3.0)
            tasks = _import_and_retrieve(studio, tasks_page, number, tmp_path / "tasks.json")
        _jobs_are_counted(jobs, released)
        _new_words_come_first(studio, editor, jobs, number, tasks[-1], tmp_path)
        user_box = _correct_a_box_and_repeat_the_words(editor, tmp_path)
        _submit(studio, editor, CorrectionStore(runtime.settings.data_dir), tasks[-1], user_box)
        released.release(_TASKS)
        _every_task_has_one_prediction(studio, jobs, tasks)
        _export(tasks_page, tasks[-1], user_box, clips, tmp_path)


def _import_and_retrieve(studio: LocalStudio, tasks_page: TasksPage, number: int, path: Path) -> list[int]:
    tasks_page.import_file(path)
    tasks = studio.task_ids(number)
    assert len(tasks) == _TASKS
    tasks_page.open()
    assert tasks_page.retrieve_predictions(_TASKS)["processed_items"] == _TASKS, "though no job can be done"
    return tasks


def _jobs_are_counted(jobs: Page, released: threading.Semaphore) -> None:
    expect(jobs.locator("#live")).to_have_text("live")
    expect(jobs.locator("[data-filter=all]")).to_have_text(f"all {_TASKS}")
    expect(jobs.locator("[data-filter=done]")).to_have_text("done 0")
    for done in (1, 2):
        released.release()
        expect(jobs.locator("[data-filter=done]")).to_have_text(f"done {done}", timeout=600_000)


def _new_words_come_first(
    studio: LocalStudio, editor: Editor, jobs: Page, number: int, task: int, tmp_path: Path
) -> None:
    assert studio.predictions(task) == [], "it is the last of the batch"
    editor.page.bring_to_front()  # a browser holds a hidden tab's video back
    _open_until_it_has_a_box(editor, number, task)
    (before,) = editor.seek(20)["regions"]
    assert worst_side(before["box"], editor.box_of_color(COLOURS["blue"])) < _WITHIN_PERCENT
    assert "errors" not in editor.type_words(RED)
    waiting = _TASKS - 2 - 1 - 1  # but those that are done, this one, and the one that is held back while it runs
    expect(jobs.locator("[data-filter=waiting]")).to_have_text(f"waiting {waiting}")
    (after,) = editor.seek(20)["regions"]
    assert after["id"] == before["id"]
    assert worst_side(after["box"], editor.box_of_color(COLOURS["red"])) < _WITHIN_PERCENT
    editor.page.screenshot(path=screenshot_path(tmp_path, "walk-2-words.png"))
    jobs.set_viewport_size({"width": 1100, "height": 760})
    jobs.screenshot(path=screenshot_path(tmp_path, "walk-1-queue.png"))


def _open_until_it_has_a_box(editor: Editor, number: int, task: int) -> None:
    """The opened page comes before the batch; on a slow machine it may still have to be opened once more."""
    for _ in range(10):
        editor.open(number, task)
        with contextlib.suppress(PlaywrightTimeoutError):
            return editor.wait_for_regions(1, timeout_s=20)
    pytest.fail(f"task {task} has no box, however often it is opened")


def _correct_a_box_and_repeat_the_words(editor: Editor, tmp_path: Path) -> dict[str, Any]:
    """One box dragged, Enter once more -> the box as the person left it, with its frame."""
    early, predicted = (editor.seek(frame)["regions"][0]["box"] for frame in (5, 30))
    editor.drag_box(*_MOVED_PERCENT)
    (user_box,) = (region["box"] for region in editor.state()["regions"])
    assert (user_box["x"] - predicted["x"], user_box["y"] - predicted["y"]) == pytest.approx(_MOVED_PERCENT, abs=0.7)
    # The very same text would send nothing, and the editor may have sent "RED;" before.
    assert "errors" not in editor.type_words(f"{RED} ;")
    (kept,) = (region["box"] for region in editor.seek(30)["regions"])
    assert worst_side(kept, user_box) < 1e-6, "what a person drew stays as it is"
    editor.page.screenshot(path=screenshot_path(tmp_path, "walk-3-corrected.png"))
    (follows,) = (region["box"] for region in editor.seek(5)["regions"])
    assert follows["x"] - early["x"] == pytest.approx(_MOVED_PERCENT[0], abs=1.5), "the track follows the stroke"
    return {**user_box, "frame": 30}


def _submit(studio: LocalStudio, editor: Editor, store: CorrectionStore, task: int, user_box: dict[str, Any]) -> None:
    identity = editor.submit()
    stored = studio.api("GET", f"/api/annotations/{identity}/")
    assert stored["task"] == task
    assert worst_side(_keyframe(stored["result"], user_box["frame"]), user_box) < 1e-6
    until = time.monotonic() + 30
    while time.monotonic() < until and not [row for row in store.corrections() if row.task == task]:
        time.sleep(0.2)
    (row,) = [row for row in store.corrections() if row.task == task]
    assert (row.correction.fate, row.correction.strokes) == (RegionFate.MOVED, 2), "other words, and one box"


def _every_task_has_one_prediction(studio: LocalStudio, jobs: Page, tasks: list[int]) -> None:
    assert studio.wait_for_predictions(tasks, timeout_s=600)
    assert [len(studio.predictions(task)) for task in tasks] == [1] * _TASKS
    failed = jobs.locator(".job.failed").all_inner_texts()
    assert failed == []
    expect(jobs.locator("[data-filter=failed]")).to_have_text("failed 0")


def _export(tasks_page: TasksPage, task: int, user_box: dict[str, Any], clips: Path, tmp_path: Path) -> None:
    tasks_page.open()
    exported = tasks_page.export(tmp_path / "export.json")
    (one,) = [item for item in exported if item["annotations"]]
    assert one["id"] == task
    assert worst_side(_keyframe(one["annotations"][0]["result"], user_box["frame"]), user_box) < 1e-6
    (tmp_path / "config.xml").write_text(build_label_config(["Object"]))
    result = CliRunner().invoke(
        app,
        [
            *("export", str(tmp_path / "export.json"), "--config", str(tmp_path / "config.xml")),
            *("--videos", str(clips), "--format", "coco", "--out", str(tmp_path / "coco")),
        ],
    )
    assert result.exit_code == 0, result.output
    assert "1 videos, 1 objects" in result.output


def _keyframe(result: list[dict[str, Any]], frame: int) -> dict[str, Any]:
    (region,) = [region for region in result if region["type"] == "videorectangle"]
    (keyframe,) = [item for item in region["value"]["sequence"] if item["frame"] == frame]
    return dict(keyframe)
