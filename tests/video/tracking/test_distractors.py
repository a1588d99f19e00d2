"""Drawn shapes at known places that touch others of their colours."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video.tracking.distractors import ContactTracker, contact_area, locate
from video.tracking.motion import centroid

H, W = 120, 200
AT_REST = np.zeros(2)


def disc(x, y, radius=15):
    rows, columns = np.mgrid[:H, :W]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        pytest.param(disc(150, 60), 0, id="far away"),
        pytest.param(disc(60, 60, 16), 0, id="its own rim"),
        pytest.param(disc(92, 60), 1, id="a look-alike beside it"),
        pytest.param(disc(60, 60), 0, id="a look-alike on it"),
        pytest.param(disc(80, 60, 5), (5 / 15) ** 2, id="a small part beside it"),
    ],
)
def test_contact_area_is_relative_to_the_object(other, expected):
    one = disc(60, 60)
    assert contact_area(one | other, one) == pytest.approx(expected, abs=0.03)


@settings(max_examples=40, deadline=None)
@given(st.integers(-5, 5), st.integers(-5, 5))
def test_an_object_by_itself_is_located_exactly(dx, dy):
    """To the pixel, for where it is expected counts a little."""
    found = locate(disc(80 + dx, 60 + dy), disc(80, 60))
    assert np.abs(np.subtract(found.offset, (dx, dy))).max() <= 1
    np.testing.assert_array_equal(found.mask, disc(80 + found.offset[0], 60 + found.offset[1]))
    assert found.confidence > 0.85


def test_an_object_at_its_expected_place_is_located_there():
    found = locate(disc(80, 60), disc(80, 60))
    assert found.offset == (0, 0)
    assert (found.filled, found.outlined, found.confidence) == pytest.approx((1, 1, 1), abs=1e-5)
    assert found.contact == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(-3, 3), st.integers(-3, 3), st.floats(0, 2 * np.pi), st.integers(12, 32))
def test_beside_a_look_alike_the_outline_locates_the_object(dx, dy, angle, apart):
    """However it lies on it: up to three pixels from where it is expected it is found to the pixel or two."""
    look_alike = disc(80 + apart * np.cos(angle), 60 + apart * np.sin(angle))
    found = locate(disc(80, 60) | look_alike, disc(80 + dx, 60 + dy))
    assert np.abs(centroid(found.mask) - (80, 60)).max() <= 2
    assert found.filled > 0.9


def test_partly_out_of_the_frame_and_wholly():
    found = locate(disc(-4, 60), disc(-3, 60))
    assert found.offset == (-1, 0)
    assert locate(disc(60, 60), disc(-40, 60)) is None


def follow(ways, n, *, start=None):
    """Contacts of discs by the colours alone; ways: (x, y) of a frame, the first of them is followed from frame 0."""
    contact = ContactTracker.of(start if start is not None else disc(*ways[0](0)))
    known, places = disc(*ways[0](0)), []
    for t in range(1, n):
        own = np.logical_or.reduce([disc(*way(t)) for way in ways])
        shift = np.array(ways[0](t)) - ways[0](t - 1)
        contact, found = contact.step(own, shift)
        if found is None:
            known = disc(*ways[0](t))  # nothing touches it: whoever follows it sees it
            contact = contact.observe(known)
        places.append(None if found is None else found.mask)
    return contact, places


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda t: (170 - 3 * t, 60), id="one hides the other"),
        pytest.param(lambda t: (165 - 3 * t, 72), id="one lies on the other"),
        pytest.param(lambda t: (75, 62), id="it passes one that stands"),
        pytest.param(lambda t: (100, 110 - 2 * t), id="the other comes from below"),
    ],
)
def test_an_object_keeps_its_motion_through_a_look_alike(other):
    def way(t):
        return 30 + 3 * t, 60

    contact, places = follow([way, other], 46)
    errors = [np.abs(centroid(p) - way(t)).max() for t, p in enumerate(places, 1) if p is not None]
    assert len(errors) >= 5, "they must have met"
    assert max(errors) <= 2
    assert contact.touching == 0, "and parted"


def test_an_object_in_contact_from_the_start_moves_with_the_flow():
    contact, places = follow([lambda t: (60 + 2 * t, 60), lambda t: (85, 60 + t)], 40)
    assert places[0] is not None
    errors = [np.abs(centroid(p) - (60 + 2 * t, 60)).max() for t, p in enumerate(places, 1) if p is not None]
    assert max(errors) <= 2
    assert contact.touching == 0


def test_an_object_hidden_in_a_large_area_of_its_colours_is_given_up():
    contact = ContactTracker.of(disc(40, 60))
    pond = np.zeros((H, W), bool)
    pond[:, 60:] = True
    seen = []
    for t in range(1, 60):
        own = pond | disc(min(40 + 2 * t, 130), 60)
        contact, found = contact.step(own, np.array([2.0, 0.0]))
        if found is None:
            contact = contact.observe(disc(40 + 2 * t, 60))
        seen.append(found is None or found.mask.any())
    assert all(seen[:20])
    assert not any(seen[-10:]), "its place is unknown"


def test_a_part_of_the_object_that_reappears_is_no_contact():
    """Half hidden it was expected elsewhere; what is seen beside that place is itself."""
    contact = ContactTracker.of(disc(60, 60))
    for t in range(1, 6):
        contact, _ = contact.step(disc(60 + 4 * t, 60), AT_REST)
        contact = contact.observe(disc(60 + 4 * t, 60))
    for _ in range(6):  # it turns back behind something
        contact, found = contact.step(disc(70, 60) & (np.arange(W) < 72), AT_REST)
        assert found is None
        contact = contact.observe(disc(70, 60) & (np.arange(W) < 72))
    assert contact.touching == 0
