import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video.optical_flow import OpticalFlow, compose_flows, flow_confidence, resize_flow, to_grey, warp


def texture(seed, size=(320, 240)):
    """Smooth random picture with detail at several scales, (h, w, 3) uint8."""
    rng = np.random.default_rng(seed)
    w, h = size
    out = np.zeros((h, w), np.float32)
    for cells, strength in ((6, 60), (20, 50), (60, 40)):
        small = rng.normal(0, strength, (cells, cells)).astype(np.float32)
        out += cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)
    return np.repeat(np.clip(out + 128, 0, 255).astype(np.uint8)[..., None], 3, 2)


def moved(image, matrix):
    """What is at p in the image is at matrix @ p in the result."""
    return cv2.warpAffine(image, matrix, image.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def true_flow(matrix, size):
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    there = np.stack([x, y, np.ones_like(x)], -1) @ matrix.T
    return (there - np.stack([x, y], -1)).astype(np.float32)


MOTIONS = {
    "still": np.float32([[1, 0, 0], [0, 1, 0]]),
    "right": np.float32([[1, 0, 6.5], [0, 1, 0]]),
    "up": np.float32([[1, 0, -2], [0, 1, -9]]),
    "turned": cv2.getRotationMatrix2D((160, 120), 5, 1.0),
    "zoomed": cv2.getRotationMatrix2D((160, 120), 0, 1.06),
}


@pytest.mark.parametrize("name", MOTIONS)
def test_flow_of_a_known_motion(name):
    a = texture(1)
    b = moved(a, MOTIONS[name])
    flow = OpticalFlow(short_side_px=240)
    forward, _, sure = flow.bidirectional(flow.prepare(a), flow.prepare(b))
    expected = true_flow(MOTIONS[name], (320, 240))
    error = np.linalg.norm(forward - expected, axis=-1)[20:-20, 20:-20]
    assert np.median(error) < 0.3
    assert np.percentile(error, 95) < 1.5
    assert np.median(sure[20:-20, 20:-20]) > 0.8


def test_warping_returns_a_map_to_its_source():
    a = texture(2)
    matrix = MOTIONS["turned"]
    b = moved(a, matrix)
    spot = np.zeros((240, 320), np.float32)
    cv2.circle(spot, (110, 90), 25, 1.0, -1)
    spot_in_b = moved(spot, matrix)
    flow = OpticalFlow(short_side_px=120)  # coarser than the map: lengths must be scaled
    carried = warp(spot_in_b, flow(flow.prepare(a), flow.prepare(b))) > 0.5
    truth = spot > 0.5
    assert (carried & truth).sum() / (carried | truth).sum() > 0.9


def test_flow_confidence_falls_at_disocclusions_and_cuts():
    a, b, square = texture(3), texture(3), texture(4)
    a[80:160, 60:140] = square[80:160, 60:140]
    b[80:160, 100:180] = square[80:160, 60:140]
    flow = OpticalFlow(short_side_px=240)
    sure = flow.bidirectional(flow.prepare(b), flow.prepare(a))[2]
    assert np.median(sure[90:150, 110:170]) > 0.8
    uncovered = sure[90:150, 64:96]
    assert np.median(uncovered) < 0.5 * np.median(sure[10:60, 10:300])
    cut = flow.bidirectional(flow.prepare(texture(5)), flow.prepare(texture(6)))[2]
    assert cut.mean() < 0.35


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5))
@settings(max_examples=30, deadline=None)
def test_composed_constant_flows_add_up(ax, ay, bx, by):
    def constant(x, y):
        return np.broadcast_to(np.float32([x, y]), (12, 16, 2)).copy()

    np.testing.assert_allclose(compose_flows(constant(ax, ay), constant(bx, by)), constant(ax + bx, ay + by), atol=1e-5)


def test_composed_rotations_are_one_rotation():
    first, second = (cv2.getRotationMatrix2D((80, 60), angle, 1.0) for angle in (4, 7))
    both = cv2.getRotationMatrix2D((80, 60), 11, 1.0)
    got = compose_flows(true_flow(first, (160, 120)), true_flow(second, (160, 120)))
    np.testing.assert_allclose(got[25:-25, 25:-25], true_flow(both, (160, 120))[25:-25, 25:-25], atol=0.02)


@given(st.integers(-6, 6), st.integers(-6, 6))
@settings(max_examples=30, deadline=None)
def test_warp_by_whole_pixels_is_a_shift(dx, dy):
    grid = np.random.default_rng(0).random((20, 30)).astype(np.float32)
    out = warp(grid, np.broadcast_to(np.float32([dx, dy]), (20, 30, 2)).copy(), outside=-1)
    for y in range(20):
        for x in range(30):
            there = (y + dy, x + dx)
            inside = 0 <= there[0] < 20 and 0 <= there[1] < 30
            assert out[y, x] == pytest.approx(grid[there] if inside else -1, abs=1e-4)


def test_resized_flow_is_the_same_motion():
    flow = np.broadcast_to(np.float32([3, -2]), (10, 20, 2)).copy()
    out = resize_flow(flow, (60, 20))
    assert out.shape == (20, 60, 2)
    np.testing.assert_allclose(out, np.broadcast_to([9, -4], out.shape), atol=1e-5)


def test_flow_confidence_is_zero_where_the_flow_leaves_the_frame():
    flow = np.broadcast_to(np.float32([8, 0]), (20, 30, 2)).copy()
    sure = flow_confidence(flow, -flow)
    assert (sure[:, :22] > 0.99).all()
    assert (sure[:, 23:] == 0).all()


@pytest.mark.parametrize(
    ("shape", "expected"), [((1080, 1920), (270, 480)), ((100, 60), (100, 60)), ((30, 8), (30, 24))]
)
def test_working_resolution_is_bounded(shape, expected):
    grey = to_grey(np.zeros((*shape, 3), np.uint8), short_side_px=270)
    assert grey.shape == expected
    OpticalFlow()(grey, grey)


def test_bad_input_is_named():
    flow = OpticalFlow()
    with pytest.raises(ValueError, match="one shape"):
        flow(np.zeros((40, 40), np.uint8), np.zeros((40, 41), np.uint8))
    with pytest.raises(ValueError, match="RGB"):
        flow.prepare(np.zeros((40, 40), np.uint8))
    with pytest.raises(ValueError, match="preset"):
        OpticalFlow(preset="slow")
    with pytest.raises(ValueError, match="short_side_px"):
        OpticalFlow(short_side_px=10)
