import numpy as np
import pytest

from refam.pipeline.pipeline import FramePrompt, Pipeline, PipelineError, PipelineOptions, Target
from refam.segmenters.grabcut import GrabCutSegmenter
from refam.tiny.scenes import Scene, SceneObject, draw_clip, draw_scene
from tests.refam.pipeline.ground_truth import EXTENT, SIZE, TruthGrounder, ious, star_and_disc
from tests.video.clips import ArrayClip
from video import masks
from video.keyframes import interpolate_boxes

FULL = "the GPU's memory was full: 2 samples are read at a time now"


@pytest.fixture(scope="module")
def scene():
    return star_and_disc()


@pytest.fixture(scope="module")
def answered(scene):
    frames, truth = scene
    told = []
    pipeline = Pipeline(
        GrabCutSegmenter(), grounder=lambda: TruthGrounder(truth, wrong={7}, unknown=["red"], warnings=[FULL])
    )
    targets = [Target(label=f"L{k}", words=words) for k, words in enumerate(truth)]
    results = pipeline.run(ArrayClip(frames), targets, progress=lambda *step: told.append(step))
    return pipeline, targets, results, told


def test_words_become_the_right_tracks(scene, answered):
    _, truth = scene
    _, targets, results, _ = answered
    for target, result in zip(targets, results, strict=True):
        assert result.target is target
        assert result.track.label == target.label
        assert result.track.visible.all()
        assert ious(result.track, truth[target.words]).min() > 0.85
        assert 0.2 < result.score <= 1


def test_keyframes_are_few_and_keep_the_boxes(scene, answered):
    _, truth = scene
    for result in answered[2]:
        boxes, visible = interpolate_boxes(result.keyframes, result.track.frames)
        assert visible.all()
        assert len(result.keyframes) <= 6
        assert (masks.box_iou(boxes, result.track.boxes) >= 0.88).all()
        true = np.array([masks.box_of(m) for m in truth[result.target.words]])
        assert np.abs(boxes - true).max() < 0.03


def test_notes_say_which_words_are_unknown(answered):
    assert any("'red'" in note for note in answered[2][0].notes)
    assert not any("'red'" in note for note in answered[2][1].notes)


def test_notes_say_how_the_words_were_read(answered):
    for target, result in zip(*answered[1:3], strict=True):
        assert list(result.notes).count(f"{target.words!r} is read so") == 1


def test_model_warnings_are_noted_once(answered):
    assert [list(result.notes).count(FULL) for result in answered[2]] == [1, 1]


def test_progress_goes_through_the_stages_in_order(answered):
    told = answered[3]
    stages = list(dict.fromkeys(stage for stage, _ in told))
    assert stages == ["decode", "ground", "consensus", "mask", "track", "keyframes"]
    for stage in stages:
        fractions = [f for s, f in told if s == stage]
        assert fractions == sorted(fractions)
        assert fractions[-1] == pytest.approx(1.0)


def test_the_model_version_names_what_was_used(answered):
    version = answered[0].model_version
    assert all(name in version for name in ("refam-", "true-double", "grabcut", "flow"))


def test_tracking_from_a_box_needs_no_words(scene):
    frames, truth = scene
    box = masks.box_of(truth["the blue circle"][9])
    pipeline = Pipeline(GrabCutSegmenter())
    result = pipeline.run(ArrayClip(frames), [Target("it", prompts=(FramePrompt(9, box=box),))])[0]
    assert result.anchor_frame == 9
    assert ious(result.track, truth["the blue circle"]).min() > 0.85
    assert np.abs(result.track.boxes[9] - box).max() < 0.01
    assert result.score > 0.6


def test_a_drawn_box_overrules_the_words(scene):
    frames, truth = scene
    box = masks.box_of(truth["the blue circle"][0])
    target = Target("it", words="the red star", prompts=(FramePrompt(0, box=box),))
    pipeline = Pipeline(GrabCutSegmenter(), grounder=lambda: TruthGrounder(truth))
    result = pipeline.run(ArrayClip(frames), [target])[0]
    assert ious(result.track, truth["the blue circle"]).min() > 0.85


def test_prompts_on_two_frames_are_both_kept(scene):
    frames, truth = scene
    true = truth["the red star"]
    prompts = tuple(FramePrompt(f, box=masks.box_of(true[f])) for f in (2, 20))
    result = Pipeline(GrabCutSegmenter()).run(ArrayClip(frames), [Target("it", prompts=prompts)])[0]
    for f in (2, 20):
        assert np.abs(result.track.boxes[f] - masks.box_of(true[f])).max() < 0.01
    assert ious(result.track, true).min() > 0.85


def test_points_on_and_off_the_object(scene):
    frames, truth = scene
    x, y = masks.deepest_point(truth["the red star"][5])
    prompt = FramePrompt(5, points=((x, y), (0.02, 0.97)), labels=(1, 0))
    result = Pipeline(GrabCutSegmenter()).run(ArrayClip(frames), [Target("it", prompts=(prompt,))])[0]
    mask = masks.decode(result.track.rles[5])
    assert mask[int(y * SIZE[1]), int(x * SIZE[0])]
    assert not mask[int(0.97 * SIZE[1]), int(0.02 * SIZE[0])]


def test_a_lost_object_is_redetected_by_its_words():
    """The star leaves to the right, is away for a while, and comes back from the left: no track can follow that."""
    frames, truth = [], []
    for t in np.linspace(0, 1, 48):
        x = 85 + 130 * t if t < 0.5 else -100 + 130 * t
        things = (SceneObject("red", "star", "plain", "large", x, 30, 11),)
        frame, seen = draw_scene(Scene(EXTENT, things, "grey", 5), SIZE)
        frames.append(frame)
        truth.append(seen[0])
    truth = np.stack(truth)
    area = truth.reshape(48, -1).sum(1)
    gone, back = np.flatnonzero(area == 0), np.flatnonzero(area > 0.7 * area.max())
    back = back[back > gone[-1]]
    assert len(gone) > 8
    assert len(back) > 3
    grounder = TruthGrounder({"the red star": truth}, noise=0.05)
    clip, target = ArrayClip(np.stack(frames)), Target("it", words="the red star")
    found = Pipeline(GrabCutSegmenter(), grounder=lambda: grounder).run(clip, [target])[0]
    assert found.track.visible[back].all()
    assert ious(found.track, truth)[back].min() > 0.8
    assert not found.track.visible[gone[1:]].any()
    assert any("lost from" in note and "found again" in note for note in found.notes)
    alone = Pipeline(GrabCutSegmenter(), grounder=lambda: grounder, options=PipelineOptions(redetect_rounds=0))
    track = alone.run(clip, [target])[0].track
    assert track.visible[back].sum() + track.visible[: gone[0]].sum() < len(back) + gone[0]


def test_an_object_that_is_not_found_is_noted(scene):
    frames, truth = scene
    pipeline = Pipeline(GrabCutSegmenter(), grounder=lambda: TruthGrounder(truth))
    found, lost = pipeline.run(
        ArrayClip(frames), [Target("a", words="the red star"), Target("b", words="the green cow")]
    )
    assert found.track.visible.any()
    assert not lost.track.visible.any()
    assert lost.keyframes == ()
    assert lost.score == 0
    assert "the green cow" in lost.notes[0]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Target("b", words="the green cow"), "b: nothing in this video stands out for the words 'the green cow'"),
        (Target("b", words="??"), "holds no word"),
        (Target("b", prompts=(FramePrompt(99, box=(0, 0, 1, 1)),)), "no frame 99; the video has frames 0 to 23"),
    ],
)
def test_finding_nothing_raises_pipeline_error(scene, target, message):
    frames, truth = scene
    pipeline = Pipeline(GrabCutSegmenter(), grounder=lambda: TruthGrounder(truth))
    with pytest.raises(PipelineError) as error:
        pipeline.run(ArrayClip(frames), [target])
    assert message in str(error.value)


def test_words_without_a_model_for_words(scene):
    with pytest.raises(PipelineError, match="give a point or a box"):
        Pipeline(GrabCutSegmenter()).run(ArrayClip(scene[0]), [Target("a", words="the red star")])
    assert Pipeline(GrabCutSegmenter()).run(ArrayClip(scene[0]), []) == []


def test_grounding_does_not_grow_with_the_clip():
    clip = draw_clip(3, size=(192, 108), n_frames=90, count=1)
    grounder = TruthGrounder({clip.expressions[0]: clip.masks[0]})
    pipeline = Pipeline(GrabCutSegmenter(), grounder=lambda: grounder, options=PipelineOptions(grounded_frames=6))
    pipeline.run(ArrayClip(clip.frames), [Target("a", words=clip.expressions[0])])
    assert len(grounder.grounded) <= 6 + 2 * 2 * 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FramePrompt(-1, box=(0, 0, 1, 1)), "0 or more"),
        (lambda: FramePrompt(0), "a point or a box"),
        (lambda: FramePrompt(0, points=((0.5, 0.5),)), "1 points but 0 labels"),
        (lambda: FramePrompt(0, points=((0.5, 1.5),), labels=(1,)), "fractions"),
        (lambda: FramePrompt(0, points=((0.5, 0.5),), labels=(2,)), "labels"),
        (lambda: Target("x", prompts=(FramePrompt(0, points=((0.5, 0.5),), labels=(0,)),)), "on the object"),
        (lambda: FramePrompt(3, mask=masks.empty((16, 9))), "the mask on frame 3 is empty"),
        (lambda: FramePrompt(0, box=(0.5, 0.5, 0.5, 0.9)), "area"),
        (lambda: Target("x"), "needs words"),
        (lambda: Target("x", words="  "), "needs words"),
    ],
)
def test_invalid_targets_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
