"""The demo's real video in a real editor: the box that was found by words, where the checked masks are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from backend.demo.labelling import JobWatch, ask_by_words, wait_for
from backend.demo.local_studio import LocalStudio
from backend.demo.real_clips import load_real_clips
from backend.demo.run import MIN_REAL_IOU, create_demo_project
from backend.labelstudio.timeline import clip_frame_of_editor
from backend.runtime import Runtime
from backend.service.app import BackgroundServer
from refam.segmenters.sam2_weights import find_weights
from tests.browser.editor import Editor, new_page, screenshot_path
from tests.studio import settings_beside
from video.masks import box_iou

pytestmark = pytest.mark.browser

# Read here: in a test the data folder is another.
WEIGHTS = find_weights(
    "sam2-tiny", Path(os.environ.get("REFAM_DATA_DIR") or "~/.local/share/refam").expanduser() / "models"
)


@pytest.mark.skipif(WEIGHTS is None, reason="no `refam models pull sam2-tiny` on this machine")
def test_the_box_follows_the_dog_of_the_demo(studio: LocalStudio, browser: Browser, tmp_path: Path) -> None:
    clip = load_real_clips()[0]
    settings = settings_beside(studio, tmp_path, sam2=str(WEIGHTS))
    runtime = Runtime(settings)
    with BackgroundServer(settings, runtime) as backend:
        project = create_demo_project(studio, [clip], [], jobs_page=f"{backend.url}/")
        studio.connect(project.number, backend.url)
        (task,) = ask_by_words(studio, project.number, [(project.real[0], clip.path.name)])
        assert wait_for(task, JobWatch(runtime.queue.records), say=print) is None
        with new_page(browser) as page:
            editor = Editor(page, studio)
            editor.open(project.number, project.real[0])
            shown_frames = clip_frame_of_editor(clip.times, len(clip.times), clip.fps)
            ious = []
            for frame in np.flatnonzero(np.isfinite(clip.boxes).all(axis=1)):
                (region,) = editor.seek(int(np.flatnonzero(shown_frames == frame)[0]) + 1)["regions"]
                assert region["shown"]
                x, y, width, height = (region["box"][side] / 100 for side in ("x", "y", "width", "height"))
                ious.append(float(box_iou(np.array([x, y, x + width, y + height]), clip.boxes[frame])))
                if frame == 15:
                    page.screenshot(path=screenshot_path(tmp_path, "real-video.jpg"))
    print("IoU of the box on the screen:", np.round(ious, 3))
    assert len(ious) >= 10
    assert np.mean(ious) >= MIN_REAL_IOU
