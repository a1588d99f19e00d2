"""Label Studio's editor in a real browser: what it shows, and what an annotator does with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Request, Response, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from backend.demo.local_studio import LocalStudio

Box = dict[str, float]  # x, y, width, height in percent of the frame

# Everything is asked of the editor's own store: the very numbers that it draws.
_VIDEO = "const s = window.Htx.annotationStore.selected; const v = [...s.names.values()].find(t => t.type === 'video');"
SERIALISED = "() => window.Htx.annotationStore.selected.serializeAnnotation()"
"""What would be submitted now."""
_SEEK = f"(k) => {{ {_VIDEO} v.setFrame ? v.setFrame(k) : v.ref.current.goToFrame(k); }}"
_STATE = f"""() => {{ {_VIDEO} const el = document.querySelector('video');
    return {{frame: v.frame, length: v.length, seconds: el.currentTime, ready: el.readyState, seeking: el.seeking,
        regions: s.regionStore.regions.filter(r => r.type === 'videorectangleregion').map(r => ({{
            id: r.cleanId || r.id, labels: [...(r.labels || [])], box: r.getShape(v.frame),
            shown: r.isInLifespan(v.frame)}}))}}; }}"""
_BOX_OF_COLOR = """(rgb) => { const v = document.querySelector('video'); const c = document.createElement('canvas');
    c.width = v.videoWidth; c.height = v.videoHeight; const g = c.getContext('2d'); g.drawImage(v, 0, 0);
    const d = g.getImageData(0, 0, c.width, c.height).data; let x0 = 1e9, x1 = -1, y0 = 1e9, y1 = -1;
    for (let j = 0; j < c.height; j++) for (let i = 0; i < c.width; i++) { const p = (j * c.width + i) * 4;
        if (Math.hypot(d[p] - rgb[0], d[p + 1] - rgb[1], d[p + 2] - rgb[2]) < 70) {
            x0 = Math.min(x0, i); x1 = Math.max(x1, i); y0 = Math.min(y0, j); y1 = Math.max(y1, j); } }
    return x1 < 0 ? null : {x: 100 * x0 / c.width, y: 100 * y0 / c.height,
        width: 100 * (x1 - x0 + 1) / c.width, height: 100 * (y1 - y0 + 1) / c.height}; }"""
_RECTANGLES = """() => { const stage = Konva.stages[0], at = stage.container().getBoundingClientRect();
    return stage.find('Rect').filter(r => r.draggable()).map(r => { const b = r.getClientRect({skipStroke: true});
        return {x: at.x + b.x, y: at.y + b.y, width: b.width, height: b.height}; }); }"""

_HOLDS_FOCUS = "() => ['INPUT', 'TEXTAREA'].includes(document.activeElement?.tagName)"
_FOCUSED_TEXT = "() => document.activeElement?.value"


def _is_interactive(request: Request) -> bool:
    return "interactive-annotating" in request.url


class Editor:
    """One page, logged in."""

    def __init__(self, page: Page, studio: LocalStudio) -> None:
        self.page = page
        self._studio = studio
        self._unanswered: set[Request] = set()  # interactive requests
        page.on("request", self._note_request)
        page.on("requestfinished", self._note_answer)
        page.on("requestfailed", self._note_answer)
        page.goto(studio.url + "/user/login/")
        page.fill("input[name=email]", studio.login.user)
        page.fill("input[name=password]", studio.login.password)
        page.click("button[type=submit]")
        page.wait_for_load_state("networkidle")

    def _note_request(self, request: Request) -> None:
        if _is_interactive(request):
            self._unanswered.add(request)

    def _note_answer(self, request: Request) -> None:
        self._unanswered.discard(request)

    def open(self, project: int, task: int) -> None:
        """Opens a task and waits until its video can be seen and its regions are there."""
        self.page.goto(f"{self._studio.url}/projects/{project}/data?task={task}", wait_until="domcontentloaded")
        self.page.wait_for_selector("video", state="attached", timeout=60_000)
        self.page.wait_for_function(
            "() => window.Htx?.annotationStore?.selected && document.querySelector('video')?.readyState >= 2",
            timeout=60_000,
        )
        self.page.wait_for_function(f"() => {{ {_VIDEO} return v.length > 1; }}", timeout=60_000)

    def seek(self, frame: int) -> dict[str, Any]:
        """Goes to an editor frame (from 1), as the timeline does, and says what is shown there."""
        is_shown = (
            f"(k) => {{ {_VIDEO} const el = document.querySelector('video');"
            " return v.frame === k && el && !el.seeking && el.readyState >= 2; }"
        )
        for patience_s in (10, 20, 30):  # a task that was just opened may be loaded once more, and begin anew
            self.page.evaluate(_SEEK, frame)
            try:
                self.page.wait_for_function(is_shown, arg=frame, timeout=patience_s * 1000)
                break
            except PlaywrightTimeoutError:
                if patience_s == 30:
                    raise
        self.page.wait_for_timeout(400)  # the picture follows the seek by a frame or two
        return self.state()

    def shown_region(self, frame: int) -> dict[str, Any]:
        """Go to an editor frame and return its only region, which must be shown there.

        A task that was just opened may be loaded once more: then its regions are there before they are shown.
        """
        for _ in range(10):
            (region,) = self.seek(frame)["regions"]
            if region["shown"]:
                return dict(region)
            self.page.wait_for_timeout(500)
        raise AssertionError(f"no box on editor frame {frame}: {self.page.evaluate(SERIALISED)}")

    def state(self) -> dict[str, Any]:
        """frame, length, seconds, and regions with id, labels, box (percent) and whether it is shown."""
        state: dict[str, Any] = self.page.evaluate(_STATE)
        return state

    def box_of_color(self, rgb: tuple[int, int, int]) -> Box:
        """Return the box around everything of this colour in the picture that the player shows now."""
        box: Box | None = self.page.evaluate(_BOX_OF_COLOR, list(rgb))
        assert box is not None, f"nothing of colour {rgb} is on screen"
        return box

    def wait_for_regions(self, count: int, *, timeout_s: float = 90) -> None:
        """Waits until so many boxes are in the annotation: an opened task may still be worked on."""
        regions = "s.regionStore.regions.filter(r => r.type === 'videorectangleregion')"
        has_n_regions = f"(n) => {{ {_VIDEO} return {regions}.length === n; }}"
        self.page.wait_for_function(has_n_regions, arg=count, timeout=timeout_s * 1000)

    def region_rows(self) -> int:
        """How many rows the list of regions has."""
        return self.page.locator(".lsf-outliner-item").count()

    def drag_box(self, dx: float, dy: float) -> None:
        """Moves the only box on the screen with the mouse, by so many percent of the frame's width and height."""
        (rectangle,) = self.page.evaluate(_RECTANGLES)
        (box,) = [region["box"] for region in self.state()["regions"] if region["shown"]]
        x, y = rectangle["x"] + rectangle["width"] / 2, rectangle["y"] + rectangle["height"] / 2
        mouse = self.page.mouse
        mouse.move(x, y)
        mouse.down()
        mouse.move(x + 3, y, steps=2)  # a drag begins only after some pixels
        mouse.move(x + dx * rectangle["width"] / box["width"], y + dy * rectangle["height"] / box["height"], steps=8)
        mouse.up()
        self.page.wait_for_timeout(300)

    def submit(self) -> int:
        """Press Submit (or Update); return the annotation's id once it is stored."""

        def is_stored(response: Response) -> bool:
            return "/annotations" in response.url and response.request.method in ("POST", "PATCH")

        with self.page.expect_response(is_stored) as answer:
            update = self.page.get_by_role("button", name="submit", exact=True)  # what 1.23.2 calls it
            self.page.get_by_label("Submit current annotation").or_(update).first.click()
        return int(answer.value.json()["id"])

    def type_words(self, words: str, *, timeout_s: float = 120) -> dict[str, Any]:
        """Type words that find something, see `submit_words`; return the editor's answer.

        On a busy machine an answer may not be finished in time; then Enter is pressed once more, after a further ";".
        """
        for more in range(10):
            answer = self.submit_words(words + ";" * more, timeout_s=timeout_s)
            if answer.get("data"):
                return answer
        raise AssertionError(f"{words!r} is never finished: {answer}")

    def submit_words(self, words: str, *, timeout_s: float = 120) -> dict[str, Any]:
        """Switch Auto-Annotation on, type other words into the text field, press Enter; return the editor's answer.

        Words that were submitted before are changed by the pencil beside them. The editor may ask for the same words
        twice; it has taken all answers when this returns, so that none is taken for that to the next words.
        """

        def answers_these_words(response: Response) -> bool:
            request = response.request
            return _is_interactive(request) and _typed_words(request) == [words]

        if not self.page.evaluate("() => window.Htx.autoAnnotation"):
            self.page.get_by_text("Auto-Annotation").first.click()
            self.page.wait_for_function("() => window.Htx.autoAnnotation", timeout=10_000)
        with self.page.expect_response(answers_these_words, timeout=timeout_s * 1000) as answer:
            pencil = self.page.get_by_label("Edit Region")
            if pencil.count():
                pencil.first.click()
            else:
                self.page.locator("input.ant-input[name], textarea[name]").first.click()
            self._replace_text(words)
            self.page.keyboard.press("Enter")
        body: dict[str, Any] = answer.value.json()
        for _ in range(round(timeout_s * 10)):
            if not self._unanswered:
                break
            self.page.wait_for_timeout(100)
        assert not self._unanswered, "an interactive request is never answered"
        self.page.wait_for_function("() => !window.Htx.awaitingSuggestions")  # once it has put the answer in
        self.page.wait_for_timeout(200)  # to draw it
        return body

    def _replace_text(self, words: str) -> None:
        """Type words over what the text field holds.

        The pencil's field is there only after a moment, and its cursor is put behind its text later still: on a busy
        machine that undoes Control+A, and what is typed would follow the earlier words.
        """
        self.page.wait_for_function(_HOLDS_FOCUS, timeout=10_000)
        for _ in range(10):
            self.page.keyboard.press("Control+A")
            self.page.keyboard.type(words)
            if self.page.evaluate(_FOCUSED_TEXT) == words:
                return
            self.page.wait_for_timeout(200)
        raise AssertionError(f"the text field does not take {words!r}: {self.page.evaluate(_FOCUSED_TEXT)!r}")


def _typed_words(request: Request) -> list[str]:
    """Return what the text field held when an interactive request was sent."""
    regions = (request.post_data_json or {}).get("context", {}).get("result", [])
    return [text for region in regions for text in region.get("value", {}).get("text", [])]


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run Debian's chromium (CHROMIUM names another), never one that playwright would download."""
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert executable, "no chromium on the PATH: install Debian's package, or name one in CHROMIUM"
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def new_page(browser: Browser) -> Iterator[Page]:
    """Open a page with cookies of its own."""
    context = browser.new_context(viewport={"width": 1500, "height": 1000})
    try:
        yield context.new_page()
    finally:
        context.close()


def worst_side(box: Box, truth: Box) -> float:
    """The largest difference of a side, in percent of the frame."""
    edges = [(b["x"], b["y"], b["x"] + b["width"], b["y"] + b["height"]) for b in (box, truth)]
    return max(abs(a - b) for a, b in zip(*edges, strict=True))


def screenshot_path(tmp_path: Path, name: str) -> Path:
    """Where a picture goes: the folder in REFAM_SCREENSHOTS when it is set, else a temporary one."""
    folder = Path(os.environ.get("REFAM_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name
