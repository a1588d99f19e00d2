"""From which frame to which frame an object is in sight: written, kept, removed, compared and exported."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.feedback.compare import RegionFate, compare
from backend.labelstudio.config_xml import LabelConfigError
from backend.labelstudio.connect import check_label_config
from backend.labelstudio.controls.timeline_labels import TimelineLabelsControl, is_user_edited, read_ranges
from backend.labelstudio.controls.video_rectangle import interpolate_boxes
from backend.labelstudio.edits import UserKeyframe
from backend.labelstudio.empty_regions import is_empty
from backend.labelstudio.export_reader import read_export
from backend.labelstudio.export_sources import VideoFolder
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.removal import read_removal
from backend.labelstudio.request import read_request
from refam.pipeline.types import FramePrompt, Target, TrackResult
from tests.backend.labelstudio.track_playback import Timing, even_timing, result_of
from tests.doubles import moving_box
from tests.media import cfr
from video.types import MaskTrack

VIDEO = '<TextArea name="words" toName="v"/><Video name="v" value="$video" frameRate="$fps"/>'
TIMELINE = (
    '<TimelineLabels name="seen" toName="v"><Label value="Star"/><Label value="Ring" alias="R"/></TimelineLabels>'
)
BOXES = '<Labels name="l" toName="v"><Label value="Star"/><Label value="Blob"/></Labels>'
ALONE = f"<View>{VIDEO}{TIMELINE}</View>"
BESIDE = f'<View>{VIDEO}{BOXES}{TIMELINE}<VideoRectangle name="box" toName="v"/></View>'
BARE_BOXES = f'<View>{VIDEO}{TIMELINE}<VideoRectangle name="box" toName="v"/></View>'
ID = "refam-0123456789"


def track(n: int, *, hidden: tuple[int, ...] = ()) -> MaskTrack:
    """A box on n frames, not visible on some of them."""
    moving = moving_box(n)
    return moving.replace_rows(list(hidden), visible=[False] * len(hidden)) if hidden else moving


def regions(xml: str, *results: TrackResult, timing: Timing, fps: float = 25, **more: Any) -> list[dict[str, Any]]:
    ids = [ID, "refam-9876543210"][: len(results)]
    made = parse_label_config(xml).regions(results, timing, fps=fps, region_ids=ids, **more)
    return json.loads(json.dumps(made))  # as Label Studio stores it


def drawn(ranges: list[dict[str, int]], frame: int) -> bool:
    """Whether the editor fills the timeline on a frame: from start to end, both included, counted from 1."""
    return any(item["start"] <= frame <= item["end"] for item in ranges)


@pytest.mark.parametrize(
    ("n", "rate", "fps", "hidden", "expected"),
    [
        (60, 25, 25, (), [(1, 60)]),
        (60, 25, 25, (10, 11, 12), [(1, 10), (14, 60)]),  # clip frames 10 to 12 are the editor's 11 to 13
        (60, 25, 25, (0, 58, 59), [(2, 58)]),
        (3, 25, 25, (0, 2), [(2, 2)]),
        (60, 25, 12.5, (10, 11, 12), [(1, 5), (8, 30)]),  # editor frame f shows clip frame 2(f - 1): 6 and 7 are hidden
        (30, 10, 20, (3,), [(1, 6), (9, 60)]),  # each clip frame is two of the editor's
    ],
)
def test_ranges_are_frames_of_the_editor(n, rate, fps, hidden, expected) -> None:
    (region,) = regions(ALONE, result_of(track(n, hidden=hidden)), timing=even_timing(n, rate), fps=fps)
    assert [(r["start"], r["end"]) for r in region["value"]["ranges"]] == expected
    assert region["value"]["timelinelabels"] == ["Star"]
    assert (region["id"], region["from_name"], region["to_name"], region["type"]) == (ID, "seen", "v", "timelinelabels")
    assert region["score"] == 0.7
    assert region["meta"]["text"] == ["words: the star"]


def test_an_object_that_is_never_visible_has_no_region() -> None:
    assert regions(ALONE, result_of(track(3, hidden=(0, 1, 2))), timing=even_timing(3, 25)) == []


@given(st.lists(st.booleans(), min_size=5, max_size=40), st.sampled_from([10.0, 24.0, 25.0, 60.0]))
def test_the_timeline_shows_the_object_where_the_box_beside_it_does(visible: list[bool], fps: float) -> None:
    hidden = tuple(i for i, v in enumerate(visible) if not v)
    edits = [[UserKeyframe(2, 10, 10, 10, 10, 0, False, 4), UserKeyframe(900, 1, 1, 1, 1, 0, True, None)]]
    timing = even_timing(len(visible), 25)
    found = regions(BESIDE, result_of(track(len(visible), hidden=hidden)), timing=timing, fps=fps, edits=edits)
    box, seen = found
    assert (box["id"], seen["id"]) == (ID, f"{ID}-seen")
    n = box["value"]["framesCount"]
    _, shown = interpolate_boxes(box["value"]["sequence"], n, "", aspect=1)
    assert [drawn(seen["value"]["ranges"], f) for f in range(1, n + 1)] == shown.tolist()


@pytest.mark.parametrize(
    ("xml", "label", "found"),
    [
        (BESIDE, "Star", [("videorectangle", ["Star"]), ("timelinelabels", ["Star"])]),
        (BESIDE, "Blob", [("videorectangle", ["Blob"])]),  # the timeline has no such label
        (BARE_BOXES, "R", [("videorectangle", None), ("timelinelabels", ["R"])]),
    ],
)
def test_each_tag_takes_the_labels_that_it_offers(xml, label, found) -> None:
    labels = [known.result for known in parse_label_config(xml).labels]
    assert label in labels
    made = regions(xml, result_of(track(5), label), timing=even_timing(5, 25), labels=labels)
    values = [(r["type"], r["value"]) for r in made]
    assert [(kind, v.get("timelinelabels") or v.get("labels")) for kind, v in values] == found


@pytest.mark.parametrize(
    ("xml", "words", "targets"),
    [
        (ALONE, "the red star; the R", [("Star", "the red star"), ("Star", "the R")]),
        (ALONE, "a ring: the small one", [("R", "a ring: the small one")]),
        (ALONE, "ring: the small one", [("R", "the small one")]),
        (ALONE, None, [("Star", "Star"), ("R", "Ring")]),  # labels by their own names
        (BARE_BOXES, None, [("Star", "Star"), ("R", "Ring")]),
        (BESIDE, None, [("Star", "Star"), ("Blob", "Blob")]),
    ],
)
def test_words_or_labels_give_one_object_each(xml, words, targets) -> None:
    data = {"video": "a.mp4", "fps": 25} | ({"prompt": words} if words else {})
    request = read_request({"id": 1, "data": data}, parse_label_config(xml))
    assert [(t.label, t.words) for t in request.targets] == targets


def test_a_timeline_without_labels_is_explained() -> None:
    with pytest.raises(LabelConfigError, match=r'<TimelineLabels> needs .* toName="v" and labels: put <Label'):
        parse_label_config(f'<View>{VIDEO}<TimelineLabels name="seen" toName="v"/></View>')


def test_connect_says_which_labels_the_timeline_lacks() -> None:
    findings = {f.text: f.state for f in check_label_config(BESIDE)}
    assert findings['the time in sight goes to <TimelineLabels name="seen"> on <Video name="v">'] == "ok"
    assert findings['<TimelineLabels name="seen"> has no label "Blob": such objects get boxes alone'] == "note"
    assert isinstance(parse_label_config(ALONE).control, TimelineLabelsControl)


# --- what a person made of them ---------------------------------------------------------------------------------------


def typed(words: str) -> dict[str, Any]:
    item = {"type": "textarea", "from_name": "words", "to_name": "v", "id": "t1", "value": {"text": [words]}}
    return {"result": [item]}


def task_with(*found: dict[str, Any], kind: str = "drafts") -> dict[str, Any]:
    return {"id": 1, "data": {"video": "a.mp4", "fps": 25}, kind: [{"id": 3, "user": 1, "result": list(found)}]}


def edit(region: dict[str, Any], *ranges: tuple[int, int], **more: Any) -> dict[str, Any]:
    region = copy.deepcopy(region)
    region["value"]["ranges"] = [{"start": a, "end": b} for a, b in ranges]
    return region | more


def seen_region(xml: str = ALONE, hidden: tuple[int, ...] = (10, 11)) -> dict[str, Any]:
    return regions(xml, result_of(track(20, hidden=hidden)), timing=even_timing(20, 25))[-1]


def test_only_what_this_backend_wrote_and_nobody_edited_is_taken_over() -> None:
    config = parse_label_config(ALONE)
    unedited, edited = seen_region(), edit(seen_region(), (1, 12))
    for region, ids, kept in (
        (unedited, (ID,), ()),
        (edited, (read_request(task_with(), config).region_ids[0],), (ID,)),
        (edit(unedited, (4, 5), id="aB3xY"), (read_request(task_with(), config).region_ids[0],), ("aB3xY",)),
    ):
        work = read_request(task_with(region), config, context=typed("the yellow star"))
        assert (work.region_ids, work.kept_regions) == (ids, kept)


def test_accepting_another_program_s_times_is_no_edit() -> None:
    other = {"id": "x1", "type": "timelinelabels", "from_name": "seen", "value": {"ranges": [{"start": 1, "end": 2}]}}
    task = task_with(other) | {"predictions": [{"id": 9, "result": [other]}]}
    assert is_user_edited(other)
    assert read_request(task, parse_label_config(ALONE), context=typed("the star")).kept_regions == ()


@pytest.mark.parametrize("words", ["-the star", "-Star", "-"])
def test_words_with_a_minus_empty_the_times_too(words: str) -> None:
    found = regions(BESIDE, result_of(track(20)), timing=even_timing(20, 25))
    removal = read_removal(task_with(*found), parse_label_config(BESIDE), typed(words))
    assert removal is not None
    assert [r["id"] for r in removal.regions] == [ID, f"{ID}-seen"]
    assert removal.regions[1]["value"]["ranges"] == [{"start": None, "end": None}]  # none at all breaks the editor
    assert all(is_empty(region) for region in removal.regions)


@pytest.mark.parametrize(
    ("change", "fate", "iou", "strokes"),
    [
        (lambda r: r, RegionFate.KEPT, 1.0, 0),
        (lambda r: edit(r, (1, 12), (13, 20)), RegionFate.MOVED, 18 / 20, 2),  # the gap is closed
        (lambda r: edit(r, (3, 10), (13, 20)), RegionFate.MOVED, 16 / 18, 1),
        (lambda r: edit(r, (3, 10)), RegionFate.MOVED, 8 / 18, 3),  # what the editor leaves of two ranges
        (lambda r: r | {"value": r["value"] | {"timelinelabels": ["R"]}}, RegionFate.RELABELLED, 1.0, 1),
        (lambda r: edit(r, (1, 10), (13, 20), id="mine", meta={}), RegionFate.ADDED, 0.0, 1),
    ],
)
def test_what_a_person_made_of_them_is_compared(change, fate, iou, strokes) -> None:
    ours = seen_region()
    correction = compare([ours], [change(ours)])[0]
    assert (correction.fate, correction.strokes) == (fate, strokes)
    assert correction.iou == pytest.approx(iou)
    if fate is not RegionFate.ADDED:
        assert correction.words == "the star"


def test_an_interactive_answer_is_compared_by_its_checksum() -> None:
    ours = seen_region()
    assert [c.fate for c in compare([], [ours])] == [RegionFate.KEPT]
    assert [(c.fate, c.strokes) for c in compare([], [edit(ours, (1, 2))])] == [(RegionFate.MOVED, 1)]


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ([{"start": 5, "end": 9}, {"start": 1, "end": 3}], [(1, 3), (5, 9)]),
        ([{"start": 1, "end": 4}, {"start": 5, "end": 9}, {"start": 2, "end": 3}], [(1, 9)]),
        ([{"start": -3.0, "end": 2}, {"start": 9, "end": 8}], [(1, 2)]),
        ([{"start": None, "end": None}, {"start": True, "end": 3}, {"start": 1.5, "end": 2}, 7, {}], []),
        ([{"start": 1, "end": 10**15}], [(1, 10**15)]),
        ("no list", []),
    ],
)
def test_ranges_of_anybody_are_read(ranges: Any, expected: list[tuple[int, int]]) -> None:
    assert read_ranges({"ranges": ranges}) == expected


def test_an_export_names_what_has_no_boxes(tmp_path) -> None:
    cfr(tmp_path / "a.mp4", np.zeros((20, 32, 48, 3), np.uint8), fps=25)
    found = regions(BESIDE, result_of(track(20)), timing=even_timing(20, 25))
    task = {"id": 5, "data": {"video": "/data/a.mp4", "fps": 25}, "annotations": [{"id": 1, "result": found}]}
    (tmp_path / "export.json").write_text(json.dumps([task]))
    for xml, objects in ((BESIDE, 1), (ALONE, 0)):
        (task["annotations"][0])["result"] = found if objects else found[1:]
        (tmp_path / "export.json").write_text(json.dumps([task]))
        (loaded,) = read_export(tmp_path / "export.json", parse_label_config(xml), videos=VideoFolder(tmp_path))
        assert len(loaded.video.objects) == objects
        assert [note for note in loaded.video.notes if "1 times in sight (TimelineLabels) have no boxes" in note]


def test_an_object_without_words_is_recognised_as_unedited() -> None:
    result = TrackResult(Target("Star", prompts=(FramePrompt(0, box=(0, 0, 1, 1)),)), track(3), (), 0.7, 0, ())
    (region,) = regions(ALONE, result, timing=even_timing(3, 25))
    assert "words" not in region["meta"]
    assert not is_user_edited(region)
