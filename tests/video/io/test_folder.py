"""A folder of pictures read as a video."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.media import cfr, numbered_frames, read_number
from video.io.folder import list_pictures, open_video
from video.io.reader import ClipError, make_view


def write(folder, names):
    folder.mkdir(exist_ok=True)
    for name, frame in zip(names, numbered_frames(len(names)), strict=True):
        Image.fromarray(frame).save(folder / name)
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ["f1.png", "f2.png", "f10.png", "f11.png"],
        ["00000.png", "00001.png", "00002.png"],
        ["a_9_b.bmp", "a_10_a.bmp", "b_1_a.bmp"],
        ["1.PNG", "2.png", "03.png", "10.png"],
    ],
)
def test_pictures_are_frames_in_the_order_in_which_people_count(names, tmp_path):
    folder = write(tmp_path / "frames", names)
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"no picture")
    clip = open_video(folder, fps=12.5)
    assert [path.name for path in list_pictures(folder)] == names
    assert (len(clip), clip.size, clip.average_fps) == (len(names), (160, 96), 12.5)
    np.testing.assert_allclose(clip.times, np.arange(len(names)) / 12.5)
    read = [read_number(image) for _, images in clip.batches() for image in images]
    assert read == list(range(len(names)))


def test_a_folder_can_be_viewed_like_a_video(tmp_path):
    clip = open_video(write(tmp_path / "frames", [f"{i}.png" for i in range(12)]))
    view = make_view(clip, first=2, last=10, every=3, most_px=80)
    assert view.frames.tolist() == [2, 5, 8, 10]
    assert [frame.shape for frame in [view.frame(1)]] == [(48, 80, 3)]
    np.testing.assert_allclose(view.times, clip.times[[2, 5, 8, 10]])
    np.testing.assert_array_equal(make_view(clip, first=5, last=5).frame(0), clip.frame(5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: (folder / "a.txt").write_text("x"), "holds no pictures"),
        (lambda folder: write(folder, ["1.png", "1.bmp"]), "1.bmp and 1.png would be one frame"),
        (lambda folder: (folder / "1.jpg").write_bytes(b"\xff\xd8 no"), "1.jpg"),
    ],
)
def test_other_folders_are_refused(make, message, tmp_path):
    make(tmp_path)
    with pytest.raises(ClipError, match=message):
        open_video(tmp_path)


def test_a_video_file_is_opened_as_ever(tmp_path):
    path = cfr(tmp_path / "clip.mp4", numbered_frames(5))
    assert len(open_video(path)) == 5
    ok, jpeg = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))
    assert ok
    (tmp_path / "one.jpg").write_bytes(jpeg.tobytes())
    assert len(open_video(str(tmp_path))) == 1
