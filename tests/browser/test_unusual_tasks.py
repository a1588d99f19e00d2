"""What the editor draws of regions that other tools wrote, and of videos that begin late, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

from backend.demo.local_studio import LocalStudio
from backend.labelstudio.controls.video_rectangle import interpolate_boxes
from backend.labelstudio.import_tasks import build_label_config, importable_task
from backend.labelstudio.timeline import editor_frame_count
from refam.evaluation.synthetic import red_star_and_blue_ring
from refam.pipeline.types import Target, TrackResult
from refam.tiny.scenes import COLOURS
from tests.browser.editor import Editor, new_page, worst_side
from tests.doubles import track_of_masks
from tests.media import cfr, vfr
from video.io.reader import Clip, open_clip

pytestmark = pytest.mark.browser

FPS = 10.0
START_S = 5.0


@pytest.fixture(scope="module")
def late_clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Clip, Any]:
    """20 frames, the first at 5 s, and the masks of the red star in them."""
    frames, masks = red_star_and_blue_ring(20)
    path = vfr(tmp_path_factory.mktemp("clips") / "late.mp4", frames, times_s=START_S + np.arange(20) / FPS)
    return open_clip(path), masks[0]


@dataclass
class Project:
    editor: Editor
    studio: LocalStudio
    number: int
    late: str
    plain: str

    def open_task(self, video: str, regions: list[dict[str, Any]]) -> Editor:
        """Open a new task of a video whose prediction has these regions."""
        (task,) = self.studio.import_tasks(self.number, [{"video": video, "prompt": "", "fps": FPS}])
        self.studio.store_prediction(task, regions)
        self.editor.open(self.number, task)
        self.editor.wait_for_regions(len(regions))
        return self.editor


@pytest.fixture(scope="module")
def project(studio: LocalStudio, browser: Browser, late_clip: tuple[Clip, Any]) -> Iterator[Project]:
    late = Path(late_clip[0].path)
    plain = cfr(late.with_name("plain.mp4"), red_star_and_blue_ring(40)[0], fps=int(FPS))
    number, addresses = studio.create_project("unusual", build_label_config(["Object"]), [late, plain])
    with new_page(browser) as page:
        yield Project(Editor(page, studio), studio, number, *addresses)


def test_a_late_clip_has_its_boxes_where_the_editor_shows_it(project: Project, late_clip: tuple[Clip, Any]) -> None:
    """The editor counts frames from 0 s, also where the video has none yet."""
    clip, masks = late_clip
    result = TrackResult(Target("Object", words="the red star"), track_of_masks(masks), (), 0.9, 0, ())
    task, _ = importable_task([result], clip, video=project.late, words="", fps=FPS, model_version="m")
    editor = project.open_task(project.late, task["predictions"][0]["result"])
    length = editor.state()["length"]
    assert length == editor_frame_count(clip.duration_s, FPS)
    for frame in (52, 56, 62, length):  # in the gap before, the player goes on to the first frame by itself
        (region,) = editor.seek(frame)["regions"]
        assert region["shown"]
        assert worst_side(region["box"], editor.box_of_color(COLOURS["red"])) < 3.0, frame


def test_the_timeline_is_in_view_on_a_screen_of_1440x900(project: Project) -> None:
    sequence = [{"frame": 1, "time": 0, "enabled": True, "x": 10, "y": 35, "width": 17, "height": 29, "rotation": 0}]
    value = {"framesCount": 40, "duration": 4.0, "labels": ["Object"], "sequence": sequence}
    editor = project.open_task(
        project.plain, [{"id": "r", "type": "videorectangle", "from_name": "box", "to_name": "video", "value": value}]
    )
    editor.page.set_viewport_size({"width": 1440, "height": 900})
    keyframes = editor.page.locator(".lsf-timeline-frames__keypoints").first.bounding_box()
    buttons = editor.page.locator(".lsf-bottombar").first.bounding_box()
    assert keyframes is not None
    assert buttons is not None
    assert keyframes["y"] + keyframes["height"] <= buttons["y"]


@pytest.mark.parametrize("flags", [({}, {}), ({"enabled": None}, {"enabled": False}), ({"enabled": True}, {})])
def test_keyframes_without_enabled_are_drawn_as_they_are_read(
    project: Project, flags: tuple[dict[str, Any], ...]
) -> None:
    sides = {"x": 10, "y": 35, "width": 17, "height": 29, "rotation": 0}
    sequence = [{"frame": frame, "time": 0, **sides, **flag} for frame, flag in zip((1, 20), flags, strict=True)]
    value = {"framesCount": 40, "duration": 4.0, "labels": ["Object"], "sequence": sequence}
    kind = {"type": "videorectangle", "from_name": "box", "to_name": "video"}
    editor = project.open_task(project.plain, [{"id": "r", **kind, "value": value}])
    _, visible = interpolate_boxes(sequence, 40, "a region", aspect=1.5)
    shown = {frame: bool(editor.seek(frame)["regions"][0]["shown"]) for frame in (1, 2, 19, 20, 21, 40)}
    assert shown == {frame: bool(visible[frame - 1]) for frame in shown}
