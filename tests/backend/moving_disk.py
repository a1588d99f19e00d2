"""A moving disk in two videos: what `refam label` and Label Studio write of it, and the command line that reads it."""

from __future__ import annotations

import json
import math

import numpy as np
from typer.testing import CliRunner

from backend.cli.main import app
from backend.cli.outputs import tracks_json
from refam.pipeline.types import Target, TrackResult
from tests.media import cfr, numbered_frames
from video import masks
from video.io.reader import open_clip
from video.keyframes import make_keyframes
from video.types import MaskTrack

W, H, N = 160, 96, 30


def disk_mask(t):
    """Return the disk on frame t: (H, W) bool."""
    y, x = np.mgrid[:H, :W]
    return np.hypot(x - 30 - 3 * t, y - 40 - 8 * math.sin(t / 4)) < 14


def make_track(n=N, *, label="disk", hidden=(11, 12, 13)):
    shapes = [disk_mask(t) if t not in hidden else np.zeros((H, W), bool) for t in range(n)]
    return MaskTrack(
        label,
        (W, H),
        np.arange(n),
        tuple(masks.encode(m) for m in shapes),
        np.array([masks.box_of(m) or (0, 0, 0, 0) for m in shapes]),
        np.ones(n),
        np.array([m.any() for m in shapes]),
    )


def make_result(track, times):
    return TrackResult(Target(track.label, words="a disk"), track, tuple(make_keyframes(track, times)), 0.9, 0, ())


def write_labelled(folder):
    """Write videos/one.mp4, videos/two.mp4 and what `refam label` finds in them: found/one and found/two."""
    (folder / "videos").mkdir()
    for name in ("one", "two"):
        clip = open_clip(cfr(folder / "videos" / f"{name}.mp4", numbered_frames(N, size=(W, H))))
        out = folder / "found" / name
        content = tracks_json(clip, [make_result(make_track(), clip.times)], model_version="v", near=out)
        out.mkdir(parents=True)
        (out / "tracks.json").write_text(json.dumps(content))


def make_export(address, sequence, *, fps=25, more=()):
    """Return Label Studio's export of one task with one box; `more` are further annotations of it."""
    region = {
        "id": "r",
        "type": "videorectangle",
        "from_name": "box",
        "to_name": "video",
        "value": {"sequence": sequence, "labels": ["disk"]},
    }
    annotation = {"id": 1, "was_cancelled": False, "updated_at": "2026-01-01", "result": [region]}
    return [{"id": 7, "data": {"video": address, "fps": fps}, "annotations": [annotation, *more]}]


def refam(*args):
    """Run the command line."""
    return CliRunner().invoke(app, [str(a) for a in args])
