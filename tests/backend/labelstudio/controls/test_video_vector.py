"""Outlines on video: written by the documentation of the tag, kept as a person left them, read back as masks."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
import pytest
from label_studio_sdk.label_interface import LabelInterface
from numpy.typing import NDArray

from backend.feedback.compare import RegionFate, compare
from backend.jobs.models import JobSpec
from backend.jobs.runner import add_user_prompts
from backend.labelstudio.config_xml import LabelConfigError
from backend.labelstudio.controls.video_vector import VideoVectorControl, masks_on_clip, vector_sequence
from backend.labelstudio.edits import UserOutline, read_user_keyframes
from backend.labelstudio.empty_regions import empty_region, is_empty
from backend.labelstudio.export_reader import read_export
from backend.labelstudio.export_sources import VideoFolder
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.regions import build_prediction
from backend.labelstudio.removal import read_removal
from backend.labelstudio.request import read_request
from backend.labelstudio.timeline import clip_frame_of_editor, editor_frame_count
from refam.evaluation.synthetic import red_star_and_blue_ring
from refam.pipeline.pipeline import Target, TrackResult
from tests.doubles import track_of_masks
from tests.media import cfr
from video.contours import polygon_to_mask
from video.masks import decode, iou

XML = """<View><TextArea name="words" toName="v" value="$prompt"/>
<Labels name="l" toName="v"><Label value="Star"/><Label value="Ring"/></Labels>
<Video name="v" value="$video" frameRate="25"/><VideoVector name="o" toName="v" closable="true"/></View>"""
OWN = """<View><Video name="v" value="$video" frameRate="25"/>
<VideoVectorLabels name="o" toName="v" closable="true" minPoints="5" maxPoints="9"><Label value="Star"/>
</VideoVectorLabels></View>"""
CONFIG = parse_label_config(XML)
SIZE = (160, 90)


@dataclass
class Timing:
    times: NDArray[np.float64]
    duration_s: float
    size: tuple[int, int] = SIZE


def _even(n: int, fps: float = 25.0) -> Timing:
    return Timing(np.arange(n) / fps, n / fps)


def _star(n: int = 24) -> NDArray[np.bool_]:
    return red_star_and_blue_ring(n, size=SIZE)[1][0]


def _region(masks, config=CONFIG, *, fps=25.0, clip_fps=25.0, edits=(), words="the red star", notes=()):
    result = TrackResult(Target("Star", words), track_of_masks(masks), (), 0.8, 0, notes)
    clip = _even(len(masks), clip_fps)
    (region,) = config.control.regions([result], clip, fps=fps, region_ids=["r"], edits=[edits])
    return json.loads(json.dumps(region))


@cache
def _star_outline() -> str:
    return json.dumps(_region(_star()))


def _star_region() -> dict[str, Any]:
    """The outline of the star on all frames, made once and read anew."""
    region: dict[str, Any] = json.loads(_star_outline())
    return region


def _drawn(sequence: list[dict[str, Any]], frame: int) -> NDArray[np.float64] | None:
    """What the editor draws on a frame of its own, in percent: its source's rule, written plainly. None: hidden."""
    before = [k for k in sequence if k["frame"] <= frame]
    if not before:
        return None
    last = before[-1]
    if not last["enabled"] and last["frame"] != frame:
        return None
    after = next((k for k in sequence if k["frame"] > frame), None)
    assert last["closed"], "an outline that opens between two keyframes"
    points = []
    for vertex in last["vertices"]:
        x, y = vertex["x"], vertex["y"]
        there = [v for v in after["vertices"] if v["id"] == vertex["id"]] if after and last["frame"] != frame else []
        if there:
            r = (frame - last["frame"]) / (after["frame"] - last["frame"])
            x, y = x + (there[0]["x"] - x) * r, y + (there[0]["y"] - y) * r
        points.append((x, y))
    return np.array(points)


def _fill(points: NDArray[np.float64] | None) -> NDArray[np.bool_]:
    """By another library than the code's: OpenCV, with 4 bits of fraction; about pixel centres."""
    grid = np.zeros(SIZE[::-1], np.uint8)
    if points is not None and len(points) >= 3:
        cv2.fillPoly(grid, [np.round((points / 100 * SIZE - 0.5) * 16).astype(np.int32)], 1, shift=4)
    return grid > 0


def test_hours_before_the_first_frame_need_two_keyframes():
    clip = _even(24)
    clip.times, clip.duration_s = clip.times + 7200, clip.duration_s + 7200
    sequence, _ = vector_sequence(track_of_masks(_star()), clip, fps=25.0)
    first, second = sequence[0], sequence[1]
    assert (first["frame"], first["enabled"]) == (1, True)
    assert second["frame"] >= 7200 * 25
    assert sequence[-1]["frame"] == 7200 * 25 + 24
    points = [[(v["x"], v["y"]) for v in key["vertices"]] for key in (first, second)]
    assert np.abs(np.subtract(*points)).max() < 5, "the same outline but for what the tolerance allows"


@pytest.mark.parametrize(("fps", "clip_fps"), [(25.0, 25.0), (10.0, 25.0), (30.0, 24.0)])
def test_the_editor_draws_the_object(fps, clip_fps):
    masks = _star()
    region = _region(masks, fps=fps, clip_fps=clip_fps)
    sequence = region["value"]["sequence"]
    clip = _even(len(masks), clip_fps)
    n = editor_frame_count(clip.duration_s, fps)
    shown = clip_frame_of_editor(clip.times, n, fps)
    ious = [iou(_fill(_drawn(sequence, row + 1)), masks[shown[row]]) for row in range(n)]
    assert min(ious) > 0.75
    assert np.mean(ious) > 0.85
    if fps > 20:  # at 10 the clip's frames are shown two and three apart in turns, so a line fits no three of them
        assert len(sequence) <= n / 2
    assert len({tuple(v["id"] for v in k["vertices"]) for k in sequence}) == 1, "other vertices on another keyframe"


@pytest.mark.parametrize("xml", [XML, OWN])
def test_label_studio_sdk_accepts_the_region(xml):
    config = parse_label_config(xml)
    region = _region(_star(), config)
    interface = LabelInterface(xml)
    control = interface.get_control("o")
    assert control.validate_value(region["value"])
    assert region["type"] == control.tag.lower()
    assert (region["from_name"], region["to_name"]) == ("o", "v")
    assert region["value"]["labels"] == ["Star"]
    if xml == OWN:
        assert region["value"]["videovectorlabels"] == ["Star"]
        assert 5 <= len(region["value"]["sequence"][0]["vertices"]) <= 9
        assert interface.validate_prediction(build_prediction([region], model_version="1"))
    for item in region["value"]["sequence"]:
        assert item["time"] == pytest.approx((item["frame"] - 1) / 25)
        before = [None, *(v["id"] for v in item["vertices"][:-1])]
        assert [v["prevPointId"] for v in item["vertices"]] == before


def test_hidden_frames_are_hidden_also_after_the_last_one():
    masks = _star()
    masks[8:14] = masks[20:] = False
    sequence = _region(masks)["value"]["sequence"]
    shown = [_drawn(sequence, row + 1) is not None for row in range(24)]
    assert shown == [bool(mask.any()) for mask in masks]


def test_an_object_in_several_parts_has_a_note():
    masks = _star()
    masks[3:6, 70:85, 5:30] = True
    assert _region(masks)["meta"]["text"] == [
        "words: the red star; on 3 frames the object is in several parts; the outline goes round the largest"
    ]
    assert _star_region()["meta"]["text"] == ["words: the red star"]


# --- the label config --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ('<VideoVector name="o" toName="v" closable="true"/>', ("o", "videovector", 3, 48)),
        ('<videovector name="o" toname="v" Closable="True" maxPoints="12"/>', ("o", "videovector", 3, 12)),
        ('<VideoVector name="o" toName="v" closable="true" minPoints="none"/>', ("o", "videovector", 3, 48)),
        (
            '<VideoVector name="line" toName="v"/><VideoVectorLabels name="o" toName="v" closable="true">'
            '<Label value="A"/></VideoVectorLabels>',
            ("o", "videovectorlabels", 3, 48),
        ),
        # Lines and skeletons are no outlines: then boxes are drawn, where there is a tag for them.
        ('<VideoVector name="o" toName="v"/><VideoRectangle name="b" toName="v"/>', None),
        (
            '<VideoVector name="o" toName="v" closable="true" skeleton="true"/><VideoRectangle name="b" toName="v"/>',
            None,
        ),
        # Where there are both, the outline says more.
        (
            '<VideoRectangle name="b" toName="v"/><VideoVector name="o" toName="v" closable="true"/>',
            ("o", "videovector", 3, 48),
        ),
    ],
)
def test_outline_tags_are_recognised(tag, expected):
    config = parse_label_config(f'<View><Video name="v" value="$u"/>{tag}</View>')
    found = config.control if isinstance(config.control, VideoVectorControl) else None
    assert (found and (found.name, found.tag, found.min_points, found.max_points)) == expected
    assert config.control.name == ("o" if expected else "b")


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ('<VideoVector name="o" toName="v"/>', 'closable="true"'),
        ('<VideoVector name="o" toName="v" closable="true" maxPoints="2"/>', "allows 2 points at most and needs 3"),
        ('<VideoVector name="o" toName="v" closable="true" minPoints="9" maxPoints="8"/>', "needs 9"),
    ],
)
def test_a_config_that_cannot_take_outlines_is_explained(tag, message):
    with pytest.raises(LabelConfigError, match=message):
        parse_label_config(f'<View><Video name="v" value="$u"/>{tag}</View>')


# --- a person's corrections --------------------------------------------------------------------------------------


def _task(region: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": 5,
        "data": {"video": "a.mp4", "prompt": "the red star"},
        "drafts": [{"id": 1, "result": [region], "created_at": "2026-01-01"}],
    }


def _typed(words: str) -> dict[str, Any]:
    value = {"text": [words]}
    return {"result": [{"id": "t", "type": "textarea", "from_name": "words", "to_name": "v", "value": value}]}


def _pushed(region, index, by=3.0):
    """One vertex of a keyframe dragged outward, as the editor writes it: the other fields of the keyframe stay."""
    changed = copy.deepcopy(region)
    changed["value"]["sequence"][index]["vertices"][0]["y"] -= by + 0.123456789
    return changed


def test_an_unedited_outline_has_no_user_keyframes():
    assert read_user_keyframes(_star_region()) == ()


def test_a_dragged_vertex_is_a_prompt_and_comes_back_to_the_last_digit():
    region = _star_region()
    changed = _pushed(region, 1)
    item = changed["value"]["sequence"][1]
    work = read_request(_task(changed), CONFIG, context=_typed("the red star"))
    assert work.region_ids == ("r",)
    ((edit,),) = work.edits
    assert isinstance(edit, UserOutline)
    assert edit.frame == item["frame"]
    (target,) = add_user_prompts(work, _even(24))
    (prompt,) = target.prompts
    assert prompt.frame == item["frame"] - 1
    expected = np.array([(v["x"], v["y"]) for v in item["vertices"]])
    assert iou(decode(prompt.mask), _fill(expected)) > 0.9
    again = _region(_star(), edits=(edit,))["value"]["sequence"]
    (kept,) = [k for k in again if k["frame"] == item["frame"]]
    assert kept["vertices"] == item["vertices"]
    assert read_user_keyframes({"value": {"sequence": again}}) == (edit,), "what is a person's stays a person's"
    ids = [v["id"] for v in item["vertices"]]
    assert all([v["id"] for v in k["vertices"]] == ids for k in again)


def test_added_vertices_stay_and_earlier_frames_keep_their_own():
    """The editor leaves a vertex where it is that the next keyframe has not: so the frame before has a keyframe."""
    masks = _star()
    first, second = (_pushed(_star_region(), i, by=0.01)["value"]["sequence"][i] for i in (0, 1))
    one = {"id": "extra", "x": first["vertices"][0]["x"] + 0.5, "y": first["vertices"][0]["y"] + 0.5}
    second["vertices"].insert(1, one)
    edits = read_user_keyframes({"value": {"sequence": [first, second]}})
    assert len(edits) == 2
    sequence = _region(masks, edits=edits)["value"]["sequence"]
    at = [k["frame"] for k in sequence]
    assert second["frame"] - 1 in at
    for item in sequence:
        expected = first if item["frame"] < second["frame"] else second
        assert [v["id"] for v in item["vertices"]] == [v["id"] for v in expected["vertices"]]
    ious = [iou(_fill(_drawn(sequence, row + 1)), masks[row]) for row in range(24)]
    assert np.median(ious) > 0.8


@pytest.mark.parametrize(
    "vertices",
    [[], [{"id": "a", "x": 10.0, "y": 10.0}], [{"id": i, "x": 5.0, "y": 5.0} for i in "abcd"]],
    ids=["none", "one", "no area"],
)
def test_a_keyframe_without_area_is_kept_and_is_no_prompt(vertices):
    masks = _star()
    edit = UserOutline(6, tuple(vertices), True, True, None)
    sequence = _region(masks, edits=(edit,))["value"]["sequence"]
    assert [k["vertices"] for k in sequence if k["frame"] == 6] == [vertices]
    work = read_request(_task(_star_region()), CONFIG, context=_typed("the red star"))
    (target,) = add_user_prompts(type(work)(**{**work.__dict__, "edits": ((edit,),)}), _even(24))
    assert target.prompts == ()


def test_a_disabled_keyframe_hides_up_to_the_next():
    sequence = _star_region()["value"]["sequence"]
    off = copy.deepcopy(sequence[1])
    off["enabled"] = False
    edits = read_user_keyframes({"value": {"sequence": [sequence[0], off, *sequence[2:]]}})
    again = _region(_star(), edits=edits)["value"]["sequence"]
    until = sequence[2]["frame"]
    hidden = [f for f in range(1, 25) if _drawn(again, f) is None]
    assert hidden == list(range(off["frame"] + 1, until))


def test_frames_may_be_written_with_a_fraction_of_zero():
    sequence = _star_region()["value"]["sequence"]
    floats = [{**item, "frame": float(item["frame"])} for item in sequence]
    assert masks_on_clip(floats, _even(24), fps=25.0) == masks_on_clip(sequence, _even(24), fps=25.0)
    assert read_user_keyframes({"value": {"sequence": floats}}) == ()


@pytest.mark.parametrize("change", [lambda item: item.pop("enabled"), lambda item: item.update(enabled=None)])
def test_a_keyframe_without_enabled_hides_the_outline_behind_it(change):
    sequence = _star_region()["value"]["sequence"]
    for item in sequence:
        change(item)
    masks = masks_on_clip(sequence, _even(24), fps=25.0)
    assert sorted(masks) == [item["frame"] - 1 for item in sequence]


def test_an_outline_drawn_on_a_hidden_frame_is_visible():
    masks = _star()
    masks[10:] = False
    points = ({"id": "a", "x": 50.0, "y": 20.0}, {"id": "b", "x": 60.0, "y": 20.0}, {"id": "c", "x": 55.0, "y": 40.0})
    sequence = _region(masks, edits=(UserOutline(18, points, True, True, None),))["value"]["sequence"]
    assert [f for f in range(11, 25) if _drawn(sequence, f) is not None] == [18]
    assert len(_drawn(sequence, 18)) == 3


def test_a_job_with_outlines_is_stored_and_read_back():
    work = read_request(_task(_pushed(_star_region(), 1)), CONFIG, context=_typed("the red star"))
    spec = JobSpec(id="j", task_id=5, project="1", work=work, label_config=XML, model_version="v")
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec


def test_words_remove_an_outline():
    region = _star_region()
    removal = read_removal(_task(region), CONFIG, _typed("-the red star"))
    (gone,) = removal.regions
    assert gone["id"] == "r"
    assert is_empty(gone)
    drawn = [_drawn(gone["value"]["sequence"], f) for f in range(1, 25)]
    assert not any(_fill(points).any() for points in drawn)
    assert LabelInterface(XML).get_control("o").validate_value(gone["value"])
    assert not is_empty(region)
    assert empty_region(gone, "again")["value"]["sequence"] == gone["value"]["sequence"]


@pytest.mark.parametrize(
    ("change", "fate"), [(lambda r: r, RegionFate.KEPT), (lambda r: _pushed(r, 0, 20.0), RegionFate.MOVED)]
)
def test_compare_reports_what_became_of_an_outline(change, fate):
    before = _star_region()
    (found,) = compare([before], [change(copy.deepcopy(before))])
    assert (found.fate, found.label, found.words) == (fate, "Star", "the red star")
    assert found.strokes == (fate is RegionFate.MOVED)
    assert (found.iou == 1.0) == (fate is RegionFate.KEPT)
    (deleted,) = compare([before], [])
    assert deleted.fate is RegionFate.DELETED


# --- the export, read back ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", [25, 10])
def test_an_export_of_outlines_becomes_masks_on_every_frame(tmp_path, fps):
    frames, truth = red_star_and_blue_ring(24, size=SIZE)
    cfr(tmp_path / "clip.mp4", frames)
    masks = truth[0]
    masks[16:20] = False
    xml = XML.replace('frameRate="25"', f'frameRate="{fps}"')
    region = _region(masks, parse_label_config(xml), fps=float(fps))
    export = [{"id": 1, "data": {"video": "clip.mp4"}, "annotations": [{"id": 2, "result": [region]}]}]
    (tmp_path / "export.json").write_text(json.dumps(export))
    (loaded,) = read_export(tmp_path / "export.json", parse_label_config(xml), videos=VideoFolder(tmp_path))
    (one,) = loaded.video.objects
    assert one.label == "Star"
    got = {int(f): decode(rle) for f, rle in zip(one.frames, one.rles, strict=True)}
    ious = [iou(got.get(f, np.zeros_like(masks[f])), masks[f]) for f in range(24)]
    if fps == 25:
        assert sorted(got) == [f for f in range(24) if masks[f].any()]
        assert min(ious) > 0.75
    assert np.mean(ious) > 0.8


def test_filled_agrees_with_opencv():
    points = np.array([(10.0, 10.0), (90.0, 12.0), (70.0, 60.0), (20.0, 70.0)])
    assert iou(polygon_to_mask(points, SIZE), _fill(points / SIZE * 100)) > 0.96
    assert not polygon_to_mask(points[:2], SIZE).any()
