"""A tracks.json is read as it was written, and video files are found by the addresses of tasks."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest

from backend.labelstudio.export_sources import VideoFolder, read_tracks, rename_duplicates
from tests.backend.moving_disk import N, disk_mask, make_track
from video import masks
from video.formats.base import FormatError


def test_read_tracks_restores_masks_and_times(labelled):
    loaded = read_tracks(labelled / "found/one/tracks.json")
    (track,) = loaded.video.objects
    truth = make_track()
    np.testing.assert_array_equal(track.frames, truth.frames[truth.visible])
    for frame, rle in zip(track.frames, track.rles, strict=True):
        np.testing.assert_array_equal(masks.decode(rle), disk_mask(frame))
    assert loaded.video.name == "one"
    assert len(loaded.video.times) == N


def test_clips_with_equal_names_are_renamed(labelled):
    renamed = rename_duplicates([read_tracks(labelled / "found/one/tracks.json")] * 2)
    assert [item.video.name for item in renamed] == ["one", "one-2"]
    assert len({item.origin for item in renamed}) == 1  # so a split never separates them


def test_a_video_is_found_by_its_address(tmp_path):
    for name in ("x/clip.mp4", "y/clip.mp4", "0a1b2c3d-up.mp4", "up.mp4", "my (own) clip.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    folder = VideoFolder(tmp_path)
    assert folder.find("/data/local-files/?d=y/clip.mp4") == tmp_path / "y/clip.mp4"
    assert folder.find("/data/upload/1/0a1b2c3d-up.mp4").name == "0a1b2c3d-up.mp4"
    assert folder.find("https://host/11111111-up.mp4?sig=1").name == "up.mp4"
    assert folder.find("/data/upload/1/0a1b2c3d-my_own_clip.mp4").name == "my (own) clip.mp4"
    with pytest.raises(FormatError, match="could be"):
        folder.find("clip.mp4")
    with pytest.raises(FormatError, match="no other"):
        folder.find("other.mp4")
    assert folder.find("/data/local-files/?d=D%3A%5Cy%5Cclip.mp4") == tmp_path / "y/clip.mp4"
    assert folder.find("s3://bucket/long/way/to/x/clip.mp4") == tmp_path / "x/clip.mp4"
    resolved = "/tasks/12/resolve/?fileuri=" + base64.urlsafe_b64encode(b"s3://bucket/y/clip.mp4").decode()
    assert folder.find(resolved) == tmp_path / "y/clip.mp4"


def test_a_labelled_folder_of_pictures_is_found_by_its_name(labelled):
    tracks = labelled / "found/one/tracks.json"
    content = json.loads(tracks.read_text())
    content["video"]["name"] = "shots"
    tracks.write_text(json.dumps(content))
    (labelled / "videos/day/shots").mkdir(parents=True)
    with pytest.raises(FormatError, match="there is no shots below"):
        read_tracks(tracks, videos=VideoFolder(labelled / "videos"))
    (labelled / "videos/day/shots/1.png").write_bytes(b"")
    loaded = read_tracks(tracks, videos=VideoFolder(labelled / "videos"))
    assert loaded.media == labelled / "videos/day/shots"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["video"].update(width=0), "has pictures of 0 x 96 pixels"),
        (lambda c: c["video"].update(times_s=[0] * N), "time_s must be a number of seconds that rises"),
        (lambda c: c["video"].update(times_s=5), "needs 'times_s', list"),
        (lambda c: c["objects"].append(5), "object 5 needs 'frames'"),
        (lambda c: c["objects"][0]["frames"].append({"frame": N, "time_s": 9.0, "visible": False}), "is on others"),
        (lambda c: c["objects"][0].update(keyframes=[5]), "needs 'frame'"),
    ],
)
def test_a_damaged_tracks_file_is_named(labelled, change, said):
    tracks = labelled / "found/one/tracks.json"
    content = json.loads(tracks.read_text())
    change(content)
    tracks.write_text(json.dumps(content))
    with pytest.raises(FormatError, match=re.escape(said)):
        read_tracks(tracks)
