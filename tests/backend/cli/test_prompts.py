"""Points, boxes and masks on the command line: what they mean, and for which object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from backend.cli.prompts import describe_corner, parse_drawing, plan_objects, split_expressions
from backend.cli.targets import make_targets
from refam.pipeline.errors import PromptError


@dataclass
class TimedFrames:
    """What is asked of a clip: 30 frames of 160x96 pixels, ten a second."""

    size = (160, 96)
    times = np.arange(30) / 10
    duration_s = 3.0

    def __len__(self):
        return 30


CLIP = TimedFrames()


def plan(words, points=(), boxes=(), labels=()):
    drawings = [parse_drawing("--point", text) for text in points] + [parse_drawing("--box", text) for text in boxes]
    return plan_objects(words, drawings, labels)


def prompts_of(option, text):
    """Return the frame, and the point or box in fractions, that an option means on the clip."""
    (target,) = make_targets(plan_objects([], [parse_drawing(option, text)]), CLIP)
    (prompt,) = target.prompts
    return prompt.frame, prompt.box or prompt.points[0]


@pytest.mark.parametrize(
    ("option", "text", "frame", "place"),
    [
        ("--point", "0.25,0.5@12", 12, (0.25, 0.5)),
        ("--point", "0,1", 0, (0.0, 1.0)),
        ("--point", "1,1@2", 2, (1.0, 1.0)),
        ("--point", " 0.25 , 0.5 @ 12", 12, (0.25, 0.5)),
        ("--point", "25%,50%", 0, (0.25, 0.5)),
        ("--point", "80,48@3", 3, (80.5 / 160, 48.5 / 96)),
        ("--point", "1px,0@3", 3, (1.5 / 160, 0.5 / 96)),
        ("--point", "159,95", 0, (159.5 / 160, 95.5 / 96)),
        ("--point", "0.5,0.5@1.2s", 12, (0.5, 0.5)),
        ("--point", "0.5,0.5@1.25s", 12, (0.5, 0.5)),  # frame 12 is shown from 1.2 s to 1.3 s
        ("--point", "0.5,0.5@0s", 0, (0.5, 0.5)),
        ("--point", "0.5,0.5@3s", 29, (0.5, 0.5)),  # the end
        ("--box", "0.5,0.25,0.5,0.75@3", 3, (0.5, 0.25, 1.0, 1.0)),
        ("--box", "0,0,160,96@2", 2, (0.0, 0.0, 1.0, 1.0)),
        ("--box", "16,24,32,48@0.5s", 5, (0.1, 0.25, 0.3, 0.75)),
        ("--box", "Car: 16,24,32,48", 0, (0.1, 0.25, 0.3, 0.75)),
    ],
)
def test_places_are_fractions_or_pixels_and_times_frames_or_seconds(option, text, frame, place):
    found_frame, found = prompts_of(option, text)
    assert found_frame == frame
    assert found == pytest.approx(place)


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("--point", "1.2,0.5", "from 0 to 1, or pixels"),
        ("--point", "0.5,40", "or pixels, but not both"),
        ("--point", "1.5,2", "from 0 to 1, and pixels are whole numbers; parts of pixels are written 1.5px,2px"),
        ("--point", "2,1.5", "pixels are whole numbers"),
        ("--box", "10.5,10,20,20", "pixels are whole numbers"),
        ("--point", "0.5,nan", "x and y are numbers: fractions of the frame, from 0 to 1, or pixels"),
        ("--point", "nan,2", "x and y are numbers: fractions of the frame, from 0 to 1, or pixels"),
        ("--point", "160,20", "the frames are 160x96 pixels"),
        ("--point", "-1,20", "pixels count from 0"),
        ("--point", "0.5", "is not of the form x,y@frame"),
        ("--point", "0.5,0.5,0.5", "is not of the form x,y@frame"),
        ("--point", "half,0.5", "is not of the form x,y@frame"),
        ("--point", "0.5,0.5@1.2", r"times are in seconds \(@1.2s\)"),
        ("--point", "0.5,0.5@-1", "frames are counted from 0"),
        ("--point", "0.5,0.5@30", "the video has the frames 0 to 29"),
        ("--point", "0.5,0.5@3.1s", r"the video has 3\.00 s"),
        ("--box", "0.1,0.2,0.3", "x,y,w,h@frame, for example"),
        ("--box", "0.5,0.5,20,20", "or pixels, but not both"),
        ("--box", "100,10,80,20", "it leaves the frames, which are 160x96"),
        ("--box", "10,10,0,20", "a box has a width and a height"),
    ],
)
def test_other_places_are_refused(option, text, message):
    with pytest.raises(PromptError, match=message):
        prompts_of(option, text)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["the girl; the boy"], ["the girl", "the boy"]),
        (["Pet: the dog ;;the cat;", "a car"], ["Pet: the dog", "the cat", "a car"]),
        (["the big, red car"], ["the big, red car"]),
        ([" ; ", ""], [" ; ", ""]),  # refused by their own names
        ([], []),
    ],
)
def test_semicolons_separate_expressions(words, expected):
    assert split_expressions(words) == expected


@pytest.mark.parametrize("text", [":", "::", " : : ", "Car:", "Car :", "Car: :", "the sign that says:"])
def test_a_label_without_words_is_refused(text):
    with pytest.raises(PromptError, match=r"has no words behind the colon: write what to find, as in 'Car: the red"):
        plan_objects([text])


@pytest.mark.parametrize(
    ("words", "points", "boxes", "labels", "expected"),
    [
        (["the red star"], [], [], [], [("the red star", "the red star", 0)]),
        (["  the   red star "], ["0.5,0.5"], [], [], [("the red star", "the red star", 1)]),
        (["Car: the red one", "the ring"], [], [], [], [("Car", "the red one", 0), ("the ring", "the ring", 0)]),
        (["Car: the star", "the ring"], ["car: 0.5,0.5"], [], [], [("Car", "the star", 1), ("the ring",) * 2 + (0,)]),
        (["the star", "the ring"], ["the ring: 0.5,0.5"], [], [], [("the star",) * 2 + (0,), ("the ring",) * 2 + (1,)]),
        (["the star"], ["Dog: 0.5,0.5"], [], [], [("the star", "the star", 0), ("Dog", None, 1)]),
        ([], ["0.5,0.5", "0.4,0.4@3"], [], [], [("object", None, 2)]),
        ([], ["Dog: 0.5,0.5", "Cat: 0.4,0.4", "dog: 0.1,0.1@9"], [], [], [("Dog", None, 2), ("Cat", None, 1)]),
        ([], [], ["0,0,.1,.1", ".5,.5,.1,.1"], [], [("object", None, 1)] * 2),
        ([], [], ["Car: 0,0,.1,.1@2", "Car: .5,.5,.1,.1@2"], [], [("Car", None, 1)] * 2),
        ([], [], ["0,0,.1,.1@0", ".5,.5,.1,.1@9"], [], [("object", None, 2)]),
        ([], [], ["A#1: 0,0,.1,.1", "A#2: .5,.5,.1,.1", "A#1: 0,0,.1,.1@9"], [], [("A", None, 2), ("A", None, 1)]),
        (["A#1: the star", "A#2: the ring"], ["A#2: 0,0"], [], [], [("A", "the star", 0), ("A", "the ring", 1)]),
        (["the red star"], [], [], ["Star"], [("Star", "the red star", 0)]),
        (["the star", "the ring"], [], [], ["A", "B"], [("A", "the star", 0), ("B", "the ring", 0)]),
        (["the star", "the ring"], [], [], ["Toy"], [("Toy", "the star", 0), ("Toy", "the ring", 0)]),
        ([], ["0.5,0.5"], [], ["Dog"], [("Dog", None, 1)]),
    ],
)  # fmt: skip
def test_drawings_belong_to_objects(words, points, boxes, labels, expected):
    plans = plan(words, points, boxes, labels)
    assert [(p.label, p.words, len(p.drawings)) for p in plans] == expected


@pytest.mark.parametrize(
    ("words", "points", "boxes", "labels", "message"),
    [
        ([], [], [], [], "say what to find"),
        ([" "], [], [], [], "is empty"),
        (["the star", "the  star"], [], [], [], "was given twice"),
        (["the star", "the ring"], ["0.5,0.5"], [], [], "as in --point 'the star: 0.5,0.5'"),
        (
            ["Car: the red one", "Car: the blue one"],
            ["Car: 0,0"],
            [],
            [],
            "2 expressions are called 'Car': number them",
        ),
        (["the star"], [], ["0,0,.1,.1", ".5,.5,.1,.1"], [], "two boxes were given on frame 0"),
        ([], [], ["0,0,.1,.1", ".5,.5,.1,.1", "0,0,.1,.1@5"], [], "--box 'Car#1: ...' --box 'Car#2: ...'"),
        (["the star"], [], [], ["A", "B"], r"2 labels for 1 object\(s\), the star"),
        (["the star"], [], [], [" "], "--label is empty"),
    ],
)
def test_unclear_objects_are_refused(words, points, boxes, labels, message):
    with pytest.raises(PromptError, match=message):
        plan(words, points, boxes, labels)


def test_a_point_off_the_object_belongs_to_the_only_object_that_is_named():
    off = parse_drawing("--not-point", "100,60")
    (one,) = plan_objects([], [parse_drawing("--box", "Dog: 10,10,40,40@0"), off])
    assert (one.label, [d.option for d in one.drawings]) == ("Dog", ["--box", "--not-point"])
    two = [parse_drawing("--box", "Dog: 10,10,40,40@0"), parse_drawing("--point", "Cat: 5,5")]
    with pytest.raises(PromptError, match=r"which object is '100,60' off.*'Dog: 100,60'"):
        plan_objects([], [*two, off])
    with pytest.raises(PromptError, match="says only what is not the object"):
        plan_objects([], [off])


def test_two_drawings_of_a_kind_on_one_frame_are_told_apart_by_time_too():
    drawings = [parse_drawing("--box", text) for text in ("0,0,.1,.1@0", ".5,.5,.1,.1@0.05s", "0,0,.1,.1@9")]
    with pytest.raises(PromptError, match="two boxes are on frame 0"):
        make_targets(plan_objects([], drawings), CLIP)


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        (
            "--point",
            "1,1",
            "--point 1,1 is the bottom right corner, in fractions of the frame; for pixels write 1px,1px",
        ),
        ("--point", "Car: 0,1@3", "is the bottom left corner, in fractions of the frame; for pixels write 0px,1px"),
        ("--not-point", "1,0", "--not-point 1,0 is the top right corner"),
        ("--point", "0,0", ""),
        ("--point", "1.0,1.0", ""),
        ("--point", "1px,1px", ""),
        ("--point", "1,0.5", ""),
        ("--point", "2,1", ""),
        ("--box", "0,0,1,1", ""),
    ],
)
def test_a_corner_that_reads_like_pixels_is_said(option, text, said):
    note = describe_corner(parse_drawing(option, text))
    assert said in note
    assert bool(note) == bool(said)
