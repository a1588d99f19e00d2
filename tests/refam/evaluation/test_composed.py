from dataclasses import replace

import cv2
import numpy as np
import pytest

from refam.evaluation.composed import Composition, compose
from refam.evaluation.cutouts import FEATHER_PX, cut_out

SIZE = (320, 180)
BLUE = (10, 20, 220)


def rectangle(width=60, height=40, colour=(210, 60, 20)):
    """The cut-out of a rectangle."""
    mask = np.zeros((200, 300), bool)
    mask[100 - height // 2 : 100 + height // 2, 150 - width // 2 : 150 + width // 2] = True
    return cut_out([np.where(mask[..., None], np.uint8(colour), np.uint8(BLUE))], [mask])


def plain(tone=90):
    return [np.full((180, 320, 3), tone, np.uint8)]


def speckled():
    return [np.random.default_rng(0).integers(60, 200, (180, 320, 3), dtype=np.uint8)]


def make(cutout=None, background=None, **options):
    given = {
        key: options.pop(key) for key in ("occluder", "texture") if key in options and not isinstance(options[key], str)
    }
    composition = Composition(**{"frames": 20, "size": SIZE, "object_size": 0.2, **options})
    return compose(cutout or rectangle(), background or plain(), composition, **given)


def centres(truth):
    """Centres of the boxes, (T, 2) in pixels."""
    ends = [[np.nonzero(mask.any(axis))[0][[0, -1]].mean() for axis in (0, 1)] for mask in truth]
    return np.array(ends)


def test_only_the_object_differs_from_the_background():
    clip = make(speed=0.1)
    kernel = np.ones((2 * FEATHER_PX + 1,) * 2, np.uint8)
    for frame, mask in zip(clip.frames, clip.truth, strict=True):
        changed = (frame != 90).any(axis=2)
        assert not (changed & (cv2.dilate(mask.astype(np.uint8), kernel) == 0)).any()
        inner = cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
        assert inner.any()
        assert (np.abs(frame[inner].astype(int) - (210, 60, 20)) <= 1).all()
        assert not (np.abs(frame.astype(int) - BLUE) < 60).all(axis=2).any(), "no seam of the old background"


@pytest.mark.parametrize("speed", [0.02, 0.1, 0.4])
def test_moves_by_so_many_widths_a_frame(speed):
    cutout = rectangle(60, 40)
    clip = make(cutout, speed=speed)
    width = 60 * 0.2 * np.sqrt(320 * 180) / np.sqrt(60 * 40)
    steps = np.hypot(*np.diff(centres(clip.truth), axis=0).T)
    assert steps.mean() == pytest.approx(speed * width, abs=0.35)
    assert np.abs(steps - speed * width).max() < 1.5, "positions are found to half a pixel"


def test_jumps_once_in_the_middle():
    steps = np.hypot(*np.diff(centres(make(jump=1.5, frames=20).truth), axis=0).T)
    width = 60 * 0.2 * np.sqrt(320 * 180) / np.sqrt(60 * 40)
    assert np.argmax(steps) == 9
    assert steps[9] == pytest.approx(1.5 * width, abs=1.5)
    assert np.delete(steps, 9).max() == 0


def test_object_has_the_size_asked_for():
    truth = make(object_size=0.3).truth
    assert np.sqrt(truth[0].sum() / truth[0].size) == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_changes_its_size_by_the_factor(scale):
    truth = make(scale=scale).truth
    assert truth[-1].sum() / truth[0].sum() == pytest.approx(scale**2, rel=0.06)


def test_turns_by_the_angle():
    truth = make(rectangle(80, 20), rotation_deg=30).truth
    (_, _), (w, h), angle = cv2.minAreaRect(np.argwhere(truth[-1])[:, ::-1].astype(np.float32))
    assert (angle if w > h else angle - 90) % 180 == pytest.approx(30, abs=1.5)
    assert truth[-1].sum() == pytest.approx(truth[0].sum(), rel=0.05)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_hidden_on_the_share_of_frames_asked_for(share):
    clip = make(occluder="bar", texture=speckled()[0], covered_frames=share)
    assert (clip.share == 0).sum() == share * 20
    assert clip.share[[0, -1]].tolist() == [1, 1]


@pytest.mark.parametrize("covered", [0.25, 0.5, 0.75])
def test_hides_the_share_of_the_object_asked_for(covered):
    composition = Composition(
        frames=20, size=SIZE, object_size=0.2, occluder="bar", covered=covered, covered_frames=0.3
    )
    clip = compose(rectangle(), plain(), composition, texture=speckled()[0])
    column = 1 / np.ptp(np.nonzero(clip.truth[0].any(0))[0])
    worst = 1 - clip.share.min()
    assert covered <= worst <= covered + 1.01 * column
    assert (clip.share <= clip.share.min() + column / 2).sum() == 6


def test_share_is_that_of_the_visible_pixels():
    open_clip = make(speed=0.05)
    hidden = make(speed=0.05, occluder="bar", texture=speckled()[0])
    for k in range(20):
        assert hidden.share[k] == pytest.approx(hidden.truth[k].sum() / open_clip.truth[k].sum())
        assert not (hidden.truth[k] & ~open_clip.truth[k]).any()


def test_another_object_hides_enough_of_it():
    clip = compose(
        rectangle(),
        plain(),
        Composition(frames=20, size=SIZE, object_size=0.2, occluder="object", covered=0.8, covered_frames=0.2),
        occluder=rectangle(20, 60, colour=(10, 220, 10)),
    )
    assert 0.1 < clip.share.min() <= 0.2
    visible = (np.abs(clip.frames[10].astype(int) - (10, 220, 10)) < 10).all(axis=2)
    assert visible.sum() > 1000
    assert not (visible & clip.truth[10]).any()


def test_is_outside_of_the_picture_on_the_share_of_frames_asked_for():
    clip = make(outside_frames=0.3)
    gone = ~clip.truth.any(axis=(1, 2))
    assert gone.sum() == 6
    assert np.diff(np.nonzero(gone)[0]).max() == 1
    assert (clip.frames[gone] == 90).all()
    assert clip.share[[0, -1]].tolist() == [1, 1]


def test_camera_shakes_everything_together():
    shaken = make(background=speckled(), shake_px=6)
    moved = centres(shaken.truth) - centres(shaken.truth)[0]
    assert moved.std(axis=0).min() > 2
    for k in (5, 11):
        flow, _ = cv2.phaseCorrelate(
            cv2.cvtColor(shaken.frames[0], cv2.COLOR_RGB2GRAY).astype(np.float32),
            cv2.cvtColor(shaken.frames[k], cv2.COLOR_RGB2GRAY).astype(np.float32),
        )
        assert np.abs(np.array(flow) - moved[k]).max() < 1


@pytest.mark.parametrize("kind", ["beside", "crossing"])
def test_look_alike_is_no_part_of_the_truth(kind):
    alone, doubled = make(speed=0.05), make(speed=0.05, look_alike=kind)
    assert (alone.truth == doubled.truth).all()
    red = (np.abs(doubled.frames.astype(int) - (210, 60, 20)) < 10).all(axis=3)
    assert red.sum(axis=(1, 2)).max() > 1.6 * alone.truth[0].sum()
    assert (doubled.frames[alone.truth] == alone.frames[alone.truth]).mean() > 0.9, "it passes behind"


def test_shutter_blurs_along_the_path():
    sharp, blurred = make(speed=0.4, seed=3), make(speed=0.4, seed=3, exposure=0.8)

    def mixed(clip):
        away = np.abs(clip.frames[10].astype(int) - 90).max(axis=2)
        return ((away > 10) & (away < 100)).sum()

    assert mixed(blurred) > 2 * mixed(sharp)
    assert blurred.truth[10].sum() == pytest.approx(sharp.truth[10].sum(), rel=0.15)


def test_is_out_of_focus_in_the_middle():
    clip = make(background=speckled(), defocus_px=2)
    detail = [cv2.Laplacian(frame, cv2.CV_32F).std() for frame in clip.frames]
    assert np.argmin(detail) in (9, 10)
    assert detail[0] > 2 * detail[10]


def test_plays_the_frames_of_object_and_background_back_and_forth():
    frames, truth = [], []
    for k in range(3):
        mask = np.zeros((100, 100), bool)
        mask[30:70, 30:70] = True
        frames.append(np.full((100, 100, 3), 50 * k, np.uint8))
        truth.append(mask)
    background = [np.full((180, 320, 3), tone, np.uint8) for tone in (160, 200, 240)]
    clip = make(cut_out(frames, truth), background, frames=9)
    inner = [int(np.median(frame[mask])) for frame, mask in zip(clip.frames, clip.truth, strict=True)]
    assert inner == [0, 50, 100, 50, 0, 50, 100, 50, 0]
    outer = [int(np.median(frame[~mask])) for frame, mask in zip(clip.frames, clip.truth, strict=True)]
    assert set(np.abs(np.diff(outer))) == {40}
    still = make(cut_out(frames, truth), background, frames=9, animated=False)
    assert {int(np.median(frame[mask])) for frame, mask in zip(still.frames, still.truth, strict=True)} == {0}


def test_same_seed_gives_the_same_pixels_and_another_does_not():
    options = {"background": speckled(), "speed": 0.1, "shake_px": 3}
    one, same, other = make(**options, seed=4), make(**options, seed=4), make(**options, seed=5)
    assert (one.frames == same.frames).all()
    assert (one.truth != other.truth).any()


def test_clip_is_what_trackers_take():
    clip = make()
    assert len(clip.clip) == 20
    assert clip.clip.size == SIZE
    assert (clip.clip.frame(3) == clip.frames[3]).all()


def test_refuses_a_speed_for_which_there_is_no_room():
    with pytest.raises(ValueError, match="no room"):
        make(object_size=0.5, jump=3)


@pytest.mark.parametrize("kind", ["bar", "object"])
def test_refuses_an_occluder_that_was_not_given(kind):
    with pytest.raises(ValueError, match=kind):
        compose(rectangle(), plain(), Composition(occluder=kind))


@pytest.mark.parametrize(
    ("name", "value"), [("frames", 0), ("scale", 0), ("speed", -1), ("covered", 1.5), ("exposure", -0.1)]
)
def test_refuses_values_out_of_range(name, value):
    with pytest.raises(ValueError, match=name):
        replace(Composition(), **{name: value})
