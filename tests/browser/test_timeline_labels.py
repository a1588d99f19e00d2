"""What Label Studio's editor makes of times in sight: its frame numbers, what it keeps, and how a person edits them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from backend.demo.local_studio import LocalStudio
from backend.labelstudio.controls.timeline_labels import is_user_edited, read_ranges
from backend.labelstudio.empty_regions import empty_region
from backend.labelstudio.label_config import parse_label_config
from refam.evaluation.synthetic import red_star_and_blue_ring
from tests.backend.labelstudio.track_playback import even_timing, result_of
from tests.browser.editor import SERIALISED, Editor, new_page
from tests.doubles import moving_box
from tests.media import cfr

pytestmark = pytest.mark.browser

_N = 40
_XML = """<View><Labels name="l" toName="video"><Label value="Star"/></Labels>
<TimelineLabels name="seen" toName="video"><Label value="Star"/></TimelineLabels>
<Video name="video" value="$video" frameRate="$fps"/><VideoRectangle name="box" toName="video"/></View>"""
# The panel of the selected region: Start frame, End frame, Duration.
_FIELDS = ".lsf-region-editor input, [class*=container--] input[type=number]"
_PANEL = f"() => [...document.querySelectorAll('{_FIELDS}')].map(x => Number(x.value))"
_LENGTH = "() => [...window.Htx.annotationStore.selected.names.values()].find(t => t.type === 'video').length"


def _stored(page: Page) -> dict[str, dict[str, Any]]:
    return {region["id"]: region for region in page.evaluate(SERIALISED)}


def _panel_of(page: Page, row: int) -> list[int]:
    """Select a row of the list of regions; return the numbers of its panel. A task may be loaded once more at first."""
    for _ in range(20):
        page.locator(".lsf-outliner-item").nth(row).click()
        page.wait_for_timeout(500)
        if len(numbers := page.evaluate(_PANEL)) == 3:
            return list(numbers)
    raise AssertionError(f"row {row} has no panel of numbers: {page.content()[:2000]}")


def test_the_editor_shows_and_keeps_times_in_sight(studio: LocalStudio, browser: Browser, tmp_path: Path) -> None:
    frames, _ = red_star_and_blue_ring(_N)
    project, (address,) = studio.create_project("timeline", _XML, [cfr(tmp_path / "clip.mp4", frames)])
    (task,) = studio.import_tasks(project, [{"video": address, "fps": 25}])
    track = moving_box(_N).replace_rows(range(10, 19), visible=[False] * 9)
    tracks, ids = [result_of(track), result_of(moving_box(_N))], ["refam-one", "refam-two"]
    regions = parse_label_config(_XML).regions(tracks, even_timing(_N, 25), fps=25, region_ids=ids)
    removed = [empty_region(region, "the star") if region["id"] == "refam-two-seen" else region for region in regions]
    body = {"task": task, "result": removed, "score": 0.7, "model_version": "v"}
    studio.api("POST", "/api/predictions/", json=body)
    with new_page(browser) as page:
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        Editor(page, studio).open(project, task)
        page.wait_for_function("() => window.Htx.annotationStore.selected.regions.length === 4")
        assert page.evaluate(_LENGTH) == _N
        # The video's last frame is the last range's end, and frames count from 1: its own numbers say so.
        seen = _stored(page)["refam-one-seen"]
        assert [tuple(item.values()) for item in seen["value"]["ranges"]] == [(1, 10), (20, _N)]
        assert seen["score"] == 0.7
        assert not is_user_edited(seen), "the editor keeps the checksum and the words"
        assert seen["meta"]["words"] == "the star"
        # The list has both boxes, then both times.
        assert _panel_of(page, 2) == [1, 10, 10], "start, end and duration: both ends are included"
        assert _panel_of(page, 3) == [0, 0, 1], "the removed one begins and ends nowhere"
        assert errors == []
        # A person's edit keeps the first range alone, as annotator.md says.
        _panel_of(page, 2)
        end = page.locator(_FIELDS).nth(1)
        end.fill("14")
        end.press("Enter")
        end.blur()
        page.wait_for_timeout(300)
        edited = _stored(page)["refam-one-seen"]
        assert read_ranges(edited["value"]) == [(1, 14)]
        assert is_user_edited(edited)
