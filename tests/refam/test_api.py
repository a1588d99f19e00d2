"""The public API, as a Python user sees it: `import refam`, track, load, ground, segment."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import refam
from refam.backbones import BackboneError
from refam.model import default_models_dir
from refam.reading import Reading
from refam.segmenters.load import SegmenterError
from refam.tiny.scenes import SceneClip, draw_clip
from tests import media
from video.errors import UserError
from video.io.reader import open_clip
from video.masks import box_of, iou
from video.types import Candidate, Heatmap, Prompt

N = 12


@pytest.fixture(scope="module")
def scene() -> SceneClip:
    return draw_clip(7, n_frames=N, count=2, size=(320, 180))


@pytest.fixture(scope="module")
def path(scene: SceneClip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.cfr(tmp_path_factory.mktemp("api") / "clip.mp4", scene.frames)


@pytest.fixture(scope="module")
def model() -> refam.Model:
    return refam.load(backbone="tiny", segmenter="grabcut", device="cpu")


def test_track_follows_what_the_words_mean(model: refam.Model, scene: SceneClip, path: Path) -> None:
    """The example of the package's docstring."""
    tracks = model.track(path, scene.expressions)
    assert [t.label for t in tracks] == list(scene.expressions)
    for k, found in enumerate(tracks):
        assert found.frames.tolist() == list(range(N))
        assert found.boxes.shape == (N, 4)
        assert len(found.masks) == N
        assert found.masks[0].shape == (180, 320)
        assert np.stack(found.masks).dtype == np.bool_
        assert len(found.masks[2:5]) == 3
        assert 0 <= found.score <= 1
        assert found.keyframes[0].frame == 0
        assert found.visible.all()
        assert min(iou(mask, truth) for mask, truth in zip(found.masks, scene.masks[k], strict=True)) > 0.5


def test_attention_is_read_as_asked(model: refam.Model, scene: SceneClip) -> None:
    plain = model.ground(scene.frames[0], scene.expressions[0])
    for reading in ("prototypes=0.05", Reading(prototypes=0.05)):
        other = refam.load(backbone="tiny", segmenter="grabcut", device="cpu", reading=reading)
        heatmap = other.ground(scene.frames[0], scene.expressions[0])
        assert not np.array_equal(heatmap.grid, plain.grid)


def test_blocks_are_read_as_asked(model: refam.Model, scene: SceneClip) -> None:
    plain = model.ground(scene.frames[0], scene.expressions[0])
    other = refam.load("tiny", "grabcut", device="cpu", blocks="0")
    assert not np.array_equal(other.ground(scene.frames[0], scene.expressions[0]).grid, plain.grid)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [("14-", "blocks are numbers and ranges, .* not '14-'"), (3, "such as '14-17' or 'all', got 3")],
)
def test_blocks_that_are_none_are_refused(blocks: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        refam.load(blocks=blocks)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reading", "message"), [("peak", "reading: 'peak' is no way"), (0.5, "options such as .*, got 0.5")]
)
def test_readings_that_are_none_are_refused(reading: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        refam.load(reading=reading)  # type: ignore[arg-type]


def test_expressions_of_different_models_are_tracked_in_one_call(scene: SceneClip, path: Path) -> None:
    """Each model's heatmaps have a grid of their own; an object of one model is no contrast for another's."""
    model = refam.load(segmenter="grabcut", device="cpu")
    star, bus = model.track(path, [scene.expressions[0], "the bus"], frame_range="0-2")
    assert min(iou(mask, truth) for mask, truth in zip(star.masks, scene.masks[0][:3], strict=True)) > 0.5
    assert not bus.visible.any()


def test_track_follows_what_was_drawn(model: refam.Model, scene: SceneClip, path: Path) -> None:
    truth = scene.masks[0]
    box = box_of(truth[3])
    assert box is not None
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    for prompt in ({"points": [(x, y, 3)]}, {"boxes": [(*box, 3)]}, {"masks": [(truth[3], 3)]}):
        (found,) = model.track(path, **prompt)
        assert iou(found.masks[3], truth[3]) > 0.6, prompt
        assert found.anchor_frame == 3
    assert np.array_equal(found.masks[3], truth[3]), "a drawn mask stays to the pixel"


def test_the_function_and_the_model_give_the_same(model: refam.Model, scene: SceneClip, path: Path) -> None:
    box = box_of(scene.masks[0, 0])
    assert box is not None
    (a,) = model.track(open_clip(path), boxes=[(*box, 0)])
    (b,) = refam.track(path, boxes=[(*box, 0)], segmenter="grabcut", device="cpu")
    assert np.array_equal(np.stack(a.masks), np.stack(b.masks))
    assert (a.score, a.notes, a.keyframes) == (b.score, b.notes, b.keyframes)


def test_a_part_of_the_video(model: refam.Model, scene: SceneClip, path: Path) -> None:
    (found,) = model.track(path, masks=[(scene.masks[0, 4], 4)], frame_range="4-8", every=2)
    assert found.frames.tolist() == [4, 5, 6, 7, 8]
    assert found.interpolated == (5, 7)


def test_the_function_takes_a_part_of_the_video_too(scene: SceneClip, path: Path) -> None:
    drawn = [(scene.masks[0, 4], 4)]
    (found,) = refam.track(path, masks=drawn, frame_range="4-8", every=2, segmenter="grabcut", device="cpu")
    assert (found.frames.tolist(), found.interpolated) == ([4, 5, 6, 7, 8], (5, 7))
    assert (len(found.boxes), len(found.masks)) == (5, 5)
    assert min(iou(found.masks[i], scene.masks[0, frame]) for i, frame in enumerate(found.frames)) > 0.5
    with pytest.raises(refam.PromptError, match="begins behind the video's end"):
        refam.track(path, masks=drawn, frame_range="90-99", segmenter="grabcut", device="cpu")


def test_ground_and_segment_one_image(model: refam.Model, scene: SceneClip) -> None:
    image, words = scene.frames[0], scene.expressions[0]
    heatmap = model.ground(image, words)
    assert isinstance(heatmap, Heatmap)
    x, y = heatmap.peak
    assert scene.masks[0, 0][int(y * 180), int(x * 320)]
    by_words = model.segment(image, words)[0]
    by_point = model.segment(image, points=[heatmap.peak])[0]
    by_box = model.segment(image, box=box_of(scene.masks[0, 0]))[0]
    for candidate in (by_words, by_point, by_box):
        assert iou(candidate.mask, scene.masks[0, 0]) > 0.6
    with pytest.raises(ValueError, match="not both"):
        model.segment(image, words, prior=heatmap.grid)


@dataclass
class _PromptRecorder:
    """A segmenter that keeps what it is asked for and finds nothing."""

    name: str = "recorder"
    prompts: list[Prompt] = field(default_factory=list)

    def segment(self, image: NDArray[np.uint8], prompt: Prompt, *, frame: int = 0) -> list[Candidate]:
        self.prompts.append(prompt)
        return []


def test_words_in_an_image_ask_for_the_whole_thing_as_in_a_video(scene: SceneClip) -> None:
    """The model for photographs marks parts, so its heatmaps say that larger masks are meant."""
    model = refam.load(backbone="photos", segmenter="grabcut", device="cpu")
    recorder = _PromptRecorder()
    asked = refam.Model(recorder, lambda: model.grounder)
    asked.segment(scene.frames[0], "the dog")
    heatmap = model.ground(scene.frames[0], "the dog")
    (prompt,) = recorder.prompts
    assert prompt.mask_choice == heatmap.to_prompt().mask_choice
    assert prompt.mask_choice.whole_bias > 0
    np.testing.assert_array_equal(prompt.prior, heatmap.grid)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "give words, points, boxes or masks"),
        ({"words": ["the star", " "]}, "an expression is empty"),
        ({"words": ["the star", "the star"]}, "given twice"),
        ({"words": ["the star", "the ring"], "points": [(0.5, 0.5, 0)]}, "describe one object"),
        ({"points": [(64, 20, 0)]}, "fractions of the frame"),
        ({"negative_points": [(0.5, 0.5, 0)]}, "without words"),
        ({"masks": [(np.zeros((180, 320), bool), 0)]}, "at least one pixel"),
        ({"words": "the star", "frame_range": "9-4"}, "^frame_range 9-4 ends before it begins"),
        ({"words": "the star", "frame_range": "2s-4"}, "^frame_range 2s-4: give both as frames"),
        ({"words": "the star", "frame_range": "late"}, "^frame_range late: give FROM-TO"),
        ({"words": "the star", "frame_range": "90-99"}, "^frame_range 90-99 begins behind the video's end"),
        ({"points": [(0.5, 0.5)]}, r"^a point is \(x, y, frame\), got \(0.5, 0.5\)$"),
        ({"points": (0.5, 0.5, 0)}, r"^a point is \(x, y, frame\), got 0.5$"),
        ({"points": [(0.5, "right", 0)]}, r"^a point is \(x, y, frame\), got \(0.5, 'right', 0\)$"),
        ({"words": "the star", "negative_points": [(0.5,)]}, r"^a point is \(x, y, frame\), got \(0.5,\)$"),
        ({"boxes": [(0.1, 0.1, 0.2, 0.2)]}, r"^a box is \(x0, y0, x1, y1, frame\), got \(0.1, 0.1, 0.2, 0.2\)$"),
        ({"masks": [np.ones((180, 320), bool)]}, r"^a mask is \(mask, frame\), .* got an array of shape \(180, 320\)$"),
        ({"masks": [(0, np.ones((180, 320), bool))]}, r"got \(0, an array of shape \(180, 320\)\)$"),
        (
            {"masks": [(np.ones((10, 20), bool), 0)]},
            r"^the mask on frame 0 is 10x20 pixels \(height x width\); the video's frames are 180x320$",
        ),
        ({"masks": [(np.ones((10, 20), bool), 0)], "every": 2, "max_side_px": 64}, "is 10x20 pixels"),
        ({"points": [(0.5, 0.5, 500)]}, "^frame 500 was drawn on, and the video has the frames 0 to 11$"),
        (
            {"points": [(0.5, 0.5, 1)], "frame_range": "4-8"},
            "^frame 1 was drawn on, and frame_range 4-8 has the frames 4 to 8$",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(
    model: refam.Model, path: Path, arguments: dict[str, object], sentence: str
) -> None:
    with pytest.raises(refam.PromptError, match=sentence):
        model.track(path, **arguments)  # type: ignore[arg-type]


def test_points_may_be_rows_of_an_array(model: refam.Model, scene: SceneClip, path: Path) -> None:
    box = box_of(scene.masks[0, 3])
    assert box is not None
    (by_tuple,) = model.track(path, boxes=[(*box, 3)])
    (by_row,) = model.track(path, boxes=np.array([[*box, 3]]))  # type: ignore[arg-type]
    assert np.array_equal(np.stack(by_tuple.masks), np.stack(by_row.masks))


@pytest.mark.parametrize(
    ("arguments", "kind", "sentence"),
    [
        ({"quality": "high"}, refam.PromptError, "^quality must be fast, normal or best, got 'high'$"),
        ({"device": "gpu"}, refam.PromptError, "^device must be auto, cpu, mps, cuda or cuda:N, got 'gpu'$"),
        (
            {"dtype": "float8"},
            refam.PromptError,
            "^dtype must be auto, float32, bfloat16 or float16, got 'float8'$",
        ),
        ({"quantise": "4bit"}, refam.PromptError, "^quantise must be bnb-4bit, bnb-8bit or int8, got '4bit'$"),
        *(({"backbone": bad}, refam.PromptError, "^backbone must be text, .*, got") for bad in (5, None, "", " ")),
        *(({"segmenter": bad}, refam.PromptError, "^segmenter must be text, .*, got") for bad in (5, " ", ["grabcut"])),
        *(({"device": bad}, refam.PromptError, "^device must be text, .*, got") for bad in (None, 0)),
        *(({"seed": bad}, refam.PromptError, "^seed must be a whole number, 0 or") for bad in ("x", None, -1, 0.5)),
        *(({"magnets": bad}, refam.PromptError, "^magnets must be words with spaces") for bad in (5, ["a"])),
        ({"magnets": ""}, refam.PromptError, "^magnets: no magnets"),
        *(({"dtype": bad}, refam.PromptError, "^dtype must be auto") for bad in (None, 5)),
        ({"quality": None}, refam.PromptError, "^quality must be fast"),
        ({"models_dir": 5}, refam.PromptError, "^models_dir must be the path of a folder, got 5$"),
        (
            {"tracker": "foo"},
            SegmenterError,
            "^there is no tracker 'foo': give auto, flow, memory, sam2-video or sam3-video$",
        ),
    ],
)
def test_loading_refuses_unknown_values(arguments: dict[str, str], kind: type[UserError], sentence: str) -> None:
    with pytest.raises(kind, match=sentence):
        refam.load(**{"segmenter": "grabcut", **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize(("how", "variable"), [({}, "1"), ({"offline": True}, "0")])
def test_weights_that_may_not_be_fetched_are_named_with_what_forbids_it(
    how: dict[str, bool], variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REFAM_OFFLINE", variable)
    with pytest.raises(SegmenterError, match=r"^sam2-tiny is not on this machine, and REFAM_OFFLINE=1 .*forbids"):
        refam.load(segmenter="sam2-tiny", models_dir=tmp_path, **how)  # type: ignore[arg-type]


def test_an_unknown_backbone_is_reported_by_the_first_call_with_words(scene: SceneClip, path: Path) -> None:
    model = refam.load("no-such-backbone", "grabcut", device="cpu")
    with pytest.raises(refam.PipelineError, match="no-such-backbone"):
        model.track(path, "the star")
    with pytest.raises(BackboneError, match="no-such-backbone"):
        model.ground(scene.frames[0], "the star")


def test_a_result_can_be_hashed_and_its_masks_printed(model: refam.Model, scene: SceneClip, path: Path) -> None:
    (found,) = model.track(path, masks=[(scene.masks[0, 4], 4)], frame_range="4-8")
    assert {found: "found"}[found] == "found"
    assert repr(found.masks) == "MaskSequence(5 masks, each (180, 320) bool)"
    assert repr(found.masks[:0]) == "MaskSequence(0 masks)"


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, refam; print([m for m in ('torch', 'cv2', 'numpy', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_public_names() -> None:
    assert set(refam.__all__) <= set(dir(refam))
    assert all(getattr(refam, name) is not None for name in refam.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        refam.no_such_name  # noqa: B018


def test_weights_are_looked_for_where_they_are_pulled_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFAM_DATA_DIR", "/somewhere")
    assert default_models_dir() == Path("/somewhere/models")
