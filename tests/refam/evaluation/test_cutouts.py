import cv2
import numpy as np
import pytest

from refam.evaluation.cutouts import FEATHER_PX, Layer, cut_out

GREEN, RED = (20, 160, 40), (200, 30, 20)


def disc(radius, *, centre=(100, 80), size=(200, 160)):
    mask = np.zeros(size[::-1], np.uint8)
    cv2.circle(mask, centre, radius, 1, -1)
    frame = np.where(mask[..., None] > 0, np.uint8(RED), np.uint8(GREEN))
    return frame, mask > 0


def test_keeps_the_mask_and_no_colour_of_the_background():
    frame, mask = disc(30)
    blended = cv2.GaussianBlur(frame, (0, 0), 0.5)  # as by a lens: the outermost pixels are a mixture
    layer = cut_out([blended], [mask]).layers[0]
    assert (layer.alpha >= 0.5).sum() == mask.sum()
    assert np.abs(layer.image - RED).max() <= 25, "of 180 that lie between red and green"


def test_only_the_edge_is_transparent():
    mask = np.zeros((60, 80), bool)
    mask[20:40, 30:60] = True
    alpha = cut_out([np.zeros((60, 80, 3), np.uint8)], [mask]).layers[0].alpha
    h, w = alpha.shape
    inside = np.zeros_like(alpha, bool)
    inside[(h - 20) // 2 : (h + 20) // 2, (w - 30) // 2 : (w + 30) // 2] = True
    kernel = np.ones((2 * FEATHER_PX + 1,) * 2, np.uint8)
    assert (alpha[cv2.erode(inside.astype(np.uint8), kernel) > 0] == 1).all()
    assert (alpha[cv2.dilate(inside.astype(np.uint8), kernel) == 0] == 0).all()
    assert ((alpha >= 0.5) == inside).all()


def test_box_is_that_of_the_first_mask():
    frame, mask = disc(30)
    assert cut_out([frame], [mask]).box == (61, 61)


def test_evens_out_the_size_of_what_comes_nearer():
    frames, truth = zip(*(disc(r) for r in range(20, 60)), strict=True)
    areas = [(layer.alpha >= 0.5).sum() for layer in cut_out(frames, truth).layers]
    assert truth[-1].sum() / truth[0].sum() > 8
    assert max(areas) / min(areas) < 1.3


def test_leaves_out_frames_where_a_part_may_be_missing():
    frames, truth = zip(*(disc(20, centre=(x, 80)) for x in (100, 150, 190)), strict=True)
    assert len(cut_out(frames, truth).layers) == 2


def test_refuses_an_object_that_is_never_whole():
    frame, mask = disc(20, centre=(0, 80))
    with pytest.raises(ValueError, match="edge"):
        cut_out([frame, frame], [mask, np.zeros_like(mask)])


def test_place_turns_clockwise_about_the_centre():
    alpha = np.zeros((41, 41), np.float32)
    alpha[20, 20:41] = 1  # from the centre to the right
    placed = Layer(np.zeros((41, 41, 3), np.float32), alpha).place((81, 81), (40.5, 40.5), angle_rad=np.pi / 2)
    ys, xs = np.nonzero(placed.alpha > 0.5)
    assert set(xs) == {40}
    assert (ys.min(), ys.max()) == (40, 60)


def test_place_enlarges_about_the_centre():
    alpha = np.zeros((40, 40), np.float32)
    alpha[10:30, 10:30] = 1
    placed = Layer(np.zeros((40, 40, 3), np.float32), alpha).place((100, 80), (50, 30), scale=2)
    ys, xs = np.nonzero(placed.alpha >= 0.5)
    assert (xs.min(), xs.max() + 1, ys.min(), ys.max() + 1) == (30, 70, 10, 50)


def test_over_mixes_by_alpha():
    layer = Layer(np.full((1, 2, 3), 100, np.float32), np.float32([[0.25, 1]]))
    assert layer.over(np.zeros((1, 2, 3), np.float32))[..., 0].tolist() == [[25, 100]]
