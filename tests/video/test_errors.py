"""What errors show of what was given, and bad items that cost only themselves."""

from __future__ import annotations

import pytest

from video.errors import UserError, leave_out, shorten

LONG, SHOWN = "dog " * 25_000, "dog " * 20 + "…"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("'the dog' is wrong", "'the dog' is wrong"),
        (f"{LONG!r} is wrong; give a 'cat'", f"'{SHOWN}' is wrong; give a 'cat'"),
        (f"{LONG + chr(39)!r} is wrong", f'"{SHOWN}" is wrong'),
        (f"/{'x' * 5000}/a.mp4: too long", f"/{'x' * 79}…: too long"),
        (f"'{'x' * 300}' stays", f"'{'x' * 300}' stays"),
        (f"the dog's bowl {'and more ' * 90}of the cats' food", f"the dog's bowl {'and more ' * 90}of the cats' food"),
        (f"{'y' * 400!r} and {'z' * 400!r}", f"'{'y' * 80}…' and '{'z' * 80}…'"),
    ],
)
def test_long_values_are_shortened_in_the_text_of_an_error(text: str, shown: str) -> None:
    assert str(UserError(text)) == shown


@pytest.mark.parametrize(("value", "shown"), [("", ""), ("a dog", "a dog"), (LONG, SHOWN), ("x" * 300, "x" * 300)])
def test_a_long_value_is_shortened(value: str, shown: str) -> None:
    assert shorten(value) == shown


def test_a_bad_item_costs_only_itself() -> None:
    skipped: list[str] = []
    with leave_out(skipped):
        raise UserError("the third is bad")
    assert skipped == ["the third is bad"]
    with pytest.raises(UserError, match="the first is bad"), leave_out(None):
        raise UserError("the first is bad")
