"""The arguments of the Python API: what is right is passed on, and what is wrong is refused with its name and form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import refam
from refam.pipeline.arguments import require_path, to_image_prompt, to_prompts, to_region, to_targets
from refam.segmenters.grabcut import GrabCutSegmenter

NAN, INF = float("nan"), float("inf")
IMAGE = np.zeros((24, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def model() -> refam.Model:
    def no_words() -> None:
        raise AssertionError("the words were looked for")

    return refam.Model(GrabCutSegmenter(), no_words)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "give words, points, a box or a prior$"),
        ({"negative_points": [(0.5, 0.5)]}, "a prior beside the negative_points$"),
        *(({"points": [point]}, r"a point is \(x, y\) .*, got \(") for point in [(NAN, 0.5), (5, 0.5), (-0.1, 0.5)]),
        *(({"negative_points": [p], "box": (0, 0, 1, 1)}, "a point is") for p in [(INF, 0.5), (0.5, 1.01), ("a", 0)]),
        ({"points": [(0.5, 0.5, 0)]}, r"got \(0.5, 0.5, 0\)$"),
        ({"points": (0.5, 0.5)}, "a point is .* got 0.5$"),
        *(({"points": values}, "points must be a list, got") for values in (None, 5, "ab", np.float64(0.5))),
        *(({"box": box}, r"box is \(x0, y0, x1, y1\) in fr.*, got") for box in [(1, 2, 3), 5, "abcd", (0, 0, NAN, 1)]),
        ({"box": (0.9, 0.9, 0.1, 0.1)}, r"box must be .* with area, got \(0.9"),
        *(
            ({"prior": prior}, r"prior is a heatmap or a mask, an array \(h, w\) of numbers in \[0, 1\], got")
            for prior in [
                np.zeros((0, 0), np.float32),
                np.zeros((3, 3, 3), np.float32),
                np.full((9, 9), NAN),
                np.full((9, 9), 255, np.uint8),
                np.full((9, 9), -0.5),
                np.array([["a"]]),
                [[0.5]],
                0.5,
            ]
        ),
    ],
)
def test_an_image_is_not_segmented_by_what_cannot_be_meant(
    model: refam.Model, arguments: dict[str, object], sentence: str
) -> None:
    with pytest.raises(refam.PromptError, match=sentence):
        model.segment(IMAGE, **arguments)  # type: ignore[arg-type]


def test_what_says_where_an_object_is_becomes_a_prompt() -> None:
    prompt = to_image_prompt([(0, 1)], np.array([[0.5, 0.25]]), (0, 0, 1, 1), np.ones((2, 3), bool))  # type: ignore[arg-type]
    assert prompt.points.tolist() == [[0, 1], [0.5, 0.25]]
    assert prompt.labels.tolist() == [1, 0]
    assert prompt.box == (0, 0, 1, 1)
    assert prompt.prior is not None
    assert prompt.prior.dtype == np.float32
    assert prompt.prior.all()


@pytest.mark.parametrize(
    "image",
    [None, "a.jpg", IMAGE.tolist(), IMAGE[..., 0], IMAGE[..., :2], IMAGE[None], IMAGE[:0], IMAGE / 255.0, IMAGE > 0],
)
def test_what_is_no_rgb_image_is_refused(model: refam.Model, image: object) -> None:
    with pytest.raises(refam.PromptError, match=r"^image must be RGB, an array \(H, W, 3\) of uint8, got"):
        model.segment(image, points=[(0.5, 0.5)])  # type: ignore[arg-type]
    with pytest.raises(refam.PromptError, match=r"^image must be RGB"):
        model.ground(image, "the dog")  # type: ignore[arg-type]


@pytest.mark.parametrize("words", [None, 5, "", "  ", ["the dog"], b"the dog"])
def test_words_for_an_image_are_text(model: refam.Model, words: object) -> None:
    with pytest.raises(refam.PromptError, match=r"^words must be text, for example 'the dog on the left', got"):
        model.ground(IMAGE, words)  # type: ignore[arg-type]


@pytest.mark.parametrize("words", [5, [5], [None], None, b"the dog", ["the dog", 5], [["the dog"]]])
def test_words_for_a_video_are_texts(words: object) -> None:
    with pytest.raises(refam.PromptError, match=r"^words must be text, or a list of texts, .* got"):
        to_targets(words, ())  # type: ignore[arg-type]
    assert [t.words for t in to_targets(("the  dog", "a cat"), ())] == ["the dog", "a cat"]


@pytest.mark.parametrize(
    ("points", "boxes", "masks"),
    [
        ([(0.5, 0.5, 0.5)], (), ()),
        ([(0.5, 0.5, True)], (), ()),
        ((), [(0, 0, 1, 1, 2.25)], ()),
        ((), (), [(np.ones((4, 4), bool), 0.5)]),
        ((), (), [(np.ones((4, 4), bool), "0")]),
        ((), (), [(np.ones((4, 4), bool), None)]),
    ],
)
def test_a_frame_is_a_whole_number(points: list, boxes: list, masks: list) -> None:
    with pytest.raises(refam.PromptError, match=r"a frame is a whole number, counted from 0, got|\(x, y, frame\)"):
        to_prompts(points, (), boxes, masks)
    with pytest.raises(ValueError, match="must be a whole number"):
        refam.FramePrompt(0.5, box=(0, 0, 1, 1))  # type: ignore[arg-type]
    assert to_prompts(np.array([[0.5, 0.5, 3]]), (), (), ())[0].frame == 3  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["points", "negative_points", "boxes", "masks"])
@pytest.mark.parametrize("values", [None, 5, "ab", {}])
def test_what_was_drawn_is_a_list(name: str, values: object) -> None:
    drawn: dict[str, object] = {"points": (), "negative_points": (), "boxes": (), "masks": ()}
    with pytest.raises(refam.PromptError, match=rf"^{name} must be a list, got"):
        to_prompts(**(drawn | {name: values}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        *(({"frame_range": value}, '^frame_range is text, .* "0-5"') for value in ((0, 5), None, 5, range(5))),
        *(
            ({"every": value}, "^every must be a whole number, 1 or more, got")
            for value in (0, -1, 1.5, "2", None, True)
        ),
        *(({"max_side_px": value}, "^max_side_px must be .*, 64 or more") for value in (0, -5, 1, 63, 128.5, "128")),
    ],
)
def test_the_region_is_refused_by_the_arguments_names(arguments: dict[str, object], sentence: str) -> None:
    given: dict[str, object] = {"frame_range": "", "every": 1, "max_side_px": None}
    with pytest.raises(refam.PromptError, match=sentence):
        to_region(**(given | arguments), default_side_px=None)  # type: ignore[arg-type]


def test_the_region_takes_the_default_size_where_none_is_given() -> None:
    assert to_region("", 1, None, default_side_px=640).max_side_px == 640
    region = to_region("1-4", np.int64(2), 64, default_side_px=640)  # type: ignore[arg-type]
    assert (region.frame_range, region.every, region.max_side_px) == ("1-4", 2, 64)


@pytest.mark.parametrize("video", [None, 5, "", "  ", b"clip.mp4", IMAGE, ["clip.mp4"]])
def test_a_video_is_a_path(model: refam.Model, video: object) -> None:
    with pytest.raises(refam.PromptError, match=r"^video must be the path of a video file or a folder .*, got"):
        model.track(video, points=[(0.5, 0.5, 0)])  # type: ignore[arg-type]
    assert require_path("video", "a.mp4", "a file") == require_path("video", Path("a.mp4"), "a file")
