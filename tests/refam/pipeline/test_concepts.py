"""Instances of a concept, among which words of place, size and number and the heatmap choose; the truth is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from refam.pipeline.concepts import measure_heat, outline_words, rank_instances
from refam.pipeline.pipeline import Pipeline, Target
from refam.pipeline.recovery import Redetection, Redetector
from refam.pipeline.stage_cache import StageCache
from refam.pipeline.state import ObjectState
from refam.pipeline.word_grounder import WordGrounder
from refam.text.spatial import find_spatial_cues
from tests.doubles import ColourGrounder, track_of_masks
from tests.video.clips import ArrayClip
from video.heatmap_fusion import FusedHeatmaps
from video.masks import decode
from video.tracking.appearance import ColorModel
from video.types import Candidate, Heatmap

SIZE, N = (160, 96), 2
# x0, y0 and side in pixels: from left to right by their middles a small, a large and a medium square.
SQUARES = {"small": (10, 40, 16), "large": (50, 30, 40), "medium": (120, 10, 26)}
RED, BLUE = (230, 25, 25), (30, 60, 230)


def square(name: str) -> np.ndarray:
    x, y, side = SQUARES[name]
    mask = np.zeros(SIZE[::-1], bool)
    mask[y : y + side, x : x + side] = True
    return mask


def frames(colours: dict[str, tuple[int, int, int]]) -> np.ndarray:
    image = np.full((*SIZE[::-1], 3), 120, np.uint8)
    for name, colour in colours.items():
        image[square(name)] = colour
    return np.repeat(image[None], N, 0)


class Detector:
    """Finds all squares, whatever their colour."""

    name = "the detector"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def detect(self, image: np.ndarray, noun_phrase: str, *, frame: int = 0) -> list[Candidate]:
        self.asked.append(noun_phrase)
        return [Candidate(frame, square(name), 0.8) for name in SQUARES] if "square" in noun_phrase else []


class Segmenter:
    """Answers a heatmap with the picture's lower half, which is no square."""

    name = "double"

    def __init__(self, concepts: Detector | None) -> None:
        self.concepts = concepts

    def segment(self, image: np.ndarray, prompt: object, *, frame: int = 0) -> list[Candidate]:
        mask = np.zeros(image.shape[:2], bool)
        mask[SIZE[1] // 2 :] = True
        return [Candidate(frame, mask, 0.8)]


def run(words: str, clip: np.ndarray, detector: Detector | None, cache: StageCache | None = None):
    pipeline = Pipeline(Segmenter(detector), grounder=ColourGrounder)
    return pipeline.run(ArrayClip(clip), [Target("square", words)], cache=cache)


def first_mask(result) -> np.ndarray:
    return decode(result.track.rles[result.track.row_of(result.anchor_frame)])


ALL_RED = frames(dict.fromkeys(SQUARES, RED))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("the left red square", ["small"]),
        ("the red square on the right", ["medium"]),
        ("the rightmost red square", ["medium"]),
        ("the second red square from the left", ["large"]),
        ("the second red square from the right", ["large"]),
        ("the largest red square", ["large"]),
        ("the smallest red square", ["small"]),
        ("the second largest red square", ["medium"]),
        ("the small red square", ["small"]),
        ("the top red square", ["medium"]),
        ("all red squares", ["small", "large", "medium"]),
        ("the three red squares", ["small", "large", "medium"]),
        ("the two largest red squares", ["large", "medium"]),
        ("the two smallest red squares", ["small", "medium"]),
        ("two red squares on the left", ["small", "large"]),
        ("the two rightmost red squares", ["large", "medium"]),
    ],
)
def test_words_choose_among_the_instances(words: str, expected: list[str]) -> None:
    """The grounder knows neither places nor sizes: its heatmaps are as bright on all squares."""
    detector = Detector()
    results = run(words, ALL_RED, detector)
    assert set(detector.asked) == {"red squares" if "squares" in words else "red square"}
    assert len(results) == len(expected)
    for result, name in zip(results, expected, strict=True):  # numbered from left to right
        np.testing.assert_array_equal(first_mask(result), square(name))


@pytest.mark.parametrize(
    ("words", "red", "expected"),
    [
        ("the red square", ["medium"], ["medium"]),
        ("the red square", ["small"], ["small"]),
        ("the largest red square", ["small", "medium"], ["medium"]),
        ("every red square", ["small", "medium"], ["small", "medium"]),
    ],
)
def test_the_heatmap_chooses_by_what_the_detector_does_not_know(words, red, expected) -> None:
    """It calls the blue squares red ones, too; they have no heat."""
    results = run(words, frames({name: RED if name in red else BLUE for name in SQUARES}), Detector())
    assert [first_mask(result).tolist() for result in results] == [square(name).tolist() for name in expected]


@pytest.mark.parametrize(
    ("words", "note"),
    [
        ("the red ball", "the detector found no 'red ball' on 2 of 2 frames looked at: the heatmap alone says where"),
        ("the red one", "the detector was not asked, for 'the red one' names no single kind of thing: name it by"),
        ("two red balls", "the detector found no 'red balls' on 2 of 2 frames looked at"),
        ("the red square", None),
    ],
)
def test_where_there_is_no_instance_the_heatmap_is_outlined_and_a_note_says_so(words: str, note: str | None) -> None:
    result = run(words, ALL_RED, Detector())[0]
    said = [one for one in result.notes if one.startswith("the detector")]
    assert len(said) == (note is not None)
    assert note is None or said[0].startswith(note)
    np.testing.assert_array_equal(first_mask(result).any(axis=1)[:10], [False] * 10)
    assert first_mask(result)[-1].all() == (note is not None), "the lower half"


def test_without_a_detector_nothing_is_said_of_one() -> None:
    (result,) = run("the red one", ALL_RED, None)
    assert not any("asked" in note or "found no" in note for note in result.notes)


def test_instances_are_found_once_a_frame_and_phrase(tmp_path) -> None:
    detector, cache = Detector(), StageCache(tmp_path, "video")
    results = [first_mask(run(words, ALL_RED, detector, cache)[0]) for words in ("the left red square",) * 2]
    np.testing.assert_array_equal(*results)
    assert detector.asked == ["red square"] * N
    run("the largest red square", ALL_RED, detector, cache)
    assert len(detector.asked) == N, "another square of the same frames"
    for _ in range(2):
        run("the red ball", ALL_RED, detector, cache)
    assert detector.asked[N:] == ["red ball"] * N, "that there is none is known, too"


def search_after_loss(words: str, *, rounds: int = 1) -> tuple[list[Redetection], list[str]]:
    """Redetections of a square whose track is lost after its first 4 of 24 frames, and notes."""
    clip = ArrayClip(np.repeat(ALL_RED[:1], 24, 0))
    state = ObjectState(Target("square", words))
    grounder = WordGrounder(ColourGrounder)
    (heatmaps,) = grounder.ground([clip.frame(0)], [0], [state])
    state.consensus = FusedHeatmaps(tuple(heatmaps), np.ones(1), 0)
    state.appearance = ColorModel.of(clip.frame(0), square("large"))
    seen = np.stack([square("large") & (t < 4) for t in range(24)])
    redetector = Redetector(clip, Segmenter(Detector()), grounder)
    members, tracks = [(state, {0: square("large")})], [track_of_masks(seen)]
    for _ in range(rounds):
        found = redetector.search(members, tracks, from_prompts=False)
    redetector.note_missed()
    return found, state.notes


def test_a_lost_object_is_looked_for_among_the_instances() -> None:
    """What the segmenter says of the heatmap is no square."""
    (found,), notes = search_after_loss("the largest red square")
    (mask,) = found.masks.values()
    np.testing.assert_array_equal(mask, square("large"))
    assert notes == []


@pytest.mark.parametrize("words", ["the red ball", "two red balls"])
@pytest.mark.parametrize("rounds", [1, 2])
def test_a_note_says_on_how_many_frames_of_a_gap_nothing_was_found(words: str, rounds: int) -> None:
    """Three frames of the only gap are looked at; a second round looks at the same."""
    _, (note,) = search_after_loss(words, rounds=rounds)
    noun = words.partition(" ")[2]
    assert note == (
        f"the detector found no {noun!r} on 3 of 3 frames looked at where the object was lost: the heatmap alone says "
        "where"
    )


# --- the rule --------------------------------------------------------------------------------------------------------

GRID = (24, 40)


def blob(name: str, height: float = 1.0) -> np.ndarray:
    """A heatmap that is high on the middle of a square, and half as high around it."""
    x, y, side = (value * 0.25 for value in SQUARES[name])
    rows, columns = np.mgrid[: GRID[0], : GRID[1]] + 0.5
    far = np.hypot(columns - x - side / 2, rows - y - side / 2)
    return (height * np.exp(-((far / 3) ** 2))).astype(np.float32)


def rank(grid: np.ndarray, words: str = "") -> list[str]:
    candidates = [Candidate(0, square(name), 0.5) for name in SQUARES]
    ranked = rank_instances(candidates, grid, find_spatial_cues(words.split()))
    return [next(n for n in SQUARES if (square(n) == one.candidate.mask).all()) for one in ranked]


@pytest.mark.parametrize(
    ("grid", "words", "first"),
    [
        (blob("small"), "", "small"),
        (blob("small") + blob("large", 0.5), "", "small"),
        (blob("medium") + 0.15, "", "medium"),  # a level background covers the large one more
        (blob("large", 0.05) + blob("small"), "largest", "large"),  # the modes were wrong about the size
        (blob("large", 0.05) + blob("small") + blob("medium"), "second from the left", "large"),
        (blob("medium") + blob("small", 0.9), "left", "small"),
        (np.where(np.hypot(*(np.mgrid[:24, :40] - [[[8]], [[13]]])) < 1.5, 1, 0.1), "", "large"),  # heat on a part
    ],
)
def test_heat_times_fit(grid: np.ndarray, words: str, first: str) -> None:
    assert rank((grid / grid.max()).astype(np.float32), words)[0] == first


@pytest.mark.parametrize(
    ("words", "detector", "n", "first"),
    [
        ("the left square", Detector(), 3, square("small")),
        ("the largest square", Detector(), 3, square("large")),
        ("the ball", Detector(), 1, np.arange(SIZE[1])[:, None] >= SIZE[1] // 2),
        ("the left square", None, 1, np.arange(SIZE[1])[:, None] >= SIZE[1] // 2),
    ],
)
def test_masks_that_words_may_mean_in_one_image(words, detector, n, first) -> None:
    grid = (blob("small") + blob("large") + blob("medium")).clip(0, 1)
    found = outline_words(ALL_RED[0], words, Heatmap(0, grid, (0.5, 0.5), 0.9), Segmenter(detector))
    assert len(found) == n
    assert (found[0].mask == first).all()


def test_no_heat_no_instance_and_one_of_duplicates() -> None:
    assert rank(np.zeros(GRID, np.float32)) == []
    twice = [Candidate(0, square("large"), 0.5), Candidate(0, np.roll(square("large"), 2, axis=1), 0.9)]
    (one,) = rank_instances([*twice, Candidate(0, np.zeros(SIZE[::-1], bool), 0.9)], blob("large"), ())
    assert one.fit == 1


def test_the_hottest_cells_count_as_many_as_the_smallest_mask_has() -> None:
    """By hand, in cells of 4 pixels: the small square covers 5 x 4 of them by half. 10 of the large are at 1."""
    grid = np.full(GRID, 0.5, np.float32)
    grid[10:12, 14:19] = 1
    assert measure_heat(grid, [square("small"), square("large")]) == pytest.approx([0.5, 0.75])
    speck = np.zeros(SIZE[::-1], bool)
    speck[44, 70] = True
    assert measure_heat(grid, [speck, square("small")]) == pytest.approx([1, 0.5]), "one cell each"
    assert measure_heat(grid, []).shape == (0,)
