"""One phrase, several objects: which masks are objects of their own, and drawn clips with 0 to 4 of them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import refam
from refam.pipeline.errors import PipelineError
from refam.pipeline.instances import MOST_INSTANCES, Instance, select_instances
from refam.pipeline.pipeline import Pipeline, Target, run_in_region
from refam.pipeline.roi import RegionOfInterest
from refam.pipeline.types import FramePrompt, target_positions
from refam.segmenters.grabcut import GrabCutSegmenter
from refam.tiny.scenes import Scene, SceneObject, draw_scene
from tests.doubles import ColourGrounder
from tests.video.clips import ArrayClip
from video.io.folder import open_video
from video.masks import box_of, iou

EXTENT, SIZE, N = (113.8, 64.0), (256, 144), 4


def draw(count: int, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    """Return frames (n, H, W, 3) and masks (count, n, H, W) of red stars, from left to right, beside two others."""

    def objects(t: int) -> tuple[SceneObject, ...]:
        stars = [
            SceneObject("red", "star", "plain", "large", 18 + 27 * k + t, 22 + 6 * (k % 2), 9) for k in range(count)
        ]
        others = (
            SceneObject("blue", "circle", "plain", "large", 30 + t, 52, 8),
            SceneObject("green", "square", "plain", "large", 90 - t, 53, 7),
        )
        return (*stars, *others)

    drawn = [draw_scene(Scene(EXTENT, objects(t), "grey", 5), SIZE) for t in range(n)]
    return np.stack([frame for frame, _ in drawn]), np.stack([seen[:count] for _, seen in drawn], 1)


def rectangle(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((60, 80), bool)
    mask[y0:y1, x0:x1] = True
    return mask


A, B, C = rectangle(5, 10, 25, 30), rectangle(30, 10, 50, 30), rectangle(55, 10, 75, 30)
PART_OF_A, SPECK = rectangle(8, 12, 20, 24), rectangle(40, 50, 43, 53)
AB = rectangle(5, 10, 50, 30)


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        ([], []),
        ([(A, 1.0)], [A]),
        ([(A, 1.0), (B, 0.9), (C, 0.8)], [A, B, C]),
        ([(A, 1.0), (np.roll(A, 1, 1), 0.9), (B, 0.8)], [A, B]),
        ([(PART_OF_A, 1.0), (A, 0.8), (B, 0.9)], [B, A]),
        ([(AB, 1.0), (A, 0.9), (B, 0.8)], [A, B]),
        ([(AB, 1.0), (A, 0.9)], [AB]),
        ([(A, 1.0), (B, 0.1)], [A]),
        ([(A, 1.0), (SPECK, 0.9)], [A]),
    ],
    ids=["none", "one", "three", "same", "part", "group", "one-inside", "cold", "speck"],
)
def test_masks_that_are_objects_of_their_own(found: list[tuple[np.ndarray, float]], kept: list[np.ndarray]) -> None:
    selected = select_instances([Instance(mask, 0.9, heat, 0.9) for mask, heat in found])
    assert len(selected) == len(kept)
    assert all((one.mask == mask).all() for one, mask in zip(selected, kept, strict=True))


@pytest.fixture(scope="module")
def model() -> refam.Model:
    return refam.load(segmenter="grabcut", offline=True)


def track(model: refam.Model, folder: Path, frames: np.ndarray, words: str) -> list[refam.TrackResult]:
    return model.track(write_pictures(folder, frames), words)


def write_pictures(folder: Path, frames: np.ndarray) -> Path:
    for i, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{i:02d}.png"), frame[..., ::-1])
    return folder


@pytest.mark.parametrize(
    ("words", "there", "found", "note"),
    [
        pytest.param("the red stars", 1, 1, "", marks=pytest.mark.slow),
        pytest.param("every red star", 2, 2, "", marks=pytest.mark.slow),
        ("the three red stars", 2, 2, "the words name 3, and 2 were found"),
        ("at least three red stars", 2, 2, "the words name at least 3, and 2 were found"),
        ("the two red stars", 3, 2, "there may be 3, of which the 2 likeliest are marked"),
        ("all the red stars", 4, 4, ""),
    ],
)
def test_drawn_objects_that_one_phrase_means(
    model: refam.Model, tmp_path: Path, words: str, there: int, found: int, note: str
) -> None:
    frames, truth = draw(there)
    results = track(model, tmp_path, frames, words)
    assert [(r.label, r.instance) for r in results] == [(words, k + 1) for k in range(found)]
    assert [" ".join(r.notes) for r in results] == [note] + [""] * (found - 1)
    best = [int(np.argmax([np.mean([iou(r.masks[t], one[t]) for t in range(N)]) for one in truth])) for r in results]
    assert best == sorted(set(best)), "each is another star, from left to right"
    for result, k in zip(results, best, strict=True):
        assert np.mean([iou(result.masks[t], truth[k, t]) for t in range(N)]) > 0.8
        assert result.score > 0.5


def test_what_is_not_there_is_said_with_a_score(model: refam.Model, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"nothing in this video is 'the red stars'.*score 0\.\d\d"):
        track(model, tmp_path, draw(0)[0], "the red stars")


# --- with a grounder that knows colours alone ------------------------------------------------------------------------


def run(frames: np.ndarray, *targets: Target) -> list[refam.TrackResult]:
    return Pipeline(GrabCutSegmenter(), grounder=ColourGrounder).run(ArrayClip(frames), list(targets))


def test_one_object_of_two_expressions_is_marked_once() -> None:
    frames, _ = draw(2)
    first, again, blue = run(
        frames, Target("a", "the blue circle"), Target("b", "the blue thing"), Target("c", "blue circles")
    )
    assert first.visible.all()
    for other in (again, blue):
        assert not other.visible.any()
        assert other.notes[0] == "these words lead to the same object as 'the blue circle', which is marked already"


def test_an_object_of_a_plural_that_has_its_own_words_is_marked_once() -> None:
    frames, truth = draw(3)
    box = (0.05, 0.2, 0.25, 0.5)
    drawn = Target("left", prompts=(FramePrompt(0, box=box),))
    first, *stars = run(frames[:1], drawn, Target("stars", "the red stars"))
    assert first.visible.all()
    assert [(s.target.label, s.instance) for s in stars] == [("stars", 1), ("stars", 2)]
    assert stars[0].notes == ("1 more is marked as 'left' already",)
    assert [iou(s.masks[0], truth[k, 0]) > 0.8 for k, s in enumerate(stars, 1)] == [True, True]


@pytest.mark.parametrize("k", [0, 1, 2])
def test_what_a_person_draws_on_is_one_object_whatever_the_words_say(k: int) -> None:
    frames, truth = draw(3)
    box = box_of(truth[k, 0])
    (result,) = run(frames[:2], Target("stars", "the red stars", prompts=(FramePrompt(0, box=box),)))
    assert result.instance == 1
    assert all(iou(result.masks[t], truth[k, t]) > 0.8 for t in range(2))
    assert result.notes == (), "the words point at each of them"


def test_no_more_are_tracked_than_a_person_could_check() -> None:
    rows, columns = 4, 5
    objects = tuple(
        SceneObject("red", "circle", "plain", "large", 12 + 22 * (k % columns), 9 + 15 * (k // columns), 5)
        for k in range(rows * columns)
    )
    frame, _ = draw_scene(Scene(EXTENT, objects, "grey", 5), SIZE)
    results = run(frame[None], Target("circles", "the red circles"))
    assert len(results) == MOST_INSTANCES
    assert results[0].notes == (f"there may be {rows * columns}, of which the {MOST_INSTANCES} likeliest are marked",)


def test_in_a_region_of_interest_each_object_keeps_its_target(tmp_path: Path) -> None:
    frames, truth = draw(2)
    clip = open_video(write_pictures(tmp_path, frames))
    targets = [Target("stars", "the red stars"), Target("disc", "the blue circle")]
    pipeline = Pipeline(GrabCutSegmenter(), grounder=ColourGrounder)
    results = run_in_region(pipeline, clip, targets, RegionOfInterest("1-3", every=2))
    assert [(r.target is targets[t], r.instance) for t, r in zip((0, 0, 1), results, strict=True)] == [
        (True, 1),
        (True, 2),
        (True, 1),
    ]
    assert [r.frames.tolist() for r in results] == [[1, 2, 3]] * 3
    assert all(iou(r.masks[0], one[1]) > 0.8 for r, one in zip(results[:2], truth, strict=True))


def test_results_name_their_targets_by_position() -> None:
    frames, _ = draw(2)
    targets = [Target("stars", "the red stars"), Target("disc", "the blue circle"), Target("squares", "green squares")]
    results = run(frames[:1], *targets)
    positions = target_positions(results)
    assert positions == [0, 0, 1, 2]
    assert [result.target for result in results] == [targets[i] for i in positions]


# --- on a photograph -------------------------------------------------------------------------------------------------

SHARED = Path(__file__).parents[3].parent / "shared"
PHOTOGRAPH = "000000008211.jpg"


@pytest.mark.slow
def test_two_people_on_a_photograph(tmp_path: Path) -> None:
    weights, pictures = SHARED / "weights/sam2-hiera-tiny-image", SHARED / "data/coco-val"
    if not weights.is_dir() or not pictures.is_dir():
        pytest.skip("SAM2's weights and the photographs are not beside the project")
    image = cv2.imread(str(pictures / "pictures" / PHOTOGRAPH))
    rows = map(json.loads, (pictures / "objects.jsonl").read_text().splitlines())
    objects = next(row["objects"] for row in rows if row["file"] == PHOTOGRAPH)
    truth = []
    for person in (one for one in objects if one["name"] == "person"):
        corners = np.round(np.array(person["polygon"]) * image.shape[1::-1]).astype(np.int32)
        truth.append(cv2.fillPoly(np.zeros(image.shape[:2], np.uint8), [corners], 1) > 0)
    model = refam.load(segmenter=str(weights), offline=True)
    results = track(model, tmp_path, image[None, ..., ::-1], "the people")
    assert [result.instance for result in results] == [1, 2]
    matched = {int(np.argmax([iou(r.masks[0], one) for one in truth])) for r in results}
    assert matched == {0, 1}
    assert all(max(iou(r.masks[0], one) for one in truth) > 0.6 for r in results)
    with pytest.raises(PipelineError, match="nothing in this video is 'the pizzas'"):
        track(model, tmp_path, image[None, ..., ::-1], "the pizzas")
