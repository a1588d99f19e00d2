"""`refam label` on the command line: output files, printed text, usage errors and exit codes."""

from __future__ import annotations

import errno
import io
import json
import shlex
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from backend.cli.main import app
from backend.cli.outputs import visible_spans_s
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.request import read_request
from refam.pipeline.pipeline import FramePrompt, PipelineError, TrackResult
from refam.pipeline.recovery import describe_gaps
from refam.pipeline.types import Target
from tests import media
from video.io.reader import open_clip
from video.masks import box_of, encode
from video.types import Keyframe, MaskTrack

N = 30
SIZE = (160, 96)


def true_masks(hidden=range(12, 18)):
    """Return the masks of the square of media.numbered_frames, empty on the `hidden` frames."""
    masks = np.zeros((N, SIZE[1], SIZE[0]), bool)
    for i, mask in enumerate(masks):
        if i not in hidden:
            left = (i * 5) % (SIZE[0] - 16)
            mask[32:48, left : left + 16] = True
    return masks


def still_masks():
    """Return the masks of a square that is visible on every frame and does not move."""
    masks = np.zeros((N, SIZE[1], SIZE[0]), bool)
    masks[:, 32:48, 20:36] = True
    return masks


class TruthPipeline:
    """Fake pipeline that returns the true square for every target, from frame 2 on."""

    model_version = "refam-test/known"
    requested_targets: list = []  # noqa: RUF012

    def __init__(self, segmenter, *, grounder=None, options=None):
        pass

    def run(self, clip, targets, *, progress=None, **_):
        type(self).requested_targets = list(targets)
        for stage in ("ground", "track"):
            progress(stage, 1.0)
        return [self._result(t) for t in targets]

    def _result(self, target):
        if target.words == "the red boat":
            raise PipelineError("nothing in this video\nfits 'the red boat'")
        masks = true_masks()[2:]
        track = MaskTrack(
            label=target.label,
            size=SIZE,
            frames=np.arange(2, N),
            rles=tuple(encode(m) for m in masks),
            boxes=np.array([box_of(m) or (0, 0, 0, 0) for m in masks], np.float64),
            scores=np.full(N - 2, 0.9),
            visible=masks.any(axis=(1, 2)),
        )
        keys = (Keyframe(2, tuple(track.boxes[0]), True, 0.75), Keyframe(29, tuple(track.boxes[-1]), False, 0.75))
        notes = ("the model does not know the word 'frob'", *describe_gaps(track, np.arange(N) / 25))
        return TrackResult(target, track, keys, 0.75, 2, notes)


@pytest.fixture
def truth_pipeline(monkeypatch):
    monkeypatch.setattr("refam.model.Pipeline", TruthPipeline)
    monkeypatch.setattr(TruthPipeline, "requested_targets", [])


@pytest.fixture
def video(tmp_path):
    return media.cfr(tmp_path / "clip.mp4", media.numbered_frames(N))


def refam(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200", "REFAM_SAM2": ""})


def test_label_writes_a_mask_for_every_frame(truth_pipeline, video, tmp_path):
    result = refam("label", video, "the red square", "the other", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in (tmp_path / "out" / "masks").iterdir()) == ["0", "1"]
    files = sorted((tmp_path / "out" / "masks" / "1").iterdir())
    assert [f.name for f in files] == [f"{i:05d}.png" for i in range(N)]
    written_masks = np.stack([cv2.imread(str(f), cv2.IMREAD_UNCHANGED) for f in files])
    truth = true_masks()
    truth[:2] = False
    assert written_masks.dtype == np.uint8
    assert np.array_equal(written_masks, truth * np.uint8(255))


def test_label_writes_each_object_of_a_plural(truth_pipeline, video, tmp_path, monkeypatch):
    def run(self, clip, targets, **_):
        return [replace(self._result(t), instance=k) for t in targets for k in ((1, 2) if "s" in t.words else (1,))]

    monkeypatch.setattr(TruthPipeline, "run", run)
    result = refam("label", video, "the squares", "the hat", "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    objects = [(o["object"], o["label"], o["instance"]) for o in report["objects"]]
    assert objects == [(0, "the squares", 1), (1, "the squares", 2), (2, "the hat", 1)]
    tracks = json.loads((tmp_path / "out" / "tracks.json").read_text())
    assert [(o["object"], o["label"], o["instance"]) for o in tracks["objects"]] == objects
    (task,) = json.loads((tmp_path / "out" / "label_studio.json").read_text())
    assert task["data"]["prompt"] == "the squares; the hat"
    regions = task["predictions"][0]["result"]
    assert [r["value"]["labels"] for r in regions] == [["the squares"], ["the squares"], ["the hat"]]
    assert len({r["id"] for r in regions}) == 3
    assert (tmp_path / "out" / "label_config.xml").read_text().count('value="the squares"') == 1
    assert sorted(p.name for p in (tmp_path / "out" / "masks").iterdir()) == ["0", "1", "2"]


def test_label_writes_tracks_task_and_overlay(truth_pipeline, video, tmp_path):
    assert refam("label", video, "the red square", "--out", tmp_path / "out", "--fps", 24).exit_code == 0
    tracks = json.loads((tmp_path / "out" / "tracks.json").read_text())
    assert tracks["model_version"] == "refam-test/known"
    assert (tracks["video"]["frames"], tracks["video"]["width"], tracks["video"]["height"]) == (N, *SIZE)
    (found,) = tracks["objects"]
    assert (found["words"], found["score"], found["anchor"]) == ("the red square", 0.75, 2)
    assert found["seen_s"] == [[0.08, 0.44], [0.72, 1.16]]
    assert len(found["frames"]) == N - 2
    (task,) = json.loads((tmp_path / "out" / "label_studio.json").read_text())
    assert task["data"] == {"video": "/data/local-files/?d=clip.mp4", "prompt": "the red square", "fps": 24.0}
    (region,) = task["predictions"][0]["result"]
    assert region["type"] == "videorectangle"
    assert region["value"]["framesCount"] == 29  # 1.2 s at 24
    assert all(key["rotation"] == 0 for key in region["value"]["sequence"])
    assert "the red square" in (tmp_path / "out" / "label_config.xml").read_text()
    overlay = open_clip(tmp_path / "out" / "overlay.mp4")
    assert np.allclose(overlay.times, open_clip(video).times, atol=1e-4)


def test_label_prints_scores_output_paths_and_gaps(truth_pipeline, video, tmp_path):
    text = refam("label", video, "the red square", "--out", tmp_path / "out").stdout
    lost = "object 0: lost from 0.48 s to 0.68 s, found again at 0.72 s"
    for piece in ("0.75", "22 of 30", "0.08-0.44 s, 0.72-1.16 s", lost, "'frob'"):
        assert piece in text
    for name in ("masks", "tracks.json", "label_studio.json", "overlay.mp4"):
        assert str(tmp_path / "out" / name) in text


def test_label_writes_a_review_sheet_only_if_frames_need_review(truth_pipeline, video, tmp_path, monkeypatch):
    """A run without such frames deletes the review sheet of an earlier run."""
    sheet = tmp_path / "out" / "needs_a_look.jpg"
    text = refam("label", video, "the red square", "--out", tmp_path / "out").stdout
    assert str(sheet) in text
    assert cv2.imread(str(sheet)) is not None
    monkeypatch.setitem(globals(), "true_masks", still_masks)
    text = refam("label", video, "the red square", "--out", tmp_path / "out").stdout
    assert not sheet.exists()
    assert "needs_a_look" not in text


def test_brackets_in_expressions_are_printed_literally(truth_pipeline, video, tmp_path):
    result = refam("label", video, "the [red] square", "--out", tmp_path / "out")
    assert "the [red] square" in result.stdout


@pytest.mark.parametrize(("rate", "written"), [(24, "24.0"), (Fraction(30_000, 1001), "29.97002997"), (25, "25.0")])
def test_a_rate_is_written_without_the_noise_of_floats(truth_pipeline, tmp_path, rate, written):
    clip = media.cfr(tmp_path / "clip.mp4", media.numbered_frames(N), fps=rate)
    assert refam("label", clip, "star", "--out", tmp_path / "out").exit_code == 0
    assert f'"fps": {written}\n' in (tmp_path / "out" / "label_studio.json").read_text()


@pytest.mark.parametrize("arguments", [["--quality", "ultra"], ["--range"]])
def test_usage_errors_do_not_name_the_library(truth_pipeline, video, arguments):
    result = refam("label", video, "star", *arguments)
    assert result.exit_code == 2
    assert "Value error" not in result.stderr
    assert "--quality" not in arguments or "'ultra' is not one of 'fast'" in result.stderr


def test_default_fps_is_the_frame_rate_of_the_video(truth_pipeline, tmp_path):
    clip = media.ntsc(tmp_path / "ntsc.mp4", media.numbered_frames(N))
    assert refam("label", clip, "star", "--out", tmp_path / "out", "--url", "http://host/v.mp4").exit_code == 0
    (task,) = json.loads((tmp_path / "out" / "label_studio.json").read_text())
    assert task["data"]["fps"] == pytest.approx(30_000 / 1001)
    assert task["data"]["video"] == "http://host/v.mp4"


@pytest.mark.parametrize(("fps", "written"), [(2000, 500.0), (600, 500.0), (240, 240.0), (Fraction(1, 2), 1.0)])
def test_the_task_of_any_frame_rate_is_one_that_predict_takes(truth_pipeline, tmp_path, fps, written):
    video = media.cfr(tmp_path / "clip.mp4", media.numbered_frames(N), fps=fps)
    result = refam("label", video, "a star", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    (task,) = json.loads((tmp_path / "out/label_studio.json").read_text())
    config = parse_label_config((tmp_path / "out/label_config.xml").read_text())
    assert config.fps(task["data"]) == pytest.approx(written)
    assert read_request({"id": 1, **task}, config).fps == pytest.approx(written)


def test_a_second_run_deletes_the_masks_of_the_first(truth_pipeline, video, tmp_path):
    assert refam("label", video, "star", "ring", "--out", tmp_path / "out").exit_code == 0
    assert refam("label", video, "star", "--out", tmp_path / "out").exit_code == 0
    assert [p.name for p in (tmp_path / "out" / "masks").iterdir()] == ["0"]


ALWAYS_WRITTEN = ("label_config.xml", "label_studio.json", "overlay.mp4", "tracks.json")


@pytest.mark.parametrize("name", [*ALWAYS_WRITTEN, "masks/mine.png", "needs_a_look.jpg", "preview.png"])
@pytest.mark.parametrize("earlier", [False, True], ids=["new", "earlier"])
def test_a_file_that_no_run_wrote_is_not_overwritten(earlier, name, truth_pipeline, video, tmp_path, monkeypatch):
    out = tmp_path / "out"
    if earlier:
        monkeypatch.setattr("backend.cli.outputs.frames_to_review", lambda *_, **__: [])
        assert refam("label", video, "star", "--out", out).exit_code == 0
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_text("mine")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    TruthPipeline.requested_targets = []
    result = refam("label", video, "star", "--out", out)
    assert (result.exit_code, TruthPipeline.requested_targets) == (1, []), result.output
    why = "was changed after" if earlier and name in ALWAYS_WRITTEN else "is there already and is not from"
    assert f"{out / name} {why} an earlier run" in result.stderr
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_points_and_boxes_reach_the_pipeline(truth_pipeline, video, tmp_path):
    result = refam(
        "label", video, "--out", tmp_path / "out",
        "--point", "0.5,0.4@7", "--point", "0.1,0.2@3", "--box", "0.1,0.2,0.3,0.4@3",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (target,) = TruthPipeline.requested_targets
    assert (target.label, target.words) == ("object", None)
    assert target.prompts[1] == FramePrompt(7, ((0.5, 0.4),), (1,))
    assert target.prompts[0].points == ((0.1, 0.2),)
    assert target.prompts[0].box == pytest.approx((0.1, 0.2, 0.4, 0.6))


UNREADABLE_FILES = {
    "truncated.mp4": lambda p, f: media.truncated(p, f, index_first=False),
    "sound.mp4": lambda p, f: media.audio_only(p),
    "empty.mp4": lambda p, f: media.empty(p),
    "garbage.mp4": lambda p, f: media.garbage(p),
    "picture.mp4": lambda p, f: media.picture(p, f[0]),
    "missing.mp4": lambda p, f: p,
    "folder.mp4": lambda p, f: (p.mkdir(), p)[1],
}


@pytest.mark.parametrize("name", UNREADABLE_FILES)
def test_an_unreadable_file_prints_one_line_on_stderr_and_exits_with_1(name, tmp_path):
    path = UNREADABLE_FILES[name](tmp_path / name, media.numbered_frames(N))
    result = refam("label", path, "the red star", "--out", tmp_path / "out")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("refam: ")
    assert name in line
    assert "Traceback" not in result.output
    assert not (tmp_path / "out" / "tracks.json").exists()


def test_a_pipeline_error_is_printed_in_one_line(truth_pipeline, video, tmp_path):
    result = refam("label", video, "the red boat", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "refam: nothing in this video fits 'the red boat'" in result.stderr
    assert not (tmp_path / "out" / "masks").exists()


def test_a_prompt_after_the_last_frame_is_an_error(truth_pipeline, video, tmp_path):
    result = refam("label", video, "--point", "0.5,0.5@30", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "frame 30 was drawn on, and the video has the frames 0 to 29" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what to find"),
        ([""], "is empty"),
        (["star", "star "], "was given twice"),
        (["star", "ring", "--point", "0.5,0.5@0"], "as in --point 'star: 0.5,0.5@0'"),
        (["--point", "0.5"], "is not of the form x,y@frame"),
        (["--point", "0.5,nan@0"], "fractions of the frame"),
        (["--point", "15,40@0.5"], "frames are counted from 0 (@12), and times are in seconds (@1.2s)"),
        (["--box", "0.5,0.5,0.6,0.1@0"], "x + w"),
        (["--box", "0.5,0.5,0,0.1@0"], "more than 0"),
        (["star", "--box", "0,0,1,1@0", "--box", "0,0,0.5,1@0"], "two boxes were given on frame 0"),
        (["--point", "0.5,0.5@-1"], "counted from 0"),
        (["--not-point", "0.5,0.5@1"], "says only what is not the object"),
        (["star", "--not-point", "0.5,1.5@1"], "--not-point 0.5,1.5@1: x and y are fractions of the frame"),
        (["--mask", "gone.png@0"], "there is no file gone.png"),
        (["--mask", "mask.png@one"], "is not of the form FILE@frame"),
        (["star", "--range", "5"], "give FROM-TO, both frames counted from 0 (100-250) or seconds (4s-12.5s)"),
        (["star", "--range", "9-5"], "--range 9-5 ends before it begins"),
        (["star", "--range", "1s-9"], "give both as frames (100-250) or both as seconds"),
        (["star", "--every", "0"], "every first, second, ... frame: give 1 or more"),
        (["star", "--max-size", "9"], "give 64 or more pixels"),
        (["star", "--fps", "0"], "positive number of frames"),
        (["star", "--fps", "2000"], "at most 1000 frames per second"),
        (["star", "--fps", "0.0001"], "at most 1000 frames per second"),
        (["star", "--magnets", " "], "no magnets: give at least one word"),
    ],
)
def test_invalid_arguments_are_usage_errors(arguments, message, video, tmp_path):
    result = refam("label", video, *arguments, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    "words", ["the star", "a star on the left", "the star and the ring", "red star", "big red star", "left star"]
)
def test_words_without_quotes_are_told_to_be_quoted(words, video, tmp_path):
    result = refam("label", video, *words.split(), "--out", tmp_path / "out", "--range", "0-1")
    assert result.exit_code == 2
    said = "".join(result.stderr.replace("│", "").split())
    assert f"{words.split()[0]!r} names nothing to look for; quote the words".replace(" ", "") in said
    assert f'refam label {video} "{words}" --range 0-1'.replace(" ", "") in said


@pytest.mark.parametrize("words", ["star", "the red star", "Car: the star"])
def test_words_before_the_video_are_told_where_they_belong(words, video, tmp_path):
    result = refam("label", words, video, "--out", tmp_path / "out", "--range", "0-1")
    assert result.exit_code == 2
    said = "".join(result.stderr.replace("│", "").split())
    assert f"{words!r} is no video; the video comes first".replace(" ", "") in said
    assert shlex.join(["refam", "label", str(video), words, "--range", "0-1"]).replace(" ", "") in said


def test_visible_spans_are_in_seconds(video):
    clip = open_clip(video)
    track = TruthPipeline(None)._result(Target("x", words="x")).track
    assert visible_spans_s(track, clip) == [pytest.approx((0.08, 0.44)), pytest.approx((0.72, 1.16))]


def test_help_shows_how_prompts_are_written():
    text = refam("label", "--help").stdout
    assert "--point" in text
    assert '--box "Car: 640,360,200,90@1.2s"' in text
    assert all(command in refam("--help").stdout for command in ("label", "serve", "doctor", "train-tiny"))


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("serve", "Address to listen on [env: REFAM_HOST; 127.0.0.1]."),
        ("serve", "Port to listen on [env: REFAM_PORT; 9090]."),
        ("serve", "(see backend/guides/operations.md)"),
        ("work", "See `refam label` [env: REFAM_DEVICE]."),
        ("label", "see refam/README.md"),
    ],
)
def test_help_names_environment_variables_and_documents(monkeypatch, command, sentence):
    monkeypatch.setenv("COLUMNS", "200")
    assert sentence in refam(command, "--help").stdout


def test_doctor_reports_missing_weights_and_an_uncalibrated_backbone(tmp_path):
    result = refam("doctor", "--sam2", tmp_path / "no-weights-here", "--backbone", "nobody/knows-this-one")
    assert result.exit_code == 1
    assert "no-weights-here is not a folder" in result.stdout
    assert "decord, and PyAV where decord cannot" in result.stdout
    assert "not calibrated, so scores are no probabilities" in result.stdout


def test_serve_names_the_invalid_setting(monkeypatch):
    monkeypatch.setenv("REFAM_BASIC_AUTH_USER", "me")
    monkeypatch.delenv("REFAM_BASIC_AUTH_PASS", raising=False)
    result = refam("serve")
    assert result.exit_code == 1
    assert "REFAM_BASIC_AUTH_USER and REFAM_BASIC_AUTH_PASS (or their aliases) must be set together" in result.stderr
    assert "Traceback" not in result.output


def test_a_box_prompt_is_tracked_by_the_real_pipeline(video, tmp_path):
    """The real pipeline runs with GrabCut, which needs neither an expression nor weights."""
    x, y, side = 3 * 5 / SIZE[0], 32 / SIZE[1], 16
    box_prompt = f"{x:.4f},{y:.4f},{side / SIZE[0]:.4f},{side / SIZE[1]:.4f}@3"
    result = refam("label", video, "--box", box_prompt, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    files = sorted((tmp_path / "out" / "masks" / "0").iterdir())
    written_masks = np.stack([cv2.imread(str(f), cv2.IMREAD_UNCHANGED) > 0 for f in files])
    truth = true_masks(hidden=())
    overlap = (written_masks & truth).sum((1, 2)) / (written_masks | truth).sum((1, 2))
    assert overlap[:28].mean() > 0.8  # from frame 29 on the square starts anew at the left


@pytest.mark.parametrize(
    ("more", "frames"),
    [
        ([], [4, 21]),
        (["--max-size", 80, "--range", "2-25"], [4, 21]),
        (["--fps", 12.5], [2, 11]),
        (["--fps", 50], [7, 41]),
    ],
)
def test_a_box_keeps_its_digits_in_the_task(more, frames, video, tmp_path):
    """Frames 3 and 20 of 25 a second are, for the editor, the first ones that show them, counted from 1."""
    sides = {3: (0.0912345678, 0.3301234567, 0.1045678901, 0.1699999999), 20: (0.625, 1 / 3, 0.1, 0.1666666666)}
    boxes = [argument for f, box in sides.items() for argument in ("--box", ",".join(map(str, box)) + f"@{f}")]
    result = refam("label", video, *boxes, *more, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    (task,) = json.loads((tmp_path / "out" / "label_studio.json").read_text())
    (region,) = task["predictions"][0]["result"]
    drawn = [k for k in region["value"]["sequence"] if "check" not in k]
    names = ("x", "y", "width", "height")
    found = {k["frame"]: [k[name] for name in names] for k in drawn}
    if "--fps" in more and more[1] == 12.5:  # the editor skips frame 3
        assert found == {11: [round(100 * side, 10) for side in sides[20]]}
        return
    assert found == {f: [round(100 * v, 10) for v in box] for f, box in zip(frames, sides.values(), strict=True)}
    (tracked,) = json.loads((tmp_path / "out" / "tracks.json").read_text())["objects"]
    by_frame = {item["frame"]: item["box"] for item in tracked["frames"]}
    for frame, (x, y, w, h) in sides.items():
        assert by_frame[frame] == pytest.approx([x, y, x + w, y + h], abs=1e-6)


BOX_PROMPT = f"{15 / SIZE[0]:.4f},{32 / SIZE[1]:.4f},{16 / SIZE[0]:.4f},{16 / SIZE[1]:.4f}@3"


def test_range_every_and_max_size_write_full_size_masks_of_the_range(video, tmp_path):
    """The real pipeline processes every second frame of 2 to 13; all frames of the range get full-size masks."""
    result = refam(
        "label", video, "--box", BOX_PROMPT, "--out", tmp_path / "out",
        "--range", "2-13", "--every", 2, "--max-size", 120,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "frames were looked at; on" in result.stdout
    assert "only 0.08 s to 0.52 s was looked at" in result.stdout
    (found,) = json.loads((tmp_path / "out" / "tracks.json").read_text())["objects"]
    assert [f["frame"] for f in found["frames"]] == list(range(2, 14))
    processed = {2, 4, 6, 8, 10, 12, 13, 3}  # the range's last frame and the box's own too
    assert {f["frame"] for f in found["frames"] if not f["interpolated"]} == processed
    assert {key["frame"] for key in found["keyframes"]} <= processed
    files = sorted((tmp_path / "out" / "masks" / "0").iterdir())
    assert [file.name for file in files] == [f"{i:05d}.png" for i in range(2, 14)]
    assert f"{tmp_path / 'out' / 'masks'}: frames 2 to 13 of 0 to 29" in result.stdout
    written_masks = np.stack([cv2.imread(str(f), cv2.IMREAD_UNCHANGED) > 0 for f in files])
    truth = true_masks(hidden=())[2:14]
    overlap = (written_masks & truth).sum((1, 2)) / (written_masks | truth).sum((1, 2))
    assert overlap.mean() > 0.7


def test_a_prompt_outside_the_range_is_an_error(video, tmp_path):
    result = refam("label", video, "--box", BOX_PROMPT, "--out", tmp_path / "out", "--range", "10-20")
    assert result.exit_code == 1
    assert "frame 3 was drawn on, and --range 10-20 has the frames 10 to 20" in result.stderr


@pytest.mark.parametrize("make_broken", [media.truncated, media.damaged])
def test_a_truncated_video_is_labelled_up_to_its_last_readable_frame(make_broken, tmp_path):
    video = make_broken(tmp_path / "broken.mp4", media.numbered_frames(N))
    result = refam("label", video, "--box", BOX_PROMPT, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    clip = open_clip(video, partial=True)
    assert f"the video can be decoded up to {clip.times[-1]:.1f} s: the file is " in result.stdout
    assert len(list((tmp_path / "out" / "masks" / "0").iterdir())) == len(clip) < N
    (task,) = json.loads((tmp_path / "out" / "label_studio.json").read_text())
    value = task["predictions"][0]["result"][0]["value"]
    last = value["sequence"][-1]
    assert value["framesCount"] == N  # the editor's count, which includes the frames that cannot be decoded
    assert (last["frame"], last["enabled"]) == (round(clip.times[-1] * 25) + 1, False)


def test_an_interrupted_run_resumes(video, tmp_path, monkeypatch):
    """A run interrupted while it writes files reuses its tracks, then deletes them when it completes."""
    import backend.cli.outputs

    arguments = ("label", video, "--box", BOX_PROMPT, "--out", tmp_path / "out")
    with monkeypatch.context() as interrupted:
        interrupted.setattr(
            backend.cli.outputs, "write_overlay", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        assert refam(*arguments).exit_code == 130
    assert (tmp_path / "out" / ".unfinished").is_dir()
    monkeypatch.setattr("refam.pipeline.segments.propagate_all", lambda *a, **k: pytest.fail("tracked again"))
    result = refam(*arguments)
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "out" / ".unfinished").exists()


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_standard_output_that_is_full_is_said_in_one_line(more, truth_pipeline, video, tmp_path, monkeypatch, capsys):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sys.stdout", Full())
    out = tmp_path / "out"
    code = app(["label", str(video), "star", "--sam2", "grabcut", "--out", str(out), *more], standalone_mode=False)
    assert (code, capsys.readouterr().err.splitlines()[-1]) == (1, "refam: No space left on device")
    assert (out / "overlay.mp4").exists()
