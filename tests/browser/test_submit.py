"""Submit and Update in a real editor: what is stored, what is shown after a reload, and no draft over it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Response

from backend.demo.local_studio import LocalStudio
from backend.labelstudio.import_tasks import build_label_config
from backend.service.app import BackgroundServer
from refam.evaluation.synthetic import BLUE, RED, red_star_and_blue_ring
from refam.tiny.scenes import COLOURS
from tests.browser.editor import Editor, new_page, worst_side
from tests.media import cfr
from tests.studio import settings_beside

pytestmark = pytest.mark.browser

_WITHIN_PERCENT = 3.0
_DRAFT_S = 8.0  # the editor saves a draft some 5 s after a change


def _without_drafts(studio: LocalStudio, editor: Editor, task: int) -> None:
    """Check, for as long as the editor takes to save one, that no draft stands over what was submitted."""
    editor.page.wait_for_timeout(_DRAFT_S * 1000)
    assert studio.api("GET", f"/api/tasks/{task}/drafts") == []


def test_what_was_submitted_stays_after_submit_update_and_reload(
    studio: LocalStudio, browser: Browser, tmp_path: Path
) -> None:
    frames, _ = red_star_and_blue_ring(24)
    video = cfr(tmp_path / "submitted.mp4", frames, fps=25)
    project, (address,) = studio.create_project("submit", build_label_config(["Object"]), [video])
    (task,) = studio.import_tasks(project, [{"video": address, "prompt": RED, "fps": 25}])
    with BackgroundServer(settings_beside(studio, tmp_path, draft_wait_s=0)) as backend, new_page(browser) as page:
        studio.connect(project, backend.url)
        studio.retrieve_predictions(project)
        assert studio.wait_for_predictions([task], timeout_s=600)
        editor = Editor(page, studio)
        answers: list[Any] = []

        def note_answer(response: Response) -> None:
            if "interactive-annotating" in response.url:
                answers.append(response.json())

        editor.open(project, task)
        for words, color in ((BLUE, "blue"), (RED, "red")):  # Submit, then Update
            assert "errors" not in editor.type_words(words)
            page.on("response", note_answer)
            annotation = editor.submit()
            _without_drafts(studio, editor, task)
            page.remove_listener("response", note_answer)
            assert [answer for answer in answers if answer.get("data")] == [], "nothing was typed"
            stored = studio.api("GET", f"/api/annotations/{annotation}/")["result"]
            (box,) = [region for region in stored if region["type"] == "videorectangle"]
            assert {keyframe["words"] for keyframe in box["value"]["sequence"]} == {words}
            editor.open(project, task)
            (shown,) = editor.seek(10)["regions"]
            assert worst_side(shown["box"], editor.box_of_color(COLOURS[color])) < _WITHIN_PERCENT
