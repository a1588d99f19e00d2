"""A label before an expression, as the command line, the editor and manifests have it."""

from __future__ import annotations

import pytest

from refam.text.labelled import NoWordsError, find_label, remove_number, split_label


@pytest.mark.parametrize(
    ("text", "known", "label", "words"),
    [
        ("Car: the red square", (), "Car", "the red square"),
        ("car:the red one", (), "car", "the red one"),
        ("Traffic light : the left one", (), "Traffic light", "the left one"),
        ("  Car: two  ", (), "Car", "two"),
        ("Car#2: the red one", (), "Car#2", "the red one"),
        ("Car:2 dogs", (), "Car", "2 dogs"),
        ("Car: the sign: stop", (), "Car", "the sign: stop"),
        ("the red square", (), "", "the red square"),
        ("the sign that says: stop", (), "", "the sign that says: stop"),
        ("the sign that says: stop", ("The sign that says",), "the sign that says", "stop"),
        ("the clock at 10:30", (), "", "the clock at 10:30"),
        ("clock at 3:30", (), "", "clock at 3:30"),
        ("10:30", (), "", "10:30"),
        ("10:30: the dog", (), "", "10:30: the dog"),
        ("http://host/a", (), "", "http://host/a"),
        ("red, blue: a star", (), "", "red, blue: a star"),
        ("red, blue: a star", ("Red, blue",), "red, blue", "a star"),
        ("car/truck: the red one", (), "", "car/truck: the red one"),
        ("car/truck: the red one", ("Car/Truck",), "car/truck", "the red one"),
        (": the dog", (), "", ": the dog"),
    ],
)
def test_a_label_stands_before_a_colon(text: str, known: tuple[str, ...], label: str, words: str) -> None:
    assert split_label(text, known) == (label, words)


@pytest.mark.parametrize("text", [":", "::", " : : ", "Car:", "Car :", "Car: :", "the sign that says:"])
def test_a_label_without_words_is_refused(text: str) -> None:
    with pytest.raises(NoWordsError, match="has no words behind the colon: write what to find, as in 'Car: the red"):
        split_label(text)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("car", "Car"),
        ("Car #2", "Car"),
        ("CAR1", None),
        ("car 1", "car-1"),
        ("traffic_light", None),
        ("traffic light", "Traffic light"),
        ("truck", None),
        ("", None),
    ],
)
def test_a_label_is_found_by_its_words(written: str, found: str | None) -> None:
    assert find_label(written, ["Car", "car-1", "Traffic light"]) == found


def test_the_number_that_tells_two_apart_is_no_part_of_a_label() -> None:
    assert [remove_number(label) for label in ("Car#2", "Car # 2", "Car 2", "Car")] == ["Car", "Car", "Car 2", "Car"]
