"""`refam label` on several videos, folders of pictures and addresses: a bad one costs only itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import refam as refam_library
from backend.cli.main import app
from backend.cli.result_folder import hold_folder
from refam.pipeline.errors import NotFoundError
from refam.pipeline.types import TrackResult
from tests.doubles import track_of_masks
from tests.loopback_files import serve_files
from tests.media import cfr, garbage, numbered_frames
from tests.small_files import small_files
from video.io.reader import open_clip

SIZE = (96, 48)


class BoxPipeline:
    """Tracks a known box for every target; with `ghost` there is nothing to see, and of a blue one there is a guess."""

    model_version = "refam-test/boxes"

    def __init__(self, *_, **__):
        pass

    def run(self, clip, targets, progress, **_):
        results = []
        for target in targets:
            is_there = "ghost" not in (target.words or "")
            masks = np.zeros((len(clip), clip.size[1], clip.size[0]), bool)
            masks[:, 10:30, 20:50] = is_there
            track = track_of_masks(masks, label=target.label)
            results.append(TrackResult(target, track, (), 0.8, 0, () if is_there else ("nothing fits",)))
        if not any(result.track.visible.any() for result in results):
            guess = (0.534, 0.5, 94) if "blue" in (targets[0].words or "") else None
            raise NotFoundError(f"{targets[0].label}: nothing fits", guess=guess)
        return results


@pytest.fixture(autouse=True)
def boxes(monkeypatch, tmp_path):
    """A pipeline that is fast, and a folder with two videos, a folder of pictures and a broken file."""
    monkeypatch.setattr("refam.model.Pipeline", BoxPipeline)
    monkeypatch.setattr("backend.cli.label_run.LabelRun._print_segmenter", lambda self: None)
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        cfr(Path(f"{name}.mp4"), numbered_frames(6, size=SIZE))
    garbage(Path("broken.mp4"))
    Path("bear").mkdir()
    for i, frame in enumerate(numbered_frames(4, size=SIZE)):
        Image.fromarray(frame).save(f"bear/{i}.jpg")


def refam(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})


@pytest.mark.parametrize(
    ("videos", "done", "code"),
    [
        (["a.mp4"], ["a"], 0),
        (["a.mp4", "b.mp4", "bear"], ["a", "b", "bear"], 0),
        (["*.mp4"], ["a", "b"], 3),
        (["a.mp4", "gone.mp4"], ["a"], 3),
        (["broken.mp4", "b.mp4"], ["b"], 3),
        (["broken.mp4", "gone.mp4"], [], 1),
        (["broken.mp4"], [], 1),
    ],
)
def test_a_bad_video_costs_only_itself(videos, done, code):
    result = refam("label", *videos, "the red star")
    assert result.exit_code == code, result.output
    assert sorted(path.parent.name for path in Path("found").glob("*/tracks.json")) == done
    bad = {name for name in ("gone.mp4", "broken.mp4") if name in result.stderr}
    assert bool(bad) == (code != 0)
    if code == 3:
        tail = result.stderr[result.stderr.index("not done or not found:") :]
        assert all(name in tail for name in bad)
    assert "Traceback" not in result.output


def test_how_attention_is_read_is_taken_from_the_environment(monkeypatch):
    asked = {}
    load = refam_library.load

    def remember(*args, **options):
        asked.update(options)
        return load(*args, **options)

    monkeypatch.setattr(refam_library, "load", remember)
    monkeypatch.setenv("REFAM_BLOCKS", "0-1")
    monkeypatch.setenv("REFAM_READING", "heads=peak")
    assert refam("label", "a.mp4", "the red star").exit_code == 0
    assert (asked["blocks"], asked["reading"].head_weights) == ("0-1", "peak")


def test_a_bug_in_one_video_does_not_cost_the_others(monkeypatch):
    run = BoxPipeline.run

    def stumble(self, clip, *args, **kwargs):
        if clip.path.name == "a.mp4":
            raise ZeroDivisionError("a bug")
        return run(self, clip, *args, **kwargs)

    monkeypatch.setattr(BoxPipeline, "run", stumble)
    result = refam("label", "a.mp4", "b.mp4", "the red star")
    assert result.exit_code == 3
    assert "a.mp4: unexpected ZeroDivisionError: a bug" in result.stderr
    assert Path("found/b/tracks.json").exists()
    assert isinstance(refam("label", "a.mp4", "the red star").exception, ZeroDivisionError)


def test_an_object_that_is_not_found_is_said_at_the_end():
    result = refam("label", "a.mp4", "the red star", "the ghost star", "--out", "o")
    assert result.exit_code == 3
    assert "a.mp4: the ghost star was not found: nothing fits" in result.stderr
    assert [o["label"] for o in json.loads(Path("o/tracks.json").read_text())["objects"]] == [
        "the red star",
        "the ghost star",
    ]


def test_a_long_label_that_is_not_found_is_shortened():
    result = refam("label", "a.mp4", "the red star", f"the ghost star {'and a star ' * 100}", "--out", "o")
    assert f"a.mp4: {('the ghost star ' + 'and a star ' * 100)[:80]}… was not found: nothing fits" in result.stderr


def test_the_report_can_be_json():
    one = refam("label", "a.mp4", "Toy: the red star", "--json", "--out", "o")
    report = json.loads(one.stdout)
    assert (report["video"], report["out"], report["frames"]) == ("a.mp4", "o", 6)
    (found,) = report["objects"]
    assert (found["label"], found["words"], found["seen_frames"]) == ("Toy", "the red star", 6)
    assert Path(report["files"]["overlay"]).is_file()
    several = refam("label", "a.mp4", "gone.mp4", "the red star", "--json")
    good, bad = json.loads(several.stdout)
    assert (good["objects"][0]["score"], bad) == (
        0.8,
        {"video": "gone.mp4", "error": "gone.mp4: there is no such file"},
    )


@pytest.mark.parametrize(
    ("arguments", "code", "range_", "point"),
    [
        (["a.mp4", "the ghost star"], 1, "", "0.42,0.61@0"),
        (["a.mp4", "b.mp4", "the red star", "the ghost star"], 3, "", "0.42,0.61@0"),
        (["a.mp4", "the ghost star", "--preview-only"], 1, "", "0.42,0.61@0"),
        (["a.mp4", "the red star", "the ghost star", "--json"], 3, "", "0.42,0.61@0"),
        (["a.mp4", "the blue ghost star"], 1, "", "0.53,0.50@94"),
        (["a.mp4", "the ghost star", "--range", "2-4"], 1, " --range 2-4", "0.42,0.61@2"),
        (["a.mp4", "the ghost star", "--range", "-4", "--preview-only"], 1, " --range -4", "0.42,0.61@0"),
        (["a.mp4", "the blue ghost star", "--range", "0.1s-"], 1, " --range 0.1s-", "0.53,0.50@94"),
    ],
)
def test_after_words_that_were_not_found_the_commands_to_draw_the_object_are_printed(arguments, code, range_, point):
    result = refam("label", *arguments)
    assert result.exit_code == code, result.output
    help_ = result.stderr[result.stderr.index("commands that help:") :].splitlines()
    assert [line.partition("#")[0].strip() for line in help_] == [
        "commands that help:",
        f"refam pick a.mp4{range_}",
        f"refam label a.mp4{range_} --point {point}",
    ]


@pytest.mark.parametrize("arguments", [["a.mp4", "the red star"], ["a.mp4", "ghost", "--point", "ghost: 0.4,0.4"]])
def test_otherwise_they_are_not(arguments):
    assert "commands that help" not in refam("label", *arguments).stderr


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (0.37, "frame 4 (0.16 s): low score 0.37: look at the mask that tracking began from"),
        (0.5, "needs a look     nothing: no gap, low score, sudden change or doubt of the words"),
    ],
)
def test_an_object_with_a_low_score_needs_a_look(monkeypatch, score, said):
    run = BoxPipeline.run

    def doubt(self, *args, **kwargs):
        return [replace(result, score=score, anchor_frame=4) for result in run(self, *args, **kwargs)]

    monkeypatch.setattr(BoxPipeline, "run", doubt)
    result = refam("label", "a.mp4", "the red star", "--out", "o")
    assert result.exit_code == 0, result.output
    assert said in result.stdout
    assert Path("o/needs_a_look.jpg").exists() == (score < 0.5)


def test_a_folder_of_pictures_becomes_a_task_of_pictures():
    assert refam("label", "bear", "Bear: the red star", "--fps", 12, "--url", "http://host/bear").exit_code == 0
    (task,) = json.loads(Path("found/bear/label_studio.json").read_text())
    assert task["data"]["frames"] == [f"http://host/bear/{i}.jpg" for i in range(4)]
    assert task["data"]["times_s"] == pytest.approx([0, 1 / 12, 2 / 12, 3 / 12], abs=1e-6)
    assert task["data"]["prompt"] == "Bear: the red star"
    regions = task["predictions"][0]["result"]
    assert {(r["type"], r["item_index"]) for r in regions} == {("brushlabels", i) for i in range(4)}
    assert "<BrushLabels" in Path("found/bear/label_config.xml").read_text()
    assert len(list(Path("found/bear/masks/0").iterdir())) == 4


@pytest.mark.parametrize("picture", ["bear/0.jpg", "./bear/0.jpg"])
def test_a_picture_of_a_folder_is_no_video_and_the_folder_is_named(picture):
    result = refam("label", picture, "the red star")
    assert result.exit_code == 1
    said = "bear/0.jpg: this is a picture, not a video; to take the pictures of its folder for one, give it: bear\n"
    assert result.stderr.startswith(f"refam: {said}")


def test_a_picture_with_the_name_of_a_video_is_told_to_be_one():
    Path("bear/0.jpg").rename("pic.mp4")
    result = refam("label", "pic.mp4", "the red star")
    assert result.exit_code == 1
    said = "pic.mp4: this is a picture, in spite of the ending of its name; give the video itself\n"
    assert result.stderr == f"refam: {said}"


def test_no_line_of_the_report_ends_in_blanks():
    printed = refam("label", "a.mp4", "the red star", "a blue one").stdout.splitlines()
    assert [line.split() for line in printed if line.startswith("0  ")] == [
        ["0", "the", "red", "star", "0.80", "6", "of", "6", "0.00-0.20", "s"]
    ]
    assert [line for line in printed if line != line.rstrip()] == []


def test_a_folder_of_pictures_is_exported_with_its_pictures():
    assert refam("label", "bear", "Bear: the red star").exit_code == 0
    result = refam("export", "found/bear", "--format", "coco", "--out", "coco", "--images", "--videos", ".")
    assert result.exit_code == 0, result.output
    assert len(list(Path("coco/images").rglob("*.jpg"))) == 4


def test_a_video_is_fetched_from_its_address():
    with serve_files({"/clips/far%20off.mp4": Path("a.mp4").read_bytes()}) as server:
        address = f"{server.url}/clips/far%20off.mp4"
        result = refam("label", address, f"{server.url}/gone.mp4", "the red star", "--out", "o")
    assert result.exit_code == 3, result.output
    (task,) = json.loads(Path("o/far off/label_studio.json").read_text())
    assert task["data"]["video"] == address
    assert json.loads(Path("o/far off/tracks.json").read_text())["video"]["name"] == "far off.mp4"
    assert "gone.mp4" in result.stderr


@pytest.mark.parametrize(
    ("url", "videos", "expected"),
    [
        (None, ["a.mp4"], ["/data/local-files/?d=a.mp4"]),
        (None, ["sub/c.mp4"], ["/data/local-files/?d=sub/c.mp4"]),
        ("/data/local-files/?d=", ["sub/c.mp4"], ["/data/local-files/?d=c.mp4"]),
        ("http://h/v.mp4", ["a.mp4"], ["http://h/v.mp4"]),
        ("http://h/", ["a.mp4"], ["http://h/a.mp4"]),
        ("http://h/c", ["a.mp4", "b.mp4"], ["http://h/c/a.mp4", "http://h/c/b.mp4"]),
    ],
)
def test_tasks_name_their_videos(url, videos, expected):
    Path("sub").mkdir()
    Path("sub/c.mp4").write_bytes(Path("a.mp4").read_bytes())
    assert refam("label", *videos, "the red star", *(["--url", url] if url else [])).exit_code == 0
    tasks = [json.loads(Path(f"found/{Path(v).stem}/label_studio.json").read_text())[0] for v in videos]
    assert [task["data"]["video"] for task in tasks] == expected


@pytest.mark.parametrize(("more", "said"), [([], True), (["--url", "http://h/a.mp4"], False)])
def test_a_video_outside_the_current_folder_is_said_once_it_is_labelled(monkeypatch, more, said):
    video = Path("a.mp4").absolute()
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    result = refam("label", video, "the red star", *more)
    assert result.exit_code == 0, result.output
    note = f"note: {video} lies outside the current folder: its address in the task, /data/local-files/?d=a.mp4, is"
    assert (note in result.stderr) == said


@pytest.mark.parametrize(
    ("options", "frames"),
    [
        (["--range", "0-2"], [0, 1, 2]),
        (["--range", "2-5", "--every", "2"], [2, 3, 4, 5]),
        (["--range", "3-"], [3, 4, 5]),
    ],
)
def test_masks_and_overlay_are_of_the_range_alone(options, frames):
    assert refam("label", "a.mp4", "the red star", "--out", "o").exit_code == 0
    result = refam("label", "a.mp4", "the red star", *options, "--out", "o")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in Path("o/masks/0").iterdir()) == [f"{i:05d}.png" for i in frames]
    assert len(open_clip("o/overlay.mp4")) == len(frames)
    assert f"{len(frames)} of {len(frames)}" in result.stdout
    assert f"frames {frames[0]} to {frames[-1]} of 0 to 5" in result.stdout


def test_only_the_frames_that_were_looked_at_are_written_and_exported():
    assert refam("label", "a.mp4", "--box", "Dog: 3,3,20,20", "--range", "0-2", "--out", "o").exit_code == 0
    assert sorted(path.name for path in Path("o/masks/0").iterdir()) == ["00000.png", "00001.png", "00002.png"]
    result = refam("export", "o", "--format", "coco", "--out", "coco")
    assert result.exit_code == 0, result.output
    (file,) = Path("coco").rglob("*.json")
    assert len(json.loads(file.read_text())["images"]) == 3


# --- the output folder -----------------------------------------------------------------------------------------------


def state(folder):
    """Return the content of every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_video_is_never_written_over():
    Path("overlay.mp4").write_bytes(Path("a.mp4").read_bytes())
    before = state(Path())
    for video, out in (("overlay.mp4", "."), (Path("overlay.mp4").resolve(), "."), ("bear", "bear")):
        ran = refam("label", video, "the red star", "--out", out)
        assert (ran.exit_code, "choose another --out" in ran.stderr) == (1, True), ran.output
        assert state(Path()) == before
    ran = refam("label", "a.mp4", "overlay.mp4", "the red star", "--out", "overlay")
    assert ran.exit_code == 0, ran.output  # each has a folder of its own


def test_a_mask_that_was_given_is_never_written_over():
    assert refam("label", "a.mp4", "the red star", "--out", "o").exit_code == 0
    before = state(Path())
    ran = refam("label", "a.mp4", "--mask", "o/masks/0/00000.png@0", "--out", "o")
    assert (ran.exit_code, "o/masks/0/00000.png is what is read" in ran.stderr) == (1, True), ran.output
    assert state(Path()) == before


@pytest.mark.parametrize("limit", [100, 3000], ids=["first-file", "overlay"])
def test_a_full_disk_leaves_the_results_that_were_there(limit):
    with small_files(limit):
        ran = refam("label", "a.mp4", "the red star", "--out", "o")
    sentence = "o cannot be written to: File too large; what was in it is as it was"
    assert (ran.exit_code, " ".join(ran.stderr.split())) == (1, f"refam: {sentence}"), ran.output
    assert not Path("o").exists()
    assert refam("label", "b.mp4", "the red star", "--out", "o").exit_code == 0
    before = state(Path("o"))
    with small_files(limit):
        ran = refam("label", "a.mp4", "b.mp4", "the blue star", "--out", ".")
        assert (ran.exit_code, ran.stderr.count("cannot be written to: File too large")) == (1, 2 * 2), ran.output
        assert refam("label", "a.mp4", "the blue star", "--out", "o").exit_code == 1
    assert state(Path("o")) == before


def test_it_is_said_that_results_of_another_question_are_replaced():
    def label(video, *asked):
        ran = refam("label", video, *asked, "--out", "o")
        assert ran.exit_code == 0, ran.output
        return ran.stderr

    assert label("a.mp4", "the red star") == ""
    assert label("a.mp4", "the red star") == ""
    star = "note: o held other results (a.mp4: the red star); they are replaced\n"
    assert label("b.mp4", "the red star") == star
    assert label("b.mp4", "the blue star") == star.replace("a.mp4", "b.mp4")
    box = ("--box", "0.1,0.1,0.4,0.4@0", "--label", "star")
    assert label("b.mp4", *box) == star.replace("a.mp4", "b.mp4").replace("red", "blue")
    assert label("b.mp4", *box) == ""
    assert "(b.mp4: star)" in label("b.mp4", "--box", "0.1,0.1,0.4,0.5@0", "--label", "star")
    (drawn,) = json.loads(Path("o/tracks.json").read_text())["objects"][0]["prompts"]
    assert drawn == {"frame": 0, "points": [], "labels": [], "box": [0.1, 0.1, 0.5, 0.6], "mask": None}


def test_two_runs_do_not_write_to_one_folder():
    with hold_folder(Path("found/a")):
        ran = refam("label", "a.mp4", "b.mp4", "the red star")
    assert ran.exit_code == 3
    assert "another run is writing to found/a: wait until it is done, or choose another --out" in ran.stderr
    assert [path.name for path in Path("found").iterdir()] == ["b"]


def test_what_was_not_found_leaves_no_folder():
    assert refam("label", "a.mp4", "the ghost star", "--out", "new/o").exit_code == 1
    assert not Path("new").exists()


def test_a_name_that_is_too_long_costs_only_itself():
    long = "n" * 300
    Path("x").mkdir()
    Path("list.txt").write_text(f"{long}\na.mp4\n{long}.mp4\nx/{long}/y.mp4\n")
    ran = refam("label", "list.txt", "the red star", "--out", "o")
    assert (ran.exit_code, "Traceback" in ran.output) == (3, False), ran.output
    assert ran.stderr.count("File name too long") == 3 * 2  # when it happens, and at the end
    assert [path.parent.name for path in Path().glob("o/*/tracks.json")] == ["a"]
    for arguments in ([f"{long}.mp4", "the red star"], [f"./{long}", "a star"], ["a.mp4", "--mask", f"{long}.png@0"]):
        ran = refam("label", *arguments)
        assert ran.exit_code in (1, 2)
        assert "File name too long" in ran.stderr
        assert "Traceback" not in ran.output


def test_the_home_of_nobody_is_no_place():
    ran = refam("label", "~nobody-of-this-name/a.mp4", "the red star")
    assert (ran.exit_code, "home directory" in ran.stderr) == (1, True), ran.output
