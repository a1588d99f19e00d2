"""`refam export` and `refam import`; keyframe interpolation is checked against a plain loop."""

from __future__ import annotations

import base64
import cmath
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from typer.testing import CliRunner

from backend.cli.main import app
from backend.cli.outputs import tracks_json
from backend.labelstudio.controls.video_rectangle import box_sequence, boxes_on_clip
from backend.labelstudio.export_reader import read_export
from backend.labelstudio.export_sources import VideoFolder, read_tracks, rename_duplicates
from backend.labelstudio.import_tasks import build_label_config
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.picture_tasks import build_mask_label_config
from refam.pipeline.types import Target, TrackResult
from tests.media import cfr, numbered_frames, read_number, vfr, vfr_times
from video import masks
from video.formats.base import FormatError
from video.io.reader import open_clip
from video.keyframes import make_keyframes
from video.types import MaskTrack

W, H, N = 160, 96, 30


def disk_mask(t):
    y, x = np.mgrid[:H, :W]
    return np.hypot(x - 30 - 3 * t, y - 40 - 8 * math.sin(t / 4)) < 14


def make_track(n=N, *, label="disk", hidden=(11, 12, 13)):
    shapes = [disk_mask(t) if t not in hidden else np.zeros((H, W), bool) for t in range(n)]
    return MaskTrack(
        label,
        (W, H),
        np.arange(n),
        tuple(masks.encode(m) for m in shapes),
        np.array([masks.box_of(m) or (0, 0, 0, 0) for m in shapes]),
        np.ones(n),
        np.array([m.any() for m in shapes]),
    )


def make_result(track, times):
    return TrackResult(Target(track.label, words="a disk"), track, tuple(make_keyframes(track, times)), 0.9, 0, ())


def refam(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


@pytest.fixture(scope="module")
def labelled_once(tmp_path_factory):
    """A folder with the videos and the tracks.json files of `refam label` for two clips."""
    folder = tmp_path_factory.mktemp("labelled")
    for name in ("one", "two"):
        (folder / "videos").mkdir(exist_ok=True)
        clip = open_clip(cfr(folder / "videos" / f"{name}.mp4", numbered_frames(N, size=(W, H))))
        out = folder / "found" / name
        content = tracks_json(clip, [make_result(make_track(), clip.times)], model_version="v", near=out)
        out.mkdir(parents=True)
        (out / "tracks.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def labelled(labelled_once, tmp_path):
    """Copy what `labelled_once` wrote to the test's own folder and return that."""
    shutil.copytree(labelled_once, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture(autouse=True)
def videos_folder(tmp_path):
    (tmp_path / "videos").mkdir()


# --- tracks -> formats -----------------------------------------------------------------------------------------------


def test_read_tracks_restores_masks_and_times(labelled):
    loaded = read_tracks(labelled / "found/one/tracks.json")
    (track,) = loaded.video.objects
    truth = make_track()
    np.testing.assert_array_equal(track.frames, truth.frames[truth.visible])
    for frame, rle in zip(track.frames, track.rles, strict=True):
        np.testing.assert_array_equal(masks.decode(rle), disk_mask(frame))
    assert loaded.video.name == "one"
    assert len(loaded.video.times) == N


@pytest.mark.parametrize("form", ["coco", "coco-polygons", "youtube-vis", "davis", "mots", "yolo", "cvat"])
def test_export_writes_every_format(labelled, form):
    result = refam("export", labelled / "found", "--format", form, "--out", labelled / "out", "--split", "0.5,0.5")
    assert result.exit_code == 0, result.output
    assert "train: 1 videos, 1 objects, 30 frames" in result.output
    assert [p for p in (labelled / "out").rglob("*") if p.is_file()]


def test_a_sampled_export_has_the_images_of_its_annotations(labelled):
    args = ("--format", "coco", "--every", 7, "--images", "--videos", labelled / "videos", "--out", labelled / "out")
    result = refam("export", labelled / "found", *args)
    assert result.exit_code == 0, result.output
    coco = COCO(str(labelled / "out/annotations/instances_all.json"))
    assert len(coco.imgs) == 2 * 5
    for image in coco.imgs.values():
        picture = cv2.imread(str(labelled / "out/images" / image["file_name"]))[..., ::-1]
        assert picture.shape == (H, W, 3)
        assert read_number(picture) == image["frame_index"]
    for annotation in coco.anns.values():
        frame = coco.imgs[annotation["image_id"]]["frame_index"]
        np.testing.assert_array_equal(coco.annToMask(annotation), disk_mask(frame))


def test_images_are_read_from_the_video_that_was_labelled(labelled):
    result = refam("export", labelled / "found/two", "--format", "yolo", "--images", "--out", labelled / "out")
    assert result.exit_code == 0, result.output
    pictures = sorted((labelled / "out/images/all").iterdir())
    assert [read_number(cv2.imread(str(path))[..., ::-1]) for path in pictures] == list(range(N))


def _other_video(path):
    path.unlink()
    cfr(path, numbered_frames(N - 1, size=(W, H)))


@pytest.mark.parametrize("form", ["yolo", "coco", "davis"])
@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (Path.unlink, "--images needs the video file: give --videos FOLDER, with one.mp4 in it"),
        (lambda path: path.write_bytes(b"no video"), "one.mp4"),
        (_other_video, "not the video that was annotated: it has 29 frames of 160x96, and 30 of 160x96 are expected"),
    ],
)
def test_nothing_is_written_where_images_cannot_be(labelled, form, harm, message):
    harm(labelled / "videos/one.mp4")
    args = ("--format", form, "--images", "--out", labelled / "out")
    result = refam("export", labelled / "found/one", *args)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())
    assert not (labelled / "out").exists()
    result = refam("export", labelled / "found", *args)  # the other video is whole
    assert result.exit_code == 3
    assert "1 videos, 1 objects, 30 frames" in result.output
    assert {path.parent.name for path in (labelled / "out").rglob("*.jpg")} <= {"all", "two"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--images", "--format", "cvat"], "CVAT takes the video itself"),
        (["--split", "1,2,3"], "without dividing"),
        (["--split", "1"], "two or three"),
        (["--split", "1,x"], "two or three"),
        (["--every", "2", "--fps", "3"], "not both"),
        (["--fps", "0"], "positive"),
        (["--videos", "nowhere"], "no folder"),
    ],
)
def test_invalid_export_options_are_explained(labelled, args, message):
    result = refam("export", labelled / "found", "--format", "coco", "--out", labelled / "out", *args)
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.output.replace("│", " ").split())


def test_clips_with_equal_names_are_renamed(labelled):
    renamed = rename_duplicates([read_tracks(labelled / "found/one/tracks.json")] * 2)
    assert [item.video.name for item in renamed] == ["one", "one-2"]
    assert len({item.origin for item in renamed}) == 1  # so a split never separates them


# --- the editor's keyframes -> the clip's frames ---------------------------------------------------------------------


def turned_box(at, size):
    """Return the upright box around a rotated one, turned in pixels with complex numbers; None outside the frame."""
    w, h = size
    corner = complex(at["x"] * w, at["y"] * h) / 100
    wide, high = at["width"] * w / 100, at["height"] * h / 100
    points = [corner + p * cmath.rect(1, math.radians(at["rotation"])) for p in (0, wide, high * 1j, wide + high * 1j)]
    xs, ys = [p.real / w for p in points], [p.imag / h for p in points]
    box = max(0, min(xs)), max(0, min(ys)), min(1, max(xs)), min(1, max(ys))
    return box if box[0] < box[2] and box[1] < box[3] else None


def boxes_by_loop(sequence, times, duration_s, fps, size):
    """Return the box that the editor draws on each clip frame (None: no box), computed with plain loops."""
    n = max(1, math.floor(duration_s * fps + 0.5))
    keys = sorted(sequence, key=lambda k: k["frame"])
    boxes = {}
    for frame in range(1, n + 1):
        t = math.floor((frame - 1) / fps / 0.002 + 0.5) * 0.002 + 0.002
        i = 0
        while i + 1 < len(times) and times[i + 1] <= t:
            i += 1
        before = [k for k in keys if k["frame"] <= frame]
        after = [k for k in keys if k["frame"] > frame]
        box = None
        if before and (before[-1].get("enabled") or before[-1]["frame"] == frame):
            a, b = before[-1], after[0] if after else before[-1]
            share = (frame - a["frame"]) / (b["frame"] - a["frame"]) if b is not a else 0
            at = {s: a[s] + share * (b[s] - a[s]) for s in ("x", "y", "width", "height", "rotation")}
            box = turned_box(at, size)
        boxes.setdefault(i, box)
    return boxes


def last_editor_box(sequence, clip, fps):
    """Return the box on the last frame of the editor, computed as if it were the only frame."""
    n = max(1, math.floor(clip.duration_s * fps + 0.5))
    shifted = [k | {"frame": k["frame"] - n + 1} for k in sequence]
    return boxes_by_loop(shifted, [0.0], 0.5 / fps, fps, clip.size)[0]


KEYFRAMES = st.lists(
    st.fixed_dictionaries(
        {
            "frame": st.integers(1, 60),
            "x": st.floats(0, 60),
            "y": st.floats(0, 60),
            "width": st.floats(1, 20),
            "height": st.floats(1, 20),
            "rotation": st.sampled_from([0, 0, 15, -40]),
        },
        optional={"enabled": st.booleans()},
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda k: k["frame"],
)


@settings(max_examples=60, deadline=None)
@given(
    KEYFRAMES,
    st.sampled_from([24.0, 25.0, 30.0, 12.5, 59.94]),
    st.sampled_from(["constant", "variable"]),
    st.sampled_from([(320, 160), (90, 160), (64, 64)]),
)
def test_boxes_on_clip_match_the_boxes_drawn_by_the_editor(sequence, fps, kind, size):
    times = np.arange(N) / 25 if kind == "constant" else vfr_times(N)
    clip = SimpleNamespace(times=times, duration_s=float(times[-1] + 0.04), size=size)
    boxes, keys = boxes_on_clip(sequence, clip, fps=fps)
    expected = boxes_by_loop(sequence, times, clip.duration_s, fps, size)
    for frame, box in expected.items():
        assert (frame in boxes) == (box is not None)
        if box is not None:
            np.testing.assert_allclose(np.clip(boxes[frame], 0, 1), box, atol=1e-9)
    for frame in boxes.keys() - expected.keys():  # not shown by the editor: interpolated
        if frame > max(expected):  # after its last frame: the box of that frame
            np.testing.assert_allclose(np.clip(boxes[frame], 0, 1), last_editor_box(sequence, clip, fps), atol=1e-9)
            continue
        a, b = max(f for f in expected if f < frame), min(f for f in expected if f > frame)
        share = (times[frame] - times[a]) / (times[b] - times[a])
        interpolated = [p + share * (q - p) for p, q in zip(boxes[a], boxes[b], strict=True)]
        np.testing.assert_allclose(boxes[frame], interpolated, atol=1e-9)
    assert set(keys) <= boxes.keys()


@pytest.mark.parametrize(
    ("at", "box"),
    [
        ((50, 20, 30, 20, 90), (128, 32, 160, 128)),  # measured in the editor
        ((50, 20, 30, 20, -90), (160, -64, 192, 32)),
        ((50, 50, 30, 20, 180), (64, 48, 160, 80)),
        ((50, 20, 10, 20, 45), (160 - 16 * 2**0.5, 32, 160 + 16 * 2**0.5, 32 + 32 * 2**0.5)),  # a square of 32 pixels
    ],
)
def test_a_rotated_box_is_turned_in_pixels(at, box):
    sides = dict(zip(("x", "y", "width", "height", "rotation"), at, strict=True))
    clip = SimpleNamespace(times=np.arange(3) / 10, duration_s=0.3, size=(320, 160))
    boxes, _ = boxes_on_clip([{"frame": 1, "enabled": True, **sides}], clip, fps=10)
    assert boxes[2] == pytest.approx([v / side for v, side in zip(box, (320, 160) * 2, strict=True)])


@pytest.mark.parametrize("fps", [25.0, 24.0, 12.5])
def test_box_sequence_round_trip_keeps_the_boxes(fps):
    times = np.arange(N) / 25
    clip = SimpleNamespace(times=times, duration_s=N / 25, size=(W, H))
    track = make_track()
    boxes, _ = boxes_on_clip(box_sequence(track, clip, fps=fps), clip, fps=fps)
    last = N - 1 if fps == 25 else N - 3  # at a lower fps the editor does not show the last frames
    ious = [masks.box_iou(boxes[f], track.boxes[f]) for f in boxes if track.visible[f] and f <= last]
    assert min(ious) > (0.89 if fps == 25 else 0.75)
    if fps == 25:
        assert sorted(boxes) == np.flatnonzero(track.visible).tolist()


@pytest.mark.parametrize(
    ("flags", "drawn"),
    [
        (({}, {}), [1, 20]),  # as seen in the editor: on the two frames, hidden between and after
        (({"enabled": None}, {"enabled": 0}), [1, 20]),
        (({"enabled": True}, {}), list(range(1, 21))),
        (({}, {"enabled": True}), [1, *range(20, 31)]),
    ],
)
def test_keyframes_without_enabled_hide_the_box_behind_them(tmp_path, flags, drawn):
    sides = {"x": 10, "y": 35, "width": 17, "height": 29, "rotation": 0}
    sequence = [{"frame": frame, **sides, **flag} for frame, flag in zip((1, 20), flags, strict=True)]
    cfr(tmp_path / "videos/disc.mp4", numbered_frames(N, size=(W, H)))
    (tmp_path / "e.json").write_text(json.dumps(make_export("/data/upload/1/0a1b2c3d-disc.mp4", sequence)))
    config = parse_label_config(build_label_config(["disk"]))
    (loaded,) = read_export(tmp_path / "e.json", config, videos=VideoFolder(tmp_path / "videos"))
    (track,) = loaded.video.objects
    assert (track.frames + 1).tolist() == drawn


def make_export(address, sequence, *, fps=25, more=()):
    region = {
        "id": "r",
        "type": "videorectangle",
        "from_name": "box",
        "to_name": "video",
        "value": {"sequence": sequence, "labels": ["disk"]},
    }
    annotation = {"id": 1, "was_cancelled": False, "updated_at": "2026-01-01", "result": [region]}
    return [{"id": 7, "data": {"video": address, "fps": fps}, "annotations": [annotation, *more]}]


def test_export_of_corrected_annotations_at_a_variable_frame_rate(tmp_path):
    clip = open_clip(vfr(tmp_path / "videos/a b.mp4", numbered_frames(N, size=(W, H))))
    truth = make_track()
    sequence = box_sequence(truth, clip, fps=30)
    skipped = {"id": 2, "was_cancelled": True, "updated_at": "2027-01-01", "result": []}
    (tmp_path / "e.json").write_text(
        json.dumps(make_export("/data/upload/3/0a1b2c3d-a%20b.mp4", sequence, fps=30, more=[skipped]))
    )
    (tmp_path / "c.xml").write_text(build_label_config(["disk"]))
    args = ("--format", "coco", "--config", tmp_path / "c.xml", "--videos", tmp_path / "videos", "--out", tmp_path)
    result = refam("export", tmp_path / "e.json", *args)
    assert result.exit_code == 0, result.output
    coco = COCO(str(tmp_path / "annotations/instances_all.json"))
    assert len(coco.imgs) == N
    assert {image["file_name"] for image in coco.imgs.values()} >= {"a b/000000.jpg"}
    found = {coco.imgs[a["image_id"]]["frame_index"]: a["bbox"] for a in coco.anns.values()}
    for frame, (x, y, w, h) in found.items():
        if truth.visible[frame]:
            box = np.array([x / W, y / H, (x + w) / W, (y + h) / H])
            # The last clip frame comes after the last frame of the editor and takes its box.
            assert masks.box_iou(box, truth.boxes[frame]) > (0.85 if frame < N - 1 else 0.7)
    assert set(np.flatnonzero(truth.visible)) - set(found) == set()


def test_regions_of_another_frame_rate_are_read_at_their_own(tmp_path):
    """A box that moves from the first to the last of 48 editor frames, in a project that says 10 a second now."""
    sides = {"y": 35, "width": 17, "height": 29, "rotation": 0, "enabled": True}
    export = make_export("disc.mp4", [{"frame": 1, "x": 10, **sides}, {"frame": 48, "x": 57, **sides}], fps=10)
    export[0]["annotations"][0]["result"][0]["value"] |= {"framesCount": 48, "duration": 2.0}
    cfr(tmp_path / "videos/disc.mp4", numbered_frames(20, size=(W, H)), fps=10)
    (tmp_path / "e.json").write_text(json.dumps(export))
    (tmp_path / "c.xml").write_text(build_label_config(["disk"]))
    args = ("--format", "coco", "--config", tmp_path / "c.xml", "--videos", tmp_path / "videos", "--out", tmp_path)
    result = refam("export", tmp_path / "e.json", *args)
    assert result.exit_code == 0, result.output
    assert "task 7: regions were stored with 48 frames in 2 s, so they are read at 24" in " ".join(
        result.stderr.split()
    )
    coco = COCO(str(tmp_path / "annotations/instances_all.json"))
    lefts = [a["bbox"][0] / W * 100 for a in sorted(coco.anns.values(), key=lambda a: a["image_id"])]
    np.testing.assert_allclose(lefts, [10 + 24 * t for t in np.arange(20) / 10], atol=1.01)  # an editor frame is 1 %


def answer(kind, **value):
    return {"id": "r", "type": kind, "from_name": f"the-{kind}", "to_name": "video", "value": {"sequence": [], **value}}


def _with_frame(export, frame):
    sides = {"x": 10, "y": 35, "width": 17, "height": 29, "rotation": 0, "enabled": True}
    export[0]["data"]["video"] = "there.mp4"
    export[0]["annotations"][0]["result"][0]["value"]["sequence"] = [{"frame": frame, **sides}]
    return export


@pytest.mark.parametrize("frame", [2, 2.0])
def test_a_frame_may_be_written_with_a_fraction_of_zero(tmp_path, frame):
    cfr(tmp_path / "videos/there.mp4", numbered_frames(4, size=(W, H)))
    (tmp_path / "e.json").write_text(json.dumps(_with_frame(make_export("", []), frame)))
    config = parse_label_config(build_label_config(["disk"]))
    (loaded,) = read_export(tmp_path / "e.json", config, videos=VideoFolder(tmp_path / "videos"))
    (track,) = loaded.video.objects
    assert (track.frames.tolist(), track.keyframes) == ([1, 2, 3], (1,))


SAID = [
    (["disk", "parked"], [], {"labels": ["disk", "parked"]}),
    (["disk"], [answer("choices", choices=["half hidden"])], {"the-choices": "half hidden"}),
    (["disk"], [answer("choices", choices=["wet", "old"])], {"the-choices": ["wet", "old"]}),
    (["disk"], [answer("rating", rating=4), answer("number", number=2.5)], {"the-rating": "4", "the-number": "2.5"}),
    (["disk"], [answer("textarea", text=["seen from behind"])], {"the-textarea": "seen from behind"}),
    (["disk"], [answer("taxonomy", taxonomy=[["car", "van"]])], {"the-taxonomy": "car / van"}),
    ([], [answer("labels", labels=["disk", "parked"])], {"labels": ["disk", "parked"]}),
    (["disk"], [answer("choices", choices=[]) | {"id": "another"}], {}),
]


@pytest.mark.parametrize(("labels", "more", "attributes"), SAID)
def test_all_that_was_said_of_a_region_is_exported(tmp_path, labels, more, attributes):
    export = make_export("disc.mp4", [{"frame": 1, "x": 1, "y": 2, "width": 30, "height": 40, "enabled": True}])
    result = export[0]["annotations"][0]["result"]
    result[0]["value"]["labels"] = labels
    result += more
    cfr(tmp_path / "videos/disc.mp4", numbered_frames(2, size=(W, H)))
    (tmp_path / "e.json").write_text(json.dumps(export))
    (tmp_path / "c.xml").write_text(build_label_config(["disk"]))
    source = (tmp_path / "e.json", "--config", tmp_path / "c.xml", "--videos", tmp_path / "videos", "--out", tmp_path)
    for form in ("coco", "youtube-vis", "cvat", "yolo"):
        ran = refam("export", *source, "--format", form)
        assert ran.exit_code == 0, ran.output
    coco = COCO(str(tmp_path / "annotations/instances_all.json"))
    assert [c["name"] for c in coco.cats.values()] == ["disk"]
    assert [a.get("attributes", {}) for a in coco.anns.values()] == [attributes] * 2
    (track,) = json.loads((tmp_path / "all/instances.json").read_text())["annotations"]
    assert track.get("attributes", {}) == attributes
    root = ElementTree.parse(tmp_path / "all/disc.xml").getroot()
    flat = {name: ", ".join(v) if isinstance(v, list) else v for name, v in attributes.items()}
    assert [{a.get("name"): a.text for a in box.iter("attribute")} for box in root.iter("box")] == [flat] * 2
    assert {a.findtext("name") for a in root.findall("meta//attribute")} == flat.keys()
    assert ("yolo has no attributes" in ran.stderr) == bool(attributes)
    assert all(f"'{name}' of 1 object" in ran.stderr for name in attributes if name != "labels")


@pytest.mark.parametrize(
    ("change", "args", "message"),
    [
        (lambda e: e, [], "--config"),
        (lambda e: e, ["--config", "c.xml"], "--videos FOLDER is needed"),
        (lambda e: [{"id": 1, "data": {"video": "v"}}], ["--config", "c.xml"], "no annotations: it was exported"),
        (lambda e: [{"id": 1, "video": "v", "box": []}], ["--config", "c.xml"], "JSON-MIN; export the project again"),
        (lambda e: ["v"], ["--config", "c.xml"], "no data and no annotations"),
        (lambda e: {"images": [], "annotations": []}, ["--config", "c.xml"], "neither a tracks.json"),
        (lambda e: _with_frame(e, 1.5), ["--config", "c.xml", "--videos", "videos"], "a whole number"),
        (lambda e: _with_frame(e, True), ["--config", "c.xml", "--videos", "videos"], "a whole number"),
        (lambda e: _with_frame(e, "1"), ["--config", "c.xml", "--videos", "videos"], "a whole number"),
        (lambda e: [e[0] | {"annotations": []}], ["--config", "c.xml"], "nothing is annotated"),
        (lambda e: e, ["--config", "c.xml", "--videos", "videos"], "there is no gone.mp4"),
    ],
)
def test_a_missing_input_of_an_export_is_named(tmp_path, monkeypatch, change, args, message):
    monkeypatch.chdir(tmp_path)
    cfr(tmp_path / "videos/there.mp4", numbered_frames(2, size=(W, H)))
    Path("c.xml").write_text(build_label_config(["disk"]))
    Path("e.json").write_text(json.dumps(change(make_export("/data/upload/1/gone.mp4", []))))
    result = refam("export", "e.json", "--format", "yolo", "--out", "out", *args)
    assert result.exit_code == 1
    assert message in result.output


def test_a_video_is_found_by_its_address(tmp_path):
    for name in ("x/clip.mp4", "y/clip.mp4", "0a1b2c3d-up.mp4", "up.mp4", "my (own) clip.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    folder = VideoFolder(tmp_path)
    assert folder.find("/data/local-files/?d=y/clip.mp4") == tmp_path / "y/clip.mp4"
    assert folder.find("/data/upload/1/0a1b2c3d-up.mp4").name == "0a1b2c3d-up.mp4"
    assert folder.find("https://host/11111111-up.mp4?sig=1").name == "up.mp4"
    assert folder.find("/data/upload/1/0a1b2c3d-my_own_clip.mp4").name == "my (own) clip.mp4"
    with pytest.raises(FormatError, match="could be"):
        folder.find("clip.mp4")
    with pytest.raises(FormatError, match="no other"):
        folder.find("other.mp4")
    assert folder.find("/data/local-files/?d=D%3A%5Cy%5Cclip.mp4") == tmp_path / "y/clip.mp4"
    assert folder.find("s3://bucket/long/way/to/x/clip.mp4") == tmp_path / "x/clip.mp4"
    resolved = "/tasks/12/resolve/?fileuri=" + base64.urlsafe_b64encode(b"s3://bucket/y/clip.mp4").decode()
    assert folder.find(resolved) == tmp_path / "y/clip.mp4"


# --- masks on pictures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["brush", "polygon", "bitmask"])
def test_masks_of_picture_tasks_round_trip(tmp_path, shape):
    xml = build_mask_label_config(["disk", "other"], shape)
    config = parse_label_config(xml)
    track = make_track(6, hidden=(2,))
    regions = config.control.regions([make_result(track, np.arange(6.0))], region_ids=["refam-0123456789"])
    hand_drawn = dict(regions[0], id="by-hand", item_index=2)
    data = {"frames": [f"/data/{i:06}.jpg" for i in range(6)], "times_s": [0, 1, 2, 3, 4, 5]}
    task = {"id": 4, "data": data, "annotations": [{"result": [*regions, hand_drawn]}]}
    (tmp_path / "e.json").write_text(json.dumps([task]))
    (loaded,) = read_export(tmp_path / "e.json", config, videos=None)
    (found,) = loaded.video.objects  # the hand-drawn region belongs to the only object
    assert found.frames.tolist() == [0, 1, 2, 3, 4, 5]
    for frame, rle in zip(found.frames, found.rles, strict=True):
        expected = disk_mask(frame) if frame != 2 else disk_mask(0)
        assert masks.iou(masks.decode(rle), expected) > (0.93 if shape == "polygon" else 0.999)
    assert loaded.video.times.tolist() == [0, 1, 2, 3, 4, 5]
    assert loaded.video.pictures[1] == "task-4/000001.jpg"


def test_several_labels_and_choices_of_masks_on_pictures_are_kept(tmp_path):
    config = parse_label_config(build_mask_label_config(["disk", "parked"], "brush"))
    regions = config.control.regions([make_result(make_track(2, hidden=()), [0, 1])], region_ids=["refam-0123456789"])
    regions[1]["value"]["brushlabels"] = ["disk", "parked"]
    said = {"id": regions[0]["id"], "type": "choices", "from_name": "how", "to_name": "image"}
    result = [*regions, said | {"value": {"choices": ["wet"]}}]
    task = {"id": 4, "data": {"frames": ["a.jpg", "b.jpg"]}, "annotations": [{"result": result}]}
    (tmp_path / "e.json").write_text(json.dumps([task]))
    (loaded,) = read_export(tmp_path / "e.json", config, videos=None)
    (found,) = loaded.video.objects
    assert (found.label, found.attributes) == ("disk", {"labels": ("disk", "parked"), "how": ("wet",)})


def test_the_task_of_an_invalid_mask_is_named(tmp_path):
    config = parse_label_config(build_mask_label_config(["disk"], "brush"))
    base = {"id": "a", "to_name": "image", "item_index": 0, "original_width": 8, "original_height": 8}
    for kind, value in {
        "brushlabels": {"rle": [1, 2, 3]},
        "bitmasklabels": {"imageDataURL": "data:image/png;base64,AAAA"},
        "polygonlabels": {"points": [[1, 2]]},
    }.items():
        task = {
            "id": 4,
            "data": {"frames": ["a.jpg"]},
            "annotations": [{"result": [base | {"type": kind, "value": value}]}],
        }
        (tmp_path / "e.json").write_text(json.dumps([task]))
        with pytest.raises(FormatError, match="task 4"):
            read_export(tmp_path / "e.json", config, videos=None)


# --- imports ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["coco", "youtube-vis", "davis", "mots"])
@pytest.mark.parametrize("shape", ["brush", "bitmask"])
def test_masks_are_imported_as_pictures(labelled, form, shape):
    result = refam("export", labelled / "found/one", "--format", form, "--out", labelled / "out")
    assert result.exit_code == 0, result.output
    paths = {"coco": "annotations/instances_all.json", "youtube-vis": "all/instances.json", "davis": "", "mots": "all"}
    args = (labelled / "out" / paths[form], "--out", labelled / "in", "--masks", shape, "--url", "http://host/x")
    result = refam("import", form, *args)
    assert result.exit_code == 0, result.output
    config = parse_label_config((labelled / "in/label_config.xml").read_text())
    (task,) = json.loads((labelled / "in/tasks.json").read_text())
    assert task["data"]["frames"][0].startswith("http://host/x/one/")
    task |= {"id": 1, "annotations": [{"result": task["predictions"][0]["result"]}]}
    (labelled / "e.json").write_text(json.dumps([task]))
    (loaded,) = read_export(labelled / "e.json", config, videos=None)
    (track,) = loaded.video.objects
    assert track.label == "disk"
    np.testing.assert_array_equal(track.frames, np.flatnonzero(make_track().visible))
    for frame, rle in zip(track.frames, track.rles, strict=True):
        np.testing.assert_array_equal(masks.decode(rle), disk_mask(frame))


@pytest.mark.parametrize("form", ["cvat", "coco"])
def test_boxes_are_imported_as_video_tracks(labelled, form):
    result = refam("export", labelled / "found/one", "--format", form, "--out", labelled / "out")
    assert result.exit_code == 0, result.output
    path = {"coco": "annotations/instances_all.json", "cvat": "all"}[form]
    result = refam("import", form, labelled / "out" / path, "--out", labelled / "in", "--videos", labelled / "videos")
    assert result.exit_code == 0, result.output
    (task,) = json.loads((labelled / "in/tasks.json").read_text())
    (region,) = task["predictions"][0]["result"]
    clip = open_clip(labelled / "videos/one.mp4")
    boxes, _ = boxes_on_clip(region["value"]["sequence"], clip, fps=task["data"]["fps"])
    truth = make_track()
    assert sorted(boxes) == np.flatnonzero(truth.visible).tolist()
    assert min(masks.box_iou(boxes[f], truth.boxes[f]) for f in boxes) > 0.8


_FORMATS = {
    "coco": "annotations/instances_all.json",
    "youtube-vis": "all/instances.json",
    "davis": ".",
    "mots": "all",
    "cvat": "all",
}


def _keep_range(tracks, first, last):
    """Write a tracks.json as `refam label --range` does."""
    content = json.loads(tracks.read_text())
    (one,) = content["objects"]
    one["frames"] = [row for row in one["frames"] if first <= row["frame"] <= last]
    one["keyframes"] = [row for row in one["keyframes"] if first <= row["frame"] <= last]
    tracks.write_text(json.dumps(content))


@pytest.mark.parametrize("form", list(_FORMATS))
@pytest.mark.parametrize(
    ("frames", "sampling", "annotated"),
    [
        ((0, 9), (), range(10)),
        ((15, 24), (), range(15, 25)),
        ((20, 29), (), range(20, 30)),
        ((0, 29), ("--every", 4), range(0, 29, 4)),
        ((14, 27), ("--every", 5), range(15, 26, 5)),
        ((14, 29), ("--fps", 11), [15, 18, 20, 22, 25, 27]),  # of 25 a second: 15.9, 18.2, 20.5, ...
        ((17, 17), (), [17]),
    ],
)
def test_a_part_of_a_video_is_imported_onto_its_own_frames(labelled, form, frames, sampling, annotated):
    _keep_range(labelled / "found/one/tracks.json", *frames)
    result = refam("export", labelled / "found/one", "--format", form, "--out", labelled / "out", *sampling)
    assert result.exit_code == 0, result.output
    args = ("--out", labelled / "in", "--videos", labelled / "videos")
    result = refam("import", form, labelled / "out" / _FORMATS[form], *args)
    assert result.exit_code == 0, result.output
    (task,) = json.loads((labelled / "in/tasks.json").read_text())
    (region,) = task["predictions"][0]["result"]
    clip = open_clip(labelled / "videos/one.mp4")
    boxes, _ = boxes_on_clip(region["value"]["sequence"], clip, fps=task["data"]["fps"])
    truth = make_track()
    shown = [frame for frame in annotated if truth.visible[frame]]
    assert set(shown) <= set(boxes)
    assert set(boxes) <= set(range(annotated[0], annotated[-1] + 1))
    assert min(masks.box_iou(boxes[f], truth.boxes[f]) for f in shown) > 0.75


@pytest.mark.parametrize("form", ["coco", "youtube-vis", "davis", "mots"])
def test_a_part_of_a_video_is_not_imported_onto_another_one(labelled, form):
    _keep_range(labelled / "found/one/tracks.json", 5, 14)
    refam("export", labelled / "found/one", "--format", form, "--out", labelled / "out")
    cfr(labelled / "videos/one.mp4", numbered_frames(10, size=(W, H)))
    args = ("--out", labelled / "in", "--videos", labelled / "videos")
    result = refam("import", form, labelled / "out" / _FORMATS[form], *args)
    assert result.exit_code == 1
    assert "one was annotated on a video of 30 frames, and one.mp4 has 10" in " ".join(result.output.split())
    assert not (labelled / "in").exists()


@pytest.mark.parametrize("form", ["coco", "youtube-vis"])
def test_a_folder_where_a_file_is_expected_is_said(tmp_path, form):
    (tmp_path / "set/annotations").mkdir(parents=True)
    (tmp_path / "set/annotations/val.json").write_text("{}")
    result = refam("import", form, tmp_path / "set", "--out", tmp_path / "in")
    assert result.exit_code == 1
    where = f"{tmp_path}/set is a folder, and a JSON file is expected, such as {tmp_path}/set/annotations/val.json"
    assert where in result.stderr
    result = refam("import", form, tmp_path / "set/annotations/..", "--out", tmp_path / "in")
    assert "is a folder, and a JSON file is expected" in result.stderr


def test_a_cvat_task_of_a_part_of_a_video_is_imported_by_the_name_of_its_file(labelled, tmp_path):
    """Every fifth frame from frame 5 to 20 of 30; the task has another name than its file, which has odd characters."""
    shutil.copy(labelled / "videos/one.mp4", tmp_path / "camera #3 100%.mp4")
    meta = (
        "<task><name>Warehouse, camera 3</name><size>4</size><start_frame>5</start_frame><stop_frame>20</stop_frame>"
        "<frame_filter>step=5</frame_filter><original_size><width>160</width><height>96</height></original_size>"
        "<source>camera #3 100%.mp4</source></task>"
    )
    boxes = "".join(f'<box frame="{f}" xtl="{f}" ytl="10" xbr="{f + 40}" ybr="50"/>' for f in (5, 20))
    tracks = f'<track id="0" label="disk">{boxes}</track><track id="1" label="path"><polyline/></track>'
    (tmp_path / "a.xml").write_text(f"<annotations><meta>{meta}</meta>{tracks}</annotations>")
    result = refam("import", "cvat", tmp_path / "a.xml", "--out", tmp_path / "in", "--videos", tmp_path)
    assert result.exit_code == 3, result.output
    assert "track 1 ('path') has a <polyline>" in result.stderr
    (task,) = json.loads((tmp_path / "in/tasks.json").read_text())
    (region,) = task["predictions"][0]["result"]
    clip = open_clip(tmp_path / "camera #3 100%.mp4")
    found, _ = boxes_on_clip(region["value"]["sequence"], clip, fps=task["data"]["fps"])
    assert {f: round(b[0] * W, 2) for f, b in found.items()} == {f: f for f in range(5, 21)}
    (tmp_path / "camera #3 100%.mp4").rename(tmp_path / "other.mp4")
    result = refam("import", "cvat", tmp_path / "a.xml", "--out", tmp_path / "in", "--videos", tmp_path)
    assert "there is no camera #3 100%.mp4 below" in result.output


@pytest.mark.parametrize("form", ["cvat", "davis"])
def test_only_video_files_of_a_name_are_looked_at(labelled, form):
    """--videos holds the exports themselves, folders of masks named like the video, and other files."""
    for name in ("davis", "cvat"):
        refam("export", labelled / "found/one", "--format", name, "--out", labelled / f"videos/ex-{name}")
    (labelled / "videos/one").mkdir()
    (labelled / "videos/one/00000.jpg").write_bytes(b"no picture")
    (labelled / "videos/one.txt").write_text("notes")
    (labelled / "videos/zlinks").mkdir()
    (labelled / "videos/zlinks/one.mp4").symlink_to(labelled / "videos/one.mp4")
    args = ("--out", labelled / "in", "--videos", labelled / "videos")
    result = refam("import", form, labelled / f"videos/ex-{form}" / ("all" if form == "cvat" else "."), *args)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    (task,) = json.loads((labelled / "in/tasks.json").read_text())
    assert task["data"]["video"].endswith("=one.mp4")


def test_two_videos_of_one_name_are_named(labelled):
    refam("export", labelled / "found/one", "--format", "cvat", "--out", labelled / "out")
    (labelled / "videos/copy").mkdir()
    shutil.copy(labelled / "videos/one.mp4", labelled / "videos/copy/one.mp4")
    args = ("--out", labelled / "in", "--videos", labelled / "videos")
    result = refam("import", "cvat", labelled / "out/all", *args)
    assert result.exit_code == 1
    assert "one.mp4; leave one of them below --videos" in " ".join(result.output.split())
    assert "there is no one" not in result.output


def test_a_labelled_folder_of_pictures_is_found_by_its_name(labelled):
    tracks = labelled / "found/one/tracks.json"
    content = json.loads(tracks.read_text())
    content["video"]["name"] = "shots"
    tracks.write_text(json.dumps(content))
    (labelled / "videos/day/shots").mkdir(parents=True)
    with pytest.raises(FormatError, match="there is no shots below"):
        read_tracks(tracks, videos=VideoFolder(labelled / "videos"))
    (labelled / "videos/day/shots/1.png").write_bytes(b"")
    loaded = read_tracks(tracks, videos=VideoFolder(labelled / "videos"))
    assert loaded.media == labelled / "videos/day/shots"


def test_a_video_in_a_subfolder_keeps_its_folder_in_the_address(labelled):
    refam("export", labelled / "found/one", "--format", "cvat", "--out", labelled / "out")
    (labelled / "videos/day 1").mkdir()
    (labelled / "videos/one.mp4").rename(labelled / "videos/day 1/one.mp4")
    args = ("--out", labelled / "in", "--videos", labelled / "videos")
    for more, address in (
        ((), "/data/local-files/?d=day%201/one.mp4"),
        (("--url", "http://host/v/"), "http://host/v/day%201/one.mp4"),
    ):
        assert refam("import", "cvat", labelled / "out/all", *args, *more).exit_code == 0
        (task,) = json.loads((labelled / "in/tasks.json").read_text())
        assert task["data"]["video"] == address


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (lambda folder: (folder / "found/two/tracks.json").write_text("{"), 3, "two/tracks.json"),
        (lambda folder: (folder / "found/two/tracks.json").write_text('{"video": {}, "objects": []}'), 3, "'name'"),
        (lambda folder: (folder / "videos/two.mp4").unlink(), 3, "there is no two.mp4"),
        (lambda folder: [path.write_text("{") for path in folder.glob("found/*/tracks.json")], 1, "tracks.json"),
    ],
)
def test_a_bad_source_of_an_export_costs_only_itself(labelled, spoil, code, said):
    spoil(labelled)
    args = ("--format", "coco", "--out", labelled / "out", "--videos", labelled / "videos")
    result = refam("export", labelled / "found", *args)
    assert result.exit_code == code, result.output
    assert said in result.stderr
    if code == 3:
        assert "videos done; left out:" in result.stderr
        assert COCO(str(labelled / "out/annotations/instances_all.json")).anns
    else:
        assert not (labelled / "out").exists()


def test_a_bad_task_or_region_costs_only_itself(labelled):
    good = {"id": "a", "type": "videorectangle", "to_name": "video", "from_name": "box", "value": {"labels": ["disk"]}}
    box = {"frame": 1, "x": 10, "y": 10, "width": 20, "height": 20, "enabled": False}
    good["value"] |= {"sequence": [box], "framesCount": N, "duration": 1.0}
    bad = {**good, "id": "b", "value": {**good["value"], "sequence": [{**box, "frame": "one"}]}}
    tasks = [
        {"id": 1, "data": {"video": "one.mp4"}, "annotations": [{"result": [good, bad]}]},
        {"id": 2, "data": {"video": "gone.mp4"}, "annotations": [{"result": [good]}]},
        {"id": 3, "data": {"video": 7}, "annotations": [{"result": []}]},
    ]
    (labelled / "e.json").write_text(json.dumps(tasks))
    (labelled / "c.xml").write_text(build_label_config(["disk"]).replace("$fps", "30"))
    args = ("--config", labelled / "c.xml", "--videos", labelled / "videos", "--format", "coco")
    result = refam("export", labelled / "e.json", *args, "--out", labelled / "out")
    assert result.exit_code == 3, result.output
    assert all(name in result.stderr for name in ("task 1", "task 2", "there is no gone.mp4", "task 3"))
    assert len(COCO(str(labelled / "out/annotations/instances_all.json")).anns) == 1


def test_importing_boxes_needs_a_video_of_the_same_length(labelled):
    refam("export", labelled / "found/one", "--format", "cvat", "--out", labelled / "out")
    result = refam("import", "cvat", labelled / "out/all", "--out", labelled / "in")
    assert "give --videos" in result.output
    cfr(labelled / "videos/one.mp4", numbered_frames(N - 5, size=(W, H)))
    result = refam("import", "cvat", labelled / "out/all", "--out", labelled / "in", "--videos", labelled / "videos")
    assert "one has 30 frames annotated, one.mp4 has 25" in result.output
