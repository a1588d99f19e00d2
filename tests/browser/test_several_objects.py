"""Several objects of one phrase in a real browser on a real Label Studio: boxes for each, removed together, or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

from backend.demo.local_studio import LocalStudio
from backend.labelstudio.import_tasks import build_label_config
from backend.runtime import Runtime
from backend.service.app import BackgroundServer
from refam.tiny.scenes import Scene, SceneObject, draw_scene
from tests.browser.editor import Box, Editor, new_page, worst_side
from tests.media import cfr
from tests.studio import settings_beside
from video.masks import box_of

pytestmark = pytest.mark.browser

N, SIZE, EXTENT = 24, (256, 144), (113.8, 64.0)
WITHIN_PERCENT = 3.0


def _draw() -> tuple[np.ndarray, np.ndarray]:
    """Frames (N, H, W, 3) and masks (3, N, H, W) of three red stars, from left to right, beside a blue circle."""

    def objects(t: int) -> tuple[SceneObject, ...]:
        stars = [SceneObject("red", "star", "plain", "large", 18 + 30 * k + t / 3, 20, 9) for k in range(3)]
        return (*stars, SceneObject("blue", "circle", "plain", "large", 40 + t / 3, 50, 9))

    drawn = [draw_scene(Scene(EXTENT, objects(t), "grey", 5), SIZE) for t in range(N)]
    return np.stack([frame for frame, _ in drawn]), np.stack([seen[:3] for _, seen in drawn], 1)


def _shown(state: dict[str, Any]) -> list[Box]:
    return sorted((region["box"] for region in state["regions"] if region["shown"]), key=lambda box: box["x"])


def _true(mask: np.ndarray) -> Box:
    x0, y0, x1, y1 = (100 * side for side in box_of(mask) or (0, 0, 0, 0))
    return {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}


def test_every_gives_a_box_for_each_object_and_a_minus_removes_all(
    studio: LocalStudio, browser: Browser, tmp_path: Path
) -> None:
    frames, truth = _draw()
    video = cfr(tmp_path / "stars.mp4", frames)
    number, (address,) = studio.create_project("several", build_label_config(["Star"]), [video])
    settings = settings_beside(studio, tmp_path)
    runtime = Runtime(settings)
    with BackgroundServer(settings, runtime) as backend, new_page(browser) as page:
        studio.connect(number, backend.url)
        (task,) = studio.import_tasks(number, [{"video": address, "prompt": "every red star", "fps": 25}])
        studio.retrieve_predictions(number, [task])
        assert studio.wait_for_predictions([task], timeout_s=900)
        editor = Editor(page, studio)
        editor.open(number, task)
        editor.wait_for_regions(3)
        for frame in (2, N - 1):
            found = _shown(editor.seek(frame))
            assert len(found) == 3
            errors = [worst_side(box, _true(truth[k, frame - 1])) for k, box in enumerate(found)]
            assert max(errors) < WITHIN_PERCENT
        for words, count in (("the two red stars", 2), ("every red star", 3)):
            assert "errors" not in editor.type_words(words)
            assert len(_shown(editor.seek(5))) == count, "other words replace all that was found with the ones before"
        before = {region["id"] for region in editor.state()["regions"]}
        assert "errors" not in editor.type_words("every red star; the blue circle")
        regions = editor.seek(5)["regions"]
        assert len(regions) == 4
        assert before < {region["id"] for region in regions}, "the stars stay as they are"
        assert "errors" not in editor.type_words("-every red star")
        assert len(_shown(editor.seek(5))) == 1
        assert not editor.submit_words("the green crosses").get("data")
        assert len(_shown(editor.seek(5))) == 1, "what is not there changes nothing"
        errors = {job.error for job in runtime.queue.records() if job.title == "the green crosses"}
        assert len(errors) == 1, "the editor may ask twice"
        assert "nothing in this video is 'the green crosses'" in (errors.pop() or "")
