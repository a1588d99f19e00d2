"""What a person draws: kept exactly, and only the stretch around it is followed anew."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from backend.cli.main import app
from backend.cli.targets import parse_mask, read_mask
from refam.pipeline.pipeline import FramePrompt, Pipeline, PipelineError, Target
from refam.pipeline.segments import plan_segments, split_at_anchors
from refam.pipeline.stage_cache import StageCache
from refam.pipeline.state import ObjectState
from refam.pipeline.tracks import apply_prompt_boxes, resolve_overlaps
from refam.pipeline.types import PromptError
from refam.segmenters.grabcut import GrabCutSegmenter
from refam.tiny.scenes import Scene, SceneObject, draw_scene
from tests import media
from tests.refam.pipeline.ground_truth import EXTENT, TruthGrounder, ious
from tests.video.clips import ArrayClip
from video import masks
from video.types import Candidate, MaskTrack

STAR, DISC = "the red star", "the blue circle"
SIZE = (192, 108)
N = 14


def filmed(things_at, n):
    """(n, H, W, 3) frames and (n, K, H, W) masks of the things that `things_at` gives for each frame."""
    drawn = [draw_scene(Scene(EXTENT, tuple(things_at(t)), "grey", 5), SIZE) for t in range(n)]
    return np.stack([frame for frame, _ in drawn]), np.stack([seen for _, seen in drawn])


@pytest.fixture(scope="module")
def scene():
    """frames, {words: masks (N, H, W)}: both cross the picture at different heights."""

    def at(t):
        yield SceneObject("red", "star", "plain", "large", 20 + 5 * t, 18, 11)
        yield SceneObject("blue", "circle", "dotted", "large", 95 - 5 * t, 48, 10)

    frames, seen = filmed(at, N)
    return frames, {STAR: seen[:, 0], DISC: seen[:, 1]}


class Counting(GrabCutSegmenter):
    asked = 0

    def segment(self, *args, **kwargs):
        type(self).asked += 1
        return super().segment(*args, **kwargs)


def run(scene, *prompts, words=None, cache=None, segmenter=None, grounder=None):
    pipeline = Pipeline(segmenter or GrabCutSegmenter(), grounder=lambda: grounder or TruthGrounder(scene[1]))
    return pipeline.run(ArrayClip(scene[0]), [Target("it", words=words, prompts=prompts)], cache=cache)[0]


def drawn_badly(truth):
    """A mask that no segmenter would give: half the object and a square far from it."""
    mask = truth.copy()
    mask[:, : int(np.flatnonzero(truth.any(0)).mean())] = False
    mask[3:12, 3:12] = True
    return mask


def assert_same_rows(a, b, rows):
    for row in rows:
        assert a.track.rles[row] == b.track.rles[row], row
        assert a.track.scores[row] == b.track.scores[row], row
        assert a.track.visible[row] == b.track.visible[row], row
        np.testing.assert_array_equal(a.track.boxes[row], b.track.boxes[row])


# --- kept exactly ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [None, STAR, DISC])
def test_a_mask_is_the_tracks_mask_to_the_pixel(scene, words):
    mask = drawn_badly(scene[1][STAR][8])
    found = run(scene, FramePrompt(8, mask=masks.encode(mask)), words=words)
    np.testing.assert_array_equal(masks.decode(found.track.rles[8]), mask)
    assert found.track.visible[8]
    assert any(k.frame == 8 and k.box == pytest.approx(masks.box_of(mask), abs=1e-12) for k in found.keyframes)


@pytest.mark.parametrize("words", [None, STAR])
def test_a_box_is_a_keyframe_to_the_digit(scene, words):
    x0, y0, x1, y1 = masks.box_of(scene[1][STAR][6])
    box = (x0 - 0.0123456789, y0, x1 + 0.002, y1 + 0.03)  # a hat and a shadow
    found = run(scene, FramePrompt(6, box=box), words=words)
    assert [k.box for k in found.keyframes if k.frame == 6] == [box]
    last = found.keyframes[-1].box
    assert found.keyframes[-1].frame > 6
    assert last[3] - last[1] > (y1 - y0) * 1.05, "what the box holds beyond the outline stays with it"


def test_points_are_on_the_right_sides(scene):
    on = masks.deepest_point(scene[1][STAR][5])
    off = masks.deepest_point(scene[1][DISC][5])
    found = run(scene, FramePrompt(5, points=(on, off), labels=(1, 0)))
    mask = masks.decode(found.track.rles[5])
    assert mask[int(on[1] * SIZE[1]), int(on[0] * SIZE[0])]
    assert not mask[int(off[1] * SIZE[1]), int(off[0] * SIZE[0])]
    assert not any("point" in note for note in found.notes)


class Stubborn(GrabCutSegmenter):
    """Always the same square."""

    def segment(self, image, prompt, *, frame=0):
        mask = np.zeros(image.shape[:2], bool)
        mask[:40, :40] = True
        return [Candidate(frame, mask, 0.9)]


@pytest.mark.parametrize(
    ("points", "labels", "said"),
    [
        (((0.9, 0.9),), (1,), "frame 3: the point 0.9,0.9 was to be on the object and is outside its mask"),
        (((0.05, 0.05), (0.01, 0.02)), (1, 0), "frame 3: the point 0.01,0.02 was to be off the object and is within"),
    ],
)
def test_a_point_that_could_not_be_obeyed_is_said(scene, points, labels, said):
    found = run(scene, FramePrompt(3, points=points, labels=labels), segmenter=Stubborn())
    assert any(said in note for note in found.notes)


def test_a_mask_that_contradicts_a_point_wins_and_it_is_said(scene):
    mask = scene[1][STAR][3]
    point = masks.deepest_point(mask)
    found = run(scene, FramePrompt(3, points=(point,), labels=(0,), mask=masks.encode(mask)))
    np.testing.assert_array_equal(masks.decode(found.track.rles[3]), mask)
    assert any("was to be off the object and is within" in note for note in found.notes)


# --- only the stretch ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("anchors", "n", "expected"),
    [
        ([], 5, [(0, 4)]),
        ([0], 1, [(0, 0)]),
        ([0], 5, [(0, 4)]),
        ([4], 5, [(0, 4)]),
        ([2, 2], 5, [(0, 2), (2, 4)]),
        ([3, 1], 5, [(0, 1), (1, 3), (3, 4)]),
    ],
)
def test_stretches(anchors, n, expected):
    assert split_at_anchors(anchors, n) == expected


@pytest.mark.parametrize("as_mask", [True, False])
def test_a_prompt_between_two_changes_nothing_beyond_them(scene, as_mask, tmp_path):
    truth = scene[1][STAR]

    def prompt(frame):
        if as_mask:
            return FramePrompt(frame, mask=masks.encode(drawn_badly(truth[frame])))
        x0, y0, x1, y1 = masks.box_of(truth[frame])
        return FramePrompt(frame, box=(x0, y0 - 0.001 * frame, x1, y1))

    cache = StageCache(tmp_path, "clip")
    before = run(scene, prompt(3), prompt(10), cache=cache)
    after = run(scene, prompt(3), prompt(6), prompt(10), cache=cache)
    fresh = run(scene, prompt(3), prompt(6), prompt(10))
    outside = [*range(4), *range(10, N)]
    assert_same_rows(before, after, outside)
    assert_same_rows(after, fresh, range(N))  # the cache changes nothing
    key = {k.frame: k for k in before.keyframes}
    assert [k for k in after.keyframes if k.frame in outside] == [key[f] for f in sorted(key) if f in outside]
    assert before.track.rles[6] != after.track.rles[6]


def test_what_is_not_touched_is_not_followed_again(scene, tmp_path):
    truth, cache = scene[1][STAR], StageCache(tmp_path, "clip")
    prompts = [FramePrompt(f, mask=masks.encode(truth[f])) for f in (1, 7, 9, 12)]
    run(scene, prompts[0], prompts[1], prompts[3], cache=cache, segmenter=Counting())
    asked = Counting.asked
    run(scene, *prompts, cache=cache, segmenter=Counting())
    assert 0 < Counting.asked - asked <= 2 * (12 - 7)  # frames 7 to 12 from both sides, nothing before and after


def test_words_hold_the_far_side_of_their_frame(scene, tmp_path):
    """The words' frame is a prompt too: what lies beyond it stays when a person corrects the other side."""
    cache, grounder = StageCache(tmp_path, "clip"), TruthGrounder(scene[1])
    before = run(scene, words=STAR, cache=cache, grounder=grounder)
    at = before.anchor_frame
    frame = 12 if at < 7 else 1
    far = range(at + 1) if frame > at else range(at, N)
    prompt = FramePrompt(frame, mask=masks.encode(drawn_badly(scene[1][STAR][frame]) & scene[1][STAR][frame]))
    after = run(scene, prompt, words=STAR, cache=cache, grounder=grounder)
    assert len(far) > 2
    assert_same_rows(before, after, far)
    assert before.track.rles[frame] != after.track.rles[frame]


def test_words_that_mean_something_else_give_way(scene):
    prompt = FramePrompt(0, mask=masks.encode(scene[1][DISC][0]))
    found = run(scene, prompt, words=STAR)
    assert ious(found.track, scene[1][DISC]).min() > 0.85
    assert any("the words point at something else" in note for note in found.notes)


def test_objects_with_the_same_stretch_are_followed_together():
    square = np.zeros((9, 16), bool)
    square[2:5, 2:5] = True
    a, b, c = (ObjectState(Target(name, prompts=(FramePrompt(0, box=(0, 0, 1, 1)),))) for name in "abc")
    a.prompt_anchors, b.prompt_anchors, c.prompt_anchors = {0: square}, {0: square, 6: square}, {0: square}
    found = [(p.window, [w.target.label for w, _ in p.members], p.from_prompts) for p in plan_segments([a, b, c], 10)]
    assert found == [((0, 6), ["b"], True), ((0, 9), ["a", "c"], True), ((6, 9), ["b"], True)]
    for work in (a, c):
        work.word_anchors, work.prompt_anchors = {4: square}, {}
    b.word_anchors = {8: square}
    found = {(p.window, p.from_prompts): p for p in plan_segments([a, b, c], 10)}
    assert set(found) == {((0, 9), False), ((0, 6), True), ((6, 8), True)}
    assert found[(0, 9), False].kept_spans == (((0, 4), (4, 9)), ((8, 9),), ((0, 4), (4, 9)))


def track_of(boxes, score):
    found = [masks.box_mask(box, (40, 20)) for box in boxes]
    return MaskTrack(
        label="x",
        size=(40, 20),
        frames=np.arange(len(found)),
        rles=tuple(map(masks.encode, found)),
        boxes=np.array([masks.box_of(m) for m in found]),
        scores=np.full(len(found), score),
        visible=np.ones(len(found), bool),
    )


def test_what_two_claim_goes_to_the_surer_and_never_from_a_drawing():
    left, right, same = (0.0, 0.0, 0.6, 1.0), (0.4, 0.0, 1.0, 1.0), (0.4, 0.0, 0.6, 1.0)
    works = [ObjectState(Target(name, words=name)) for name in "ab"]
    works[0].track = track_of([left, left, left, left], 0.9)
    works[1].track = track_of([right, right, same, (0.7, 0.0, 1.0, 1.0)], 0.5)
    works[1].prompt_anchors = {1: masks.decode(works[1].track.rles[1])}
    resolve_overlaps(works)
    a, b = (work.track for work in works)
    assert [masks.area(r) / 20 for r in a.rles] == [24, 16, 24, 24]
    assert [masks.area(r) / 20 for r in b.rles] == [16, 24, 0, 12]
    assert b.visible.tolist() == [True, True, False, True]
    assert b.boxes[0].tolist() == [0.6, 0.0, 1.0, 1.0]


def test_a_drawn_box_moves_its_neighbours_past_the_words_mask_up_to_the_next_drawing():
    track = track_of([(0.2, 0.2, 0.4, 0.6)] * 9, 0.9)
    work = ObjectState(Target("x", words="x"))
    work.prompt_anchors = {2: np.ones((20, 40), bool), 6: np.ones((20, 40), bool)}
    work.word_anchors = {1: np.ones((20, 40), bool)}
    work.prompt_boxes = {2: (0.2, 0.1, 0.4, 0.7)}
    boxes = apply_prompt_boxes(work, track).boxes
    assert boxes[2].tolist() == [0.2, 0.1, 0.4, 0.7]
    np.testing.assert_allclose(boxes[0], boxes[2], atol=1e-9)
    np.testing.assert_allclose(boxes[6:], track.boxes[6:], atol=1e-9)
    assert 0.1 < boxes[4][1] < 0.2


# --- points that only say no -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def doubled():
    """A star that touches a square: one mask may hold both."""

    def at(t):
        yield SceneObject("red", "star", "plain", "large", 40, 32, 11)
        yield SceneObject("yellow", "square", "plain", "large", 58, 32, 10)

    return filmed(at, 6)


def test_a_point_off_the_object_corrects_what_is_known_of_it(doubled):
    frames, truth = doubled
    both = truth[0, 0] | truth[0, 1]
    first = FramePrompt(0, mask=masks.encode(both))
    off = masks.deepest_point(truth[3, 1])
    found = run((frames, {}), first, FramePrompt(3, points=(off,), labels=(0,)))
    mask = masks.decode(found.track.rles[3])
    np.testing.assert_array_equal(masks.decode(found.track.rles[0]), both)
    assert not mask[int(off[1] * SIZE[1]), int(off[0] * SIZE[0])]
    assert mask.any()


def test_a_point_off_the_object_where_it_is_off_already_changes_nothing(scene):
    prompt = FramePrompt(2, mask=masks.encode(scene[1][STAR][2]))
    before = run(scene, prompt)
    after = run(scene, prompt, FramePrompt(9, points=((0.01, 0.99),), labels=(0,)))
    assert_same_rows(before, after, range(N))


# --- bad input -------------------------------------------------------------------------------------------------------


def refam(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200", "REFAM_SAM2": ""})


def said(result):
    return " ".join(result.stderr.replace("│", " ").split())


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return media.cfr(tmp_path_factory.mktemp("v") / "clip.mp4", media.numbered_frames(12))


def png(path, mask):
    cv2.imwrite(str(path), mask.astype(np.uint8) * 255)
    return path


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--point", "1.2,0.5@0"], 2, "--point 1.2,0.5@0: x and y are fractions of the frame, from 0 to 1"),
        (["--box", "0.2,0.2,0.1,0@0"], 2, "the width and the height must be more than 0"),
        (["--mask", "EMPTY@0"], 2, "the mask is empty; the object is to be white"),
        (["--mask", "SMALL@0"], 1, "the mask on frame 0 is 80x48; the video's frames are 160x96"),
        (["--mask", "FULL@12"], 1, "frame 12 was drawn on, and the video has the frames 0 to 11"),
        (["--mask", "FULL@2", "--mask", "FULL@2"], 2, "two masks were given on frame 2"),
        (["--mask", "TEXT@2"], 2, "cannot be read as a picture"),
        (["--point", "0.5,0.5@99"], 1, "frame 99 was drawn on, and the video has the frames 0 to 11"),
        (["--not-point", "0.5,0.5@2"], 2, "--not-point says only what is not the object"),
    ],
)
def test_what_cannot_be_drawn_is_said(arguments, code, words, video, tmp_path):
    full = np.zeros((96, 160), bool)
    full[30:50, 30:60] = True
    places = {
        "EMPTY": png(tmp_path / "empty.png", full & False),
        "SMALL": png(tmp_path / "small.png", full[::2, ::2]),
        "FULL": png(tmp_path / "full.png", full),
        "TEXT": tmp_path / "text.png",
    }
    places["TEXT"].write_text("no picture")
    for name, path in places.items():
        arguments = [a.replace(name, str(path)) for a in arguments]
    result = refam("label", video, *arguments, "--out", tmp_path / "out")
    assert result.exit_code == code, result.output
    assert words in said(result)
    assert "Traceback" not in result.output
    assert not (tmp_path / "out" / "tracks.json").exists()


def test_a_mask_and_points_from_the_shell(video, tmp_path):
    """The square of media.numbered_frames, drawn on frame 3, comes back as it was drawn."""
    mask = np.zeros((96, 160), bool)
    mask[33:48, 15:31] = True
    path = png(tmp_path / "a@b.png", mask)
    result = refam(
        "label", video, "--mask", f"{path}@3", "--not-point", "0.9,0.9@6", "--out", tmp_path / "out"
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    got = cv2.imread(str(tmp_path / "out" / "masks" / "0" / "00003.png"), cv2.IMREAD_UNCHANGED) > 0
    np.testing.assert_array_equal(got, mask)


@pytest.mark.parametrize("kind", ["grey", "zero-one", "one-bit", "palette", "clear", "soft", "deep"])
def test_masks_as_people_keep_them(kind, tmp_path):
    mask = np.zeros((9, 16), bool)
    mask[2:6, 3:11] = True
    grey = mask.astype(np.uint8)
    palette = Image.fromarray(grey, "P")
    palette.putpalette([0, 0, 0, 128, 0, 0])
    picture = {
        "grey": Image.fromarray(grey * 255),
        "zero-one": Image.fromarray(grey),
        "one-bit": Image.fromarray(mask),
        "palette": palette,
        "clear": Image.fromarray(np.stack([grey * 0, grey * 9, grey * 0, grey * 255], -1), "RGBA"),
        "soft": Image.fromarray(np.where(mask, 200, 90).astype(np.uint8)),
        "deep": Image.fromarray(grey.astype(np.uint16) * 65535),
    }[kind]
    picture.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), mask)
    rle, frame = parse_mask(f"{tmp_path / 'm.png'}@7")
    assert (rle, frame) == (masks.encode(mask), 7)
    with pytest.raises(PromptError, match="FILE@frame"):
        parse_mask(f"{tmp_path / 'm.png'}@-1")


def test_a_mask_of_another_size_is_refused_by_the_pipeline(scene):
    with pytest.raises(PipelineError, match=r"it: the mask on frame 1 is 16x9; the video's frames are 192x108"):
        run(scene, FramePrompt(1, mask=masks.encode(np.ones((9, 16), bool))))


def test_a_clip_of_one_frame(scene):
    frames, truth = scene[0][:1], {k: v[:1] for k, v in scene[1].items()}
    for prompts, words in (((), STAR), ((FramePrompt(0, mask=masks.encode(truth[STAR][0])),), None)):
        found = run((frames, truth), *prompts, words=words)
        assert ious(found.track, truth[STAR]).min() > 0.85
        assert [(k.frame, k.enabled) for k in found.keyframes] == [(0, False)]


def test_what_leaves_and_never_comes_back_is_a_stated_part():
    frames, seen = filmed(lambda t: [SceneObject("red", "star", "plain", "large", 60 + 9 * t, 30, 11)], 16)
    truth = seen[:, 0]
    gone = np.flatnonzero(~truth.any((1, 2)))
    found = run((frames, {STAR: truth}), FramePrompt(0, mask=masks.encode(truth[0])), words=STAR)
    assert len(gone) > 5
    assert not found.track.visible[gone[1:]].any()
    assert any(note.startswith("lost from") and note.endswith("to the end") for note in found.notes)
    assert not found.keyframes[-1].enabled
