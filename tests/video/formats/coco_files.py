"""Small COCO files of one video, as other tools write them, and what is read of them."""

from __future__ import annotations

import json

from video.formats import coco

SHAPE = {"width": 160, "height": 96}


def annotation(frame, x, *, category=1, **more):
    return {"image_id": frame, "category_id": category, "bbox": [x, 10, 20, 20], "area": 400, "iscrowd": 0, **more}


def read(tmp_path, *annotations, frames=3, skipped=None, **members):
    """Return the video of a file with these annotations; `members` stand in for those of the file."""
    numbered = [{"id": number, **a} for number, a in enumerate(annotations, start=1)]
    images = [{"id": f, "file_name": f"a/{f}.jpg", "video_id": 1, "frame_id": f, **SHAPE} for f in range(frames)]
    content = {
        "videos": [{"id": 1, "name": "a", **SHAPE}],
        "categories": [{"id": 1, "name": "disc"}, {"id": 2, "name": "box"}],
        "images": images,
        "annotations": numbered,
        **members,
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    (video,) = coco.read(tmp_path / "a.json", skipped=skipped)
    return video


def objects(video):
    """[(label, {frame: left side in pixels})]"""
    lefts = [dict(zip(o.frames.tolist(), (o.boxes[:, 0] * 160).round(6).tolist(), strict=True)) for o in video.objects]
    return sorted(zip((o.label for o in video.objects), lefts, strict=True), key=str)
