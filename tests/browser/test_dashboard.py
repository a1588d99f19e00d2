"""The page of jobs in a real browser."""

from __future__ import annotations

import threading

import pytest
from playwright.sync_api import expect

from backend.demo.local_studio import free_port
from backend.service.app import BackgroundServer
from backend.settings import load_settings
from refam.evaluation.synthetic import red_star_and_blue_ring
from tests.backend.predict_requests import predict, slow_down, task
from tests.browser.editor import new_page, screenshot_path
from tests.doubles import TruthRuntime
from tests.media import cfr

pytestmark = pytest.mark.browser
LONG = "the person in the dark green coat who stands behind the second car from the left, beside the lamp post"


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    media = tmp_path / "media"
    media.mkdir()
    cfr(media / "good.mp4", red_star_and_blue_ring(20, size=(640, 360))[0])
    settings = load_settings(
        media_root=media,
        cache_dir=tmp_path / "cache",
        port=free_port(),
        page_deadline_s=0.2,
        label_studio_url="http://studio.example",
    )
    runtime = TruthRuntime(settings)
    slow_down(runtime, monkeypatch, {"the slow red car": 60, LONG: 60})
    yield runtime
    runtime.close()


@pytest.fixture
def page(runtime, browser):
    with BackgroundServer(runtime.settings, runtime) as server, new_page(browser) as page:
        page.goto(server.url)
        expect(page.locator("#live")).to_have_text("live")
        yield page


def job(page, words):
    return page.locator(".job", has_text=words)


def test_it_counts_up_while_jobs_are_done_and_is_used_by_keyboard(page, runtime, tmp_path):
    assert page.locator("#empty").inner_text().startswith("No jobs yet")
    predict(runtime, task(1, "the star"))
    predict(runtime, task(2, "nothing like it"))
    asking = threading.Thread(target=predict, args=(runtime, task(3, "the slow red car")))
    asking.start()
    job(page, "the slow red car").locator("progress").wait_for()
    predict(runtime, task(4, LONG))
    job(page, LONG).wait_for()
    asking.join()
    page.wait_for_function("[...document.querySelectorAll('progress')].some(bar => bar.value > 0)")
    assert job(page, "the star").locator(".state").inner_text() == "done"
    picture = job(page, "the star").locator("img")
    assert picture.evaluate("i => i.complete && i.naturalWidth") == 320
    assert "no object fits" in job(page, "nothing like it").locator(".error").inner_text()
    link = job(page, "the star").locator("a")
    assert link.get_attribute("href") == "http://studio.example/projects/1/data?task=1"
    assert page.locator("[data-filter=all]").inner_text() == "all 4"
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in (1280, 420):
            page.set_viewport_size({"width": width, "height": 760})
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            name = "jobs.png" if (scheme, width) == ("light", 1280) else f"jobs-{scheme}-{width}.png"
            where = screenshot_path(tmp_path, name) if name == "jobs.png" else tmp_path / name
            page.screenshot(path=where)
    page.set_viewport_size({"width": 1280, "height": 760})
    cancel = job(page, "the slow red car").locator(".cancel")
    cancel.focus()
    page.keyboard.press("Enter")
    job(page, "the slow red car").locator(".state", has_text="cancelled").wait_for()
    for state, words in [("failed", "nothing like it"), ("cancelled", "the slow red car")]:
        page.locator(f"[data-filter={state}]").focus()
        page.keyboard.press("Enter")
        assert page.locator(".job .words").all_inner_texts() == [words]
    job(page, "the slow red car").locator(".retry").click()
    expect(page.locator(".job")).to_have_count(0)


def test_it_says_when_the_backend_is_gone(page, runtime):
    runtime.closing.set()
    expect(page.locator("#live")).to_contain_text("does not answer")


def test_hostile_words_are_shown_as_they_are(page, runtime):
    words = "<img src=x onerror=\"document.title='owned'\"> nothing"
    predict(runtime, task(1, words))
    job(page, "onerror").wait_for()
    assert job(page, "onerror").locator(".words").inner_text() == words
    assert page.title() == "RefAM jobs"
