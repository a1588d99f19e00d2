"""What a person made of a prediction: compared, stored, reported."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest

from backend.feedback import collector as collector_module
from backend.feedback.compare import RegionFate, compare
from backend.feedback.report import draw_correction, most_costly, render_page, summarize, summary_tables
from backend.feedback.store import CorrectionStore, StoredCorrection, SubmittedAnnotation
from backend.labelstudio.controls.video_rectangle import box_sequence
from backend.media.store import MediaError
from backend.settings import load_settings
from tests.doubles import moving_box

CONFIG = """<View><Labels name="l" toName="v"><Label value="Car"/></Labels><Video name="v" value="$video"/>
<VideoRectangle name="b" toName="v"/></View>"""


class _Clip:
    size = (160, 90)
    times = np.arange(50) / 25
    duration_s = 2.0

    def frame(self, i):
        return np.full((90, 160, 3), i, np.uint8)


def _region(name="r1", label="Car", words="the red car"):
    sequence = box_sequence(moving_box(50), _Clip(), fps=25, words=words)
    value = {"framesCount": 50, "duration": 2.0, "labels": [label], "sequence": sequence}
    return {"id": name, "type": "videorectangle", "from_name": "b", "to_name": "v", "value": value}


def _changed(region, change):
    region = copy.deepcopy(region)
    change(region["value"])
    return region


def _shift_last(value):
    value["sequence"][-1]["x"] += 10


def _turn(value):
    value["sequence"][0]["rotation"] = 90


def _relabel(value):
    value["labels"] = ["Bus"]


def _switch_off(value):
    value["sequence"][0]["enabled"] = False


def _leave_enabled_out(value):
    del value["sequence"][0]["enabled"]


def _set_anew(value):
    first, last = value["sequence"][0], value["sequence"][-1]
    value["sequence"] = [{k: item[k] for k in ("frame", "enabled", "x", "y", "height")} for item in (first, last)]
    for item in value["sequence"]:
        item["width"] = 5.0


@pytest.mark.parametrize(
    ("change", "fate", "strokes", "iou"),
    [
        (lambda value: None, RegionFate.KEPT, 0, 1.0),
        (_shift_last, RegionFate.MOVED, 1, None),
        (_relabel, RegionFate.RELABELLED, 1, 1.0),
        (lambda value: (_relabel(value), _shift_last(value)), RegionFate.MOVED, 2, None),
        (lambda value: value["sequence"].pop(), RegionFate.MOVED, 1, None),
        # Drawn on the first frame alone, of fifty.
        (_switch_off, RegionFate.MOVED, 1, None),
        (_leave_enabled_out, RegionFate.MOVED, 1, None),
        (_turn, RegionFate.MOVED, 1, None),
        (_set_anew, RegionFate.MOVED, 2, None),  # two keyframes; nobody typed other words
    ],
)
def test_the_fate_of_a_region(change, fate, strokes, iou):
    before = _region()
    (found,) = compare([before], [_changed(before, change)])
    assert (found.fate, found.strokes) == (fate, strokes)
    assert found.words == "the red car"
    if iou is not None:
        assert found.iou == pytest.approx(iou)
    else:
        assert 0 <= found.iou < 0.999
        assert found.worst is not None


def test_only_moved_keyframes_of_another_programs_prediction_are_strokes():
    before = _changed(_region(), lambda value: [item.pop("check") for item in value["sequence"]])
    assert compare([before], [before])[0].strokes == 0
    (found,) = compare([before], [_changed(before, _shift_last)])
    assert (found.fate, found.strokes) == (RegionFate.MOVED, 1)


def test_the_iou_over_time_is_that_of_the_drawn_boxes():
    """A still box of side .2, moved by half its side at the end: the overlap can be written down for each frame."""
    still = box_sequence(moving_box(50, speed=(0, 0)), _Clip(), fps=25)
    before = _region()
    before["value"]["sequence"] = still
    after = _changed(before, lambda value: value["sequence"][-1].update(x=value["sequence"][-1]["x"] + 10))
    (found,) = compare([before], [after])
    shift = 0.1 * np.arange(50) / 49
    assert found.iou == pytest.approx(np.mean((0.2 - shift) / (0.2 + shift)), abs=1e-3)
    assert found.worst == 50
    assert found.before == pytest.approx((0.1, 0.2, 0.3, 0.4))
    assert found.after == pytest.approx((0.2, 0.2, 0.4, 0.4))


def test_deleted_added_and_regions_out_of_an_interactive_answer():
    before, other = _region("r1"), _region("r2", words="the bus")
    drawn = _region("new")
    for item in drawn["value"]["sequence"]:
        del item["check"], item["words"]
    asked = _changed(_region("r3"), _shift_last)
    found = {c.region: c for c in compare([before, other], [before, drawn, asked])}
    assert {name: c.fate for name, c in found.items()} == {
        "r1": RegionFate.KEPT,
        "new": RegionFate.ADDED,
        "r3": RegionFate.MOVED,
        "r2": RegionFate.DELETED,
    }
    assert found["new"].words is None
    assert found["new"].strokes == len(drawn["value"]["sequence"])
    assert found["r3"].iou is None, "an interactive answer is not stored: there is nothing to compare with"
    assert found["r3"].strokes == 1


def test_a_rerun_with_other_words_deletes_no_keyframes():
    """The track was computed anew for other words: other keyframes, none of them a person's."""
    before = _region()
    after = _region(words="the blue car")
    after["value"]["sequence"] = box_sequence(
        moving_box(50, speed=(0, 0.01)), _Clip(), fps=25, words="the blue car", keyframe_iou=0.99
    )
    (found,) = compare([before], [after])
    assert (found.fate, found.strokes) == (RegionFate.MOVED, 1), "one stroke: the words"


@pytest.mark.parametrize("broken", [{}, {"sequence": None}, {"sequence": [{"frame": 1}]}, {"sequence": "x"}])
def test_malformed_regions_are_accepted(broken):
    before = _region()
    (found,) = compare([before], [{**before, "value": broken}])
    assert found.fate is RegionFate.MOVED
    assert found.iou == 0.0


# --- the webhook -----------------------------------------------------------------------------------------------------


class _Predictions:
    """The part of the SDK's client that is used."""

    def __init__(self, found):
        self.found, self.away = found, False
        self.predictions = self

    def get(self, *, id):
        if self.away:
            raise ConnectionError("no route")
        return self.found[id]

    def list(self, *, task):
        return [p for p in self.found.values() if p.task == task]


class _Prediction:
    def __init__(self, id, task, result, model_version="refam-1"):
        self.id, self.task, self.result, self.model_version = id, task, result, model_version


def _event(annotation=5, parent=7, result=(), **more):
    return {
        "annotation": {"id": annotation, "result": list(result), "parent_prediction": parent, **more},
        "project": {"id": 1, "label_config": CONFIG},
        "task": {"id": 3, "data": {"video": "/data/upload/1/a.mp4"}},
    }


@pytest.fixture
def collector(tmp_path, monkeypatch):
    client = _Predictions({7: _Prediction(7, 3, [_region()])})
    monkeypatch.setattr(collector_module, "label_studio_client", lambda settings: client)
    made = collector_module.CorrectionCollector(load_settings(data_dir=tmp_path / "data"))
    made.client = client
    yield made
    made.close()


def _compare(collector):
    collector.compare_pending()
    return collector.store.corrections()


def test_a_submitted_annotation_is_compared_and_an_update_replaces_it(collector):
    moved = _changed(_region(), _shift_last)
    assert collector.handle_event("ANNOTATION_CREATED", _event(result=[moved])) == "taken in"
    (row,) = _compare(collector)
    assert (row.correction.fate, row.project, row.task, row.model_version) == (RegionFate.MOVED, 1, 3, "refam-1")
    assert (row.video, row.fps) == ("/data/upload/1/a.mp4", 24)
    collector.handle_event("ANNOTATION_UPDATED", _event(result=[_region()]))
    (row,) = _compare(collector)
    assert row.correction.fate is RegionFate.KEPT
    collector.handle_event("ANNOTATIONS_DELETED", {"annotations": [{"id": 5}]})
    assert _compare(collector) == []


def test_without_a_parent_the_tasks_newest_prediction_counts(collector):
    collector.client.found[8] = _Prediction(8, 3, [_region(words="newer")], "refam-2")
    collector.handle_event("ANNOTATION_CREATED", _event(parent=None, result=[_region(words="newer")]))
    (row,) = _compare(collector)
    assert (row.correction.fate, row.model_version) == (RegionFate.KEPT, "refam-2")


def test_annotations_wait_on_disk_while_label_studio_is_away(collector, tmp_path):
    collector.client.away = True
    collector.handle_event("ANNOTATION_CREATED", _event(result=[_region()]))
    assert _compare(collector) == []
    collector.close()
    collector.client.away = False
    after = collector_module.CorrectionCollector(load_settings(data_dir=tmp_path / "data"))
    try:
        (row,) = _compare(after)
    finally:
        after.close()
    assert row.correction.fate is RegionFate.KEPT


@pytest.mark.parametrize(
    "change",
    [
        {"x": "left"},
        {"rotation": "none"},
        {"rotation": {}},
        {"width": None},
        {"frame": 10**15},
        {"y": float("inf")},
    ],
)
def test_a_malformed_annotation_costs_only_itself(collector, change):
    broken = _changed(_region(), lambda value: value["sequence"][0].update(change))
    for annotation, region in ((4, broken), (5, _region())):
        collector.store.receive(SubmittedAnnotation(annotation, 1, 10 + annotation, 7, "a.mp4", 25.0, (region,)))
    skipped = []
    assert collector_module.compare_pending(collector.store, collector.client, skipped=skipped) == 0
    assert [row.annotation for row in collector.store.corrections()] == [5]
    (sentence,) = skipped
    assert sentence.startswith("task 14: annotation 4 cannot be compared: ")


@pytest.mark.parametrize(
    ("event", "data"),
    [
        ("PROJECT_UPDATED", {"project": {"id": 1}}),
        ("ANNOTATION_CREATED", {}),
        ("ANNOTATION_CREATED", {"annotation": {"id": "x", "result": []}}),
        ("ANNOTATION_CREATED", _event(was_cancelled=True)),
        ("ANNOTATION_CREATED", {**_event(), "project": {"id": 1, "label_config": "<View><Text/></View>"}}),
    ],
)
def test_events_without_a_correction(collector, event, data):
    assert collector.handle_event(event, data) == "nothing to learn"
    assert collector.store.pending() == []


# --- the report ------------------------------------------------------------------------------------------------------


def _rows():
    before = _region()
    moved = compare([before], [_changed(before, _shift_last)])[0]
    kept = compare([before], [before])[0]
    deleted = compare([_region("r9", words="the bus")], [])[0]
    at = 1_700_000_000.0
    return [
        StoredCorrection(n, 1, n, "a.mp4", 25.0, "refam-1", at + 86_400 * n, c)
        for n, c in enumerate([moved, kept, kept, deleted])
    ]


def test_the_tables_count_what_there_is():
    found = summary_tables(_rows())
    by = {one.name: one for one in found["expression"]}
    assert by["the red car"].regions == 3
    assert by["the red car"].kept == pytest.approx(2 / 3)
    assert by["the bus"].fates[RegionFate.DELETED] == 1
    assert [one.name for one in found["day"]] == ["2023-11-14", "2023-11-15", "2023-11-16", "2023-11-17"]
    assert summarize("all", _rows()).strokes == pytest.approx(0.5)
    assert [row.correction.fate for row in most_costly(_rows(), 5)] == [RegionFate.DELETED, RegionFate.MOVED]


def test_the_page_shows_the_worst_and_escapes_what_people_wrote():
    rows = _rows()
    rows[0] = replace(rows[0], correction=replace(rows[0].correction, words="<script>alert(1)</script>"))

    def open_clip(row):
        if row.task:
            raise MediaError("there is no such file")
        return _Clip()

    skipped = []
    html = render_page(rows, open_clip, skipped=skipped)
    assert skipped == ["task 3: its corrections have no picture: there is no such file"]
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert html.count("data:image/jpeg;base64,") == 1
    assert "the video cannot be had" in html
    drawn = draw_correction(_rows()[0], _Clip())
    assert drawn.shape == (270, 480, 3)
    wide = _Clip()
    wide.pixel_aspect = 2.0
    assert draw_correction(_rows()[0], wide).shape == (135, 480, 3)
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == 3, "ground, our box, their box"


def test_two_processes_share_one_store(tmp_path):
    one, two = CorrectionStore(tmp_path), CorrectionStore(tmp_path)
    one.receive(SubmittedAnnotation(1, 1, 1, None, "a.mp4", 25.0, ({"id": "r"},)))
    ((submitted, at),) = two.pending()
    assert submitted == SubmittedAnnotation(1, 1, 1, None, "a.mp4", 25.0, ({"id": "r"},))
    one.receive(SubmittedAnnotation(1, 1, 1, None, "a.mp4", 25.0, ({"id": "newer"},)))
    two.save(submitted, at, compare([_region()], []), model_version="m")
    assert [s.result for s, _ in one.pending()] == [({"id": "newer"},)], "what came meanwhile is not lost"
    assert one.corrections() == [], "and what is out of date is not stored"
    ((newer, at),) = two.pending()
    for store in (one, two):  # both compared it
        store.save(newer, at, compare([_region()], []), model_version="m")
    assert len(one.corrections(project=1)) == 1
    assert one.pending() == []
    assert one.corrections(project=2) == one.corrections(since=at + 1) == []
    one.receive(newer)
    ((late, at),) = two.pending()
    one.delete([1])
    two.save(late, at, compare([_region()], []), model_version="m")
    assert one.corrections() == [], "deleted while it was compared"
