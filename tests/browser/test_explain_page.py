"""The page of `refam explain` in a real browser: all there, nothing overflows, light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser
from typer.testing import CliRunner

from backend.cli.main import app
from refam.tiny.scenes import Scene, SceneObject, draw_moving_scene
from tests.browser.editor import new_page, screenshot_path
from tests.media import cfr

pytestmark = [pytest.mark.browser]

WORDS = "the red star on the left"
PARTS = ("answer", "words", "maps", "steps", "candidates", "time", "settings")
_OVERFLOWING = """() => [...document.querySelectorAll('main *')].filter(e => {
    const r = e.getBoundingClientRect(); const m = document.querySelector('main').getBoundingClientRect();
    return r.width > 0 && !e.closest('svg') && (r.right > m.right + 1 || r.left < m.left - 1);
}).map(e => e.tagName + '.' + e.className)"""
_TRUNCATED = """() => [...document.querySelectorAll('.chip, .cap b, .cap .num, h1, h2, dd, .note, .film p *')]
    .filter(e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline')
    .map(e => e.textContent)"""
# WCAG's contrast of text and what is behind it, for every element that has text of its own.
_CONTRAST = """() => {
    const lum = c => { const v = c.map(x => (x /= 255) <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
        return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
    const rgb = s => s.match(/[\\d.]+/g).slice(0, 3).map(Number);
    const page = lum(rgb(getComputedStyle(document.body).backgroundColor)); const low = [];
    for (const e of document.querySelectorAll('main *')) {
        if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || e.closest('svg')) continue;
        const ink = lum(rgb(getComputedStyle(e).color));
        const ratio = (Math.max(ink, page) + .05) / (Math.min(ink, page) + .05);
        if (ratio < 4.5) low.push(e.tagName + '.' + e.className + ' ' + ratio.toFixed(2)); }
    return low; }"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explain")
    objects = (
        SceneObject("red", "star", "plain", "large", 26, 24, 11.5, (0.18, 0.10)),
        SceneObject("red", "star", "plain", "large", 88, 40, 11, (-0.15, -0.08)),
        SceneObject("blue", "ring", "plain", "large", 58, 20, 10, (0.05, 0.2)),
        SceneObject("yellow", "square", "striped", "small", 50, 50, 7, (0.2, -0.05)),
    )
    frames, _ = draw_moving_scene(Scene((113.8, 64.0), objects, "grey", 5), (640, 360), n_frames=60)
    cfr(folder / "two-stars.mp4", frames)
    result = CliRunner().invoke(
        app,
        ["explain", str(folder / "two-stars.mp4"), WORDS, "--frame", "24", "--out", str(folder / "page.html")],
    )
    assert result.exit_code == 0, result.output
    return folder / "page.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 800, 400])
def test_everything_is_there_and_nothing_overflows(
    browser: Browser, page_file: Path, tmp_path: Path, scheme: str, width: int
) -> None:
    requested: list[str] = []
    with new_page(browser) as page:
        page.on("request", lambda r: requested.append(r.url))
        problems: list[str] = []
        page.on("console", lambda m: problems.append(m.text))
        page.on("pageerror", lambda e: problems.append(str(e)))
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(page_file.as_uri())
        for part in PARTS:
            box = page.locator(f"#{part}").bounding_box()
            assert box is not None, part
            assert box["height"] > 40, part
        assert page.locator("h1").inner_text() == WORDS
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(_OVERFLOWING) == []
        assert page.evaluate(_TRUNCATED) == []
        assert page.evaluate(_CONTRAST) == []
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        assert not [url for url in requested if not url.startswith(("file:", "data:"))], "nothing is fetched"
        assert problems == []
        background = page.evaluate("getComputedStyle(document.body).backgroundColor").strip("rgb()").split(",")
        assert (sum(map(int, background)) < 200) == (scheme == "dark")
        page.screenshot(path=screenshot_path(tmp_path, f"explain-{scheme}-{width}.png"), full_page=True)


def test_the_rings_are_on_the_object(browser: Browser, page_file: Path) -> None:
    """The peak of the last step, where the page draws it, is on the left star as the page shows it."""
    with new_page(browser) as page:
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(page_file.as_uri())
        inside = page.evaluate(
            """() => { const p = document.querySelector('#answer .peak').getBoundingClientRect();
            const shape = document.querySelector('#answer .shape').getBoundingClientRect();
            const x = p.x + p.width / 2, y = p.y + p.height / 2;
            return x > shape.left && x < shape.right && y > shape.top && y < shape.bottom; }"""
        )
        assert inside
        left = page.evaluate(
            """() => { const s = document.querySelector('#answer .shape').getBoundingClientRect();
            const p = document.querySelector('#answer .pic').getBoundingClientRect();
            return (s.left + s.width / 2 - p.left) / p.width; }"""
        )
        assert left < 0.4
