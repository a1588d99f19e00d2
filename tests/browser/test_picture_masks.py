"""Masks on a list of pictures in a real editor: seen, asked for with other words, put right by hand, asked again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, Response

from backend.demo.local_studio import LocalStudio
from backend.jobs.models import JobRecord
from backend.labelstudio.controls import control_for_type
from backend.labelstudio.controls.image_masks import MaskControl
from backend.runtime import Runtime
from backend.service.app import BackgroundServer
from refam.evaluation.synthetic import BLUE, RED, red_star_and_blue_ring
from tests.browser.editor import SERIALISED, Editor, new_page, screenshot_path
from tests.media import cfr
from tests.studio import picture_task, settings_beside

pytestmark = pytest.mark.browser

_EVERY, _PICTURES, _SIZE = 5, 8, (480, 270)
_SELECT_REGION = """([picture, id]) => { const s = window.Htx.annotationStore.selected;
    [...s.names.values()].find(t => t.type === 'image').setCurrentImage(picture);
    setTimeout(() => s.selectArea(s.regionStore.regions.find(r => (r.cleanId || r.id) === id)), 800); }"""
_SHOW_PICTURE = """(picture) => { const s = window.Htx.annotationStore.selected;
    [...s.names.values()].find(t => t.type === 'image').setCurrentImage(picture); }"""
_LOADED = """(picture) => { const s = window.Htx.annotationStore.selected;
    const t = [...s.names.values()].find(t => t.type === 'image');
    return t.currentImage === picture && t.imageEntities[picture].imageLoaded; }"""
_READY = "(n) => window.Htx?.annotationStore?.selected?.regionStore.regions.length >= n"


def read_mask(region: Mapping[str, Any]) -> NDArray[np.bool_]:
    control = control_for_type(region["type"])
    assert control is not None
    assert issubclass(control, MaskControl)
    return control.read_mask(region)


@dataclass
class PictureTask:
    """A task that is the pictures of a clip, open in the editor. truth: (2, pictures, H, W) bool: star, ring."""

    editor: Editor
    studio: LocalStudio
    project: int
    task: int
    shape: str
    truth: NDArray[np.bool_]
    jobs: Callable[[], list[JobRecord]]
    drafts_saved: int = 0
    drafts_before_edit: int = 0

    def __post_init__(self) -> None:
        self.page.on("response", self._count_draft)

    def _count_draft(self, response: Response) -> None:
        self.drafts_saved += "/drafts" in response.url and response.request.method in ("POST", "PATCH")

    @property
    def page(self) -> Page:
        return self.editor.page

    def open(self) -> None:
        self.page.goto(f"{self.studio.url}/projects/{self.project}/data?task={self.task}")
        self.page.wait_for_function(_READY, arg=1, timeout=90_000)
        self.page.wait_for_timeout(1500)

    def accept_suggestions(self) -> None:
        """Auto-Accept Suggestions on, as people are told: the editor goes blank where a suggestion is for what is
        selected (Label Studio 1.23.2)."""
        self.page.get_by_text("Auto-Accept Suggestions").first.click()
        self.page.wait_for_function("() => window.Htx.autoAcceptSuggestions", timeout=10_000)

    def select(self, picture: int) -> str:
        """As a click on the mask does -> its id."""
        (region,) = [r for r in self.regions() if r["item_index"] == picture and read_mask(r).any()]
        self.page.evaluate(_SELECT_REGION, [picture, region["id"]])
        self.page.wait_for_timeout(1500)
        return str(region["id"])

    def type_words(self, words: str) -> None:
        """Words, Enter, and the check mark that takes what is suggested: on pictures the editor asks that."""
        answer = self.editor.type_words(words)
        assert "errors" not in answer
        if self.page.evaluate("() => window.Htx.autoAcceptSuggestions"):
            return
        suggested = self.page.get_by_text(re.compile(r"^\d+ suggestions?$"))
        suggested.locator("..").get_by_role("button").last.click()
        suggested.wait_for(state="hidden")

    def show_every_picture(self) -> None:
        """Every picture once: what was answered for one that was never looked at is not saved (Label Studio 1.23.2)."""
        for picture in range(_PICTURES):
            self.page.evaluate(_SHOW_PICTURE, picture)
            self.page.wait_for_function(_LOADED, arg=picture, timeout=30_000)
            self.page.wait_for_timeout(150)

    def wait_until_saved(self) -> None:
        """Wait until the editor has saved a draft since the last edit, as it does some seconds after a change."""
        for _ in range(600):
            if self.drafts_saved > self.drafts_before_edit:
                return
            self.page.wait_for_timeout(100)
        pytest.fail("the editor saved no draft after the edit")

    def regions(self) -> list[dict[str, Any]]:
        """What would be submitted now: its masks."""
        regions: list[dict[str, Any]] = self.page.evaluate(SERIALISED)
        return [r for r in regions if r["type"] == f"{self.shape}labels"]

    def masks(self) -> NDArray[np.bool_]:
        """(pictures, H, W) bool: all that is drawn on each picture."""
        masks = np.zeros((_PICTURES, *_SIZE[::-1]), np.bool_)
        for region in self.regions():
            masks[region["item_index"]] |= read_mask(region)
        return masks


@pytest.fixture(params=["brush", "bitmask", "polygon"])
def opened_task(
    request: pytest.FixtureRequest, studio: LocalStudio, browser: Browser, tmp_path: Path
) -> Iterator[PictureTask]:
    frames, truth = red_star_and_blue_ring(_EVERY * _PICTURES, size=_SIZE)
    shape = str(request.param)
    video = cfr(tmp_path / "clip.mp4", frames)
    project, task = picture_task(studio, video, f"pictures-{shape}", every=_EVERY, words=RED, shape=shape)
    # Each answer waits 6.5 s for a draft with what was just drawn. With one of the shapes that is tested here.
    settings = settings_beside(studio, tmp_path, **({} if shape == "brush" else {"draft_wait_s": 0}))
    runtime = Runtime(settings)
    with BackgroundServer(settings, runtime) as backend, new_page(browser) as page:
        studio.connect(project, backend.url)
        studio.retrieve_predictions(project)
        assert studio.wait_for_predictions([task], timeout_s=900)
        editor, seen = Editor(page, studio), truth[:, ::_EVERY]
        yield PictureTask(editor, studio, project, task, shape, seen, lambda: runtime.queue.records())


def _ious(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.array([(x & y).sum() / max(1, (x | y).sum()) for x, y in zip(a, b, strict=True)])


def _drawn_in_time(opened_task: PictureTask, expected: Callable[[NDArray[np.bool_]], bool]) -> bool:
    """Whether the masks become as expected, within the time that the editor of a busy machine takes to draw an answer.

    The response of the backend may have come while the editor still shows the masks of before.
    """
    for _ in range(40):
        if expected(opened_task.masks()):
            return True
        opened_task.page.wait_for_timeout(500)
    return False


def _masks_become(opened_task: PictureTask, truth: NDArray[np.bool_], least: float) -> bool:
    return _drawn_in_time(opened_task, lambda masks: bool(_ious(masks, truth).mean() > least))


def _pictures_with_masks_become(opened_task: PictureTask, pictures: list[int]) -> bool:
    return _drawn_in_time(opened_task, lambda masks: np.flatnonzero(masks.any(axis=(1, 2))).tolist() == pictures)


def test_masks_follow_new_words_and_an_edited_one_is_kept_to_the_pixel(
    opened_task: PictureTask, tmp_path: Path
) -> None:
    opened_task.open()
    star, ring = opened_task.truth
    assert _masks_become(opened_task, star, 0.8)
    opened_task.type_words(BLUE)
    opened_task.show_every_picture()
    assert _masks_become(opened_task, ring, 0.8), "no star is left on any picture"
    if opened_task.shape == "brush":
        part = {"x": 240, "y": 90, "width": 1260, "height": 720}
        opened_task.page.screenshot(path=screenshot_path(tmp_path, "walk-4-pictures.png"), clip=part)
    opened_task.accept_suggestions()
    selected = opened_task.select(picture=5)
    opened_task.type_words(RED)  # what is selected is answered for, too
    opened_task.show_every_picture()
    assert selected in {r["id"] for r in opened_task.regions()}
    assert _masks_become(opened_task, star, 0.8)
    opened_task.type_words(BLUE)
    opened_task.show_every_picture()
    assert _masks_become(opened_task, ring, 0.8)
    before = {r["id"]: read_mask(r) for r in opened_task.regions()}
    edited = _edit_mask(opened_task, picture=3)
    if opened_task.shape != "brush":
        opened_task.wait_until_saved()
    opened_task.type_words(f"{BLUE};")
    after = {r["id"]: r for r in opened_task.regions()}
    kept = read_mask(after[edited["id"]])
    np.testing.assert_array_equal(kept, read_mask(edited))
    assert (kept != before[edited["id"]]).sum() > 50
    assert _masks_become(opened_task, ring, 0.6), "the other pictures are answered from it"
    opened_task.wait_until_saved()
    opened_task.type_words("-" + BLUE)
    kept_pictures = [3] if opened_task.shape == "brush" else []
    assert _pictures_with_masks_become(opened_task, kept_pictures), "of brush masks, only the painted one stays"
    if opened_task.shape == "brush":
        reasons = [job.error or "" for job in opened_task.jobs()]
        assert any("what was painted by hand stays on picture 4" in reason for reason in reasons)


def _edit_mask(opened_task: PictureTask, *, picture: int) -> dict[str, Any]:
    """On one picture, with the mouse: a stroke of the brush across the object, or the polygon dragged aside."""
    region_id = opened_task.select(picture)
    region = next(r for r in opened_task.regions() if r["id"] == region_id)
    canvas = opened_task.page.locator(".konvajs-content").bounding_box()
    assert canvas is not None
    ys, xs = np.nonzero(read_mask(region))
    middle = len(xs) // 2  # a pixel of the object: a ring's centre is none
    x, y = canvas["x"] + xs[middle] * canvas["width"] / _SIZE[0], canvas["y"] + ys[middle] * canvas["height"] / _SIZE[1]
    mouse = opened_task.page.mouse
    mouse.move(x, y)
    mouse.down()
    mouse.move(x + 4, y - 3, steps=3)
    steps = 3 if opened_task.shape == "polygon" else 10  # a polygon goes with the mouse as a whole
    mouse.move(x + 4 * steps, y - 3 * steps, steps=8)
    mouse.up()
    opened_task.drafts_before_edit = opened_task.drafts_saved
    opened_task.page.wait_for_timeout(1000)
    return next(r for r in opened_task.regions() if r["id"] == region_id)
