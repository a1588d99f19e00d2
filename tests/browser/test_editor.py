"""What the annotator sees, in a real browser on a real Label Studio, against the picture on the screen itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from backend.demo.local_studio import LocalStudio
from backend.jobs.models import JobRecord
from backend.labelstudio.import_tasks import build_label_config
from backend.runtime import Runtime
from backend.service.app import BackgroundServer
from refam.evaluation.synthetic import BLUE, RED, red_star_and_blue_ring
from refam.tiny.scenes import COLOURS
from tests.browser.editor import SERIALISED, Editor, new_page, screenshot_path, worst_side
from tests.media import cfr, ntsc, rotated, vfr
from tests.studio import settings_beside

pytestmark = pytest.mark.browser

CLIPS = {"constant rate": 25, "29.97 shown at 30": 30, "29.97 shown at 24": 24, "variable rate": 25, "rotated": 25}
WITHIN_PERCENT = 3.0


@dataclass
class Project:
    """A project with CLIPS, and an editor. addresses: of the clips, by name."""

    editor: Editor
    studio: LocalStudio
    number: int
    addresses: dict[str, str]
    jobs: Callable[[], list[JobRecord]]

    def open_new_task(self, name: str) -> tuple[Editor, int]:
        """Open a new task of a clip once it has its prediction: each test has its own, and may change it."""
        data = {"video": self.addresses[name], "prompt": RED, "fps": CLIPS[name]}
        (task,) = self.studio.import_tasks(self.number, [data])
        self.studio.retrieve_predictions(self.number, [task])
        assert self.studio.wait_for_predictions([task], timeout_s=900)
        self.editor.open(self.number, task)
        return self.editor, task


@pytest.fixture(scope="module")
def project(studio: LocalStudio, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("clips")
    frames, _ = red_star_and_blue_ring()
    videos = [
        cfr(folder / "constant.mp4", frames, fps=25),
        ntsc(folder / "ntsc.mp4", frames),
        ntsc(folder / "ntsc24.mp4", frames),
        vfr(folder / "variable.mp4", frames),
        rotated(folder / "rotated.mp4", frames, degrees=90),
    ]
    settings = settings_beside(studio, folder)
    number, addresses = studio.create_project("browser", build_label_config(["Object"]), videos)
    runtime = Runtime(settings)
    with BackgroundServer(settings, runtime) as backend:
        studio.connect(number, backend.url)
        with new_page(browser) as page:
            named = dict(zip(CLIPS, addresses, strict=True))
            yield Project(Editor(page, studio), studio, number, named, lambda: runtime.queue.records())


@pytest.mark.parametrize("name", CLIPS)
def test_the_box_is_on_the_object_at_five_frames(name: str, project: Project, tmp_path: Path) -> None:
    editor, _ = project.open_new_task(name)
    length = editor.state()["length"]
    errors = {}
    for frame in [1 + round(share * (length - 1)) for share in (0.02, 0.25, 0.5, 0.75, 0.97)]:
        region = editor.shown_region(frame)
        assert region["labels"] == ["Object"]
        errors[frame] = round(worst_side(region["box"], editor.box_of_color(COLOURS["red"])), 2)
    print(name, "error in percent of the frame by editor frame:", errors)
    assert max(errors.values()) < WITHIN_PERCENT, errors


def test_other_words_move_the_track_to_the_other_object(project: Project, tmp_path: Path) -> None:
    editor, _ = project.open_new_task("constant rate")
    (before,) = editor.seek(30)["regions"]
    assert worst_side(before["box"], editor.box_of_color(COLOURS["red"])) < WITHIN_PERCENT
    editor.page.screenshot(path=screenshot_path(tmp_path, "screenshot.png"))
    answer = editor.type_words(BLUE)
    assert "errors" not in answer
    (after,) = editor.seek(30)["regions"]  # still one: it moved, none was added
    assert after["id"] == before["id"]
    assert worst_side(after["box"], editor.box_of_color(COLOURS["blue"])) < WITHIN_PERCENT
    editor.page.screenshot(path=screenshot_path(tmp_path, "screenshot-other-words.png"))
    editor.type_words(RED)
    (restored,) = editor.seek(30)["regions"]
    assert worst_side(restored["box"], editor.box_of_color(COLOURS["red"])) < WITHIN_PERCENT


def test_words_that_find_nothing_leave_the_annotation_as_it_is(project: Project) -> None:
    editor, _ = project.open_new_task("rotated")
    (before,) = editor.seek(10)["regions"]
    assert not editor.submit_words("xyzzy").get("data")
    (after,) = editor.seek(10)["regions"]
    assert after == before
    typed = [r for r in editor.page.evaluate(SERIALISED) if r["type"] == "textarea"]
    assert [(r["value"], set(r)) for r in typed] == [
        ({"text": ["xyzzy"]}, {"id", "from_name", "to_name", "type", "value", "origin"})
    ]
    assert editor.page.get_by_text(re.compile("not (found|finished)")).count() == 0
    assert editor.region_rows() == 1
    (job,) = [job for job in project.jobs() if job.title == "xyzzy"]
    assert "the model in use knows none of the words 'xyzzy'" in (job.error or "")


def test_a_minus_removes_the_box_from_every_frame_until_the_words_return(project: Project) -> None:
    editor, task = project.open_new_task("29.97 shown at 24")
    (before,) = editor.seek(10)["regions"]
    assert "errors" not in editor.type_words(f"-{RED}")
    length = editor.state()["length"]
    for frame in (1, 2, 10, length):
        (removed,) = editor.seek(frame)["regions"]
        assert (removed["id"], removed["shown"], removed["box"]) == (before["id"], False, None)
    stored = project.studio.api("GET", f"/api/annotations/{editor.submit()}/")["result"]
    assert [r["value"]["sequence"] for r in stored if r["type"] == "videorectangle"] == [[]]
    editor.open(project.number, task)
    (removed,) = editor.seek(10)["regions"]
    assert not removed["shown"], "it is opened again as it was saved"
    assert "errors" not in editor.type_words(RED)
    (restored,) = editor.seek(10)["regions"]
    assert restored["id"] == before["id"]
    assert worst_side(restored["box"], before["box"]) < 1


_MOVE_BOX = """([id, frame, box]) => { const s = window.Htx.annotationStore.selected;
    const r = s.regionStore.regions.find(r => (r.cleanId || r.id) === id); r.updateShape(box, frame); }"""


@pytest.mark.parametrize(
    ("name", "words"),
    [("29.97 shown at 30", RED), ("variable rate", f"{RED};")],  # what is typed first, and the same once more
)
def test_a_corrected_box_stays_and_the_track_follows_it(project: Project, name: str, words: str) -> None:
    editor, _ = project.open_new_task(name)
    if words != RED:
        editor.type_words(RED)  # the editor sends nothing when the text is the same to the letter, so ";" is added
    before = {frame: editor.seek(frame)["regions"][0] for frame in (10, 40)}
    user_box = {**before[40]["box"], "x": before[40]["box"]["x"] - 4, "y": before[40]["box"]["y"] + 3, "rotation": 0}
    editor.page.evaluate(_MOVE_BOX, [before[40]["id"], 40, user_box])
    answer = editor.type_words(words)  # at once: the draft with the box is not saved yet
    assert "errors" not in answer
    (after,) = editor.seek(40)["regions"]
    assert after["id"] == before[40]["id"]
    assert worst_side(after["box"], user_box) < 1e-6
    (early,) = editor.seek(10)["regions"]
    assert early["box"]["x"] == pytest.approx(before[10]["box"]["x"] - 4, abs=1.5)


def test_a_worse_answer_is_undone_with_one_key(project: Project) -> None:
    """As the guide says, and as `refam eval strokes` counts it: what the annotator drew before is back."""
    editor, _ = project.open_new_task("constant rate")
    before = {frame: editor.seek(frame)["regions"][0]["box"] for frame in (10, 40)}
    region = editor.seek(40)["regions"][0]["id"]
    user_box = {**before[40], "x": before[40]["x"] - 4, "y": before[40]["y"] + 3, "rotation": 0}
    editor.page.evaluate(_MOVE_BOX, [region, 40, user_box])
    editor.page.wait_for_timeout(1000)
    edited = {frame: editor.seek(frame)["regions"][0]["box"] for frame in (10, 40)}
    editor.type_words(BLUE)
    (answered,) = editor.seek(10)["regions"]
    assert worst_side(answered["box"], edited[10]) > 2, "the answer moved what was not drawn"
    editor.page.keyboard.press("Escape")
    editor.page.keyboard.press("Control+z")
    editor.page.wait_for_timeout(1000)
    for frame in (10, 40):
        (restored,) = editor.seek(frame)["regions"]
        assert restored["id"] == region
        assert worst_side(restored["box"], edited[frame]) < 1e-6
    assert worst_side(edited[40], user_box) < 1e-6
