"""Tasks of pictures with masks, for each control tag that draws masks."""

from __future__ import annotations

import numpy as np

from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.request import read_request
from refam.pipeline.pipeline import Target, TrackResult
from tests.doubles import track_of_masks

MASK_KINDS = ("BrushLabels", "PolygonLabels", "BitmaskLabels", "Brush", "Polygon", "Bitmask")
SIZE = (90, 60)


def config_with(kind):
    inner = '<Label value="Star"/><Label value="Ring" alias="r"/>'
    control = f'<{kind} name="m" toName="i">{inner}</{kind}>'
    if not kind.endswith("Labels"):
        control = f'<{kind} name="m" toName="i"/><Labels name="l" toName="i">{inner}</Labels>'
    return f'<View><TextArea name="w" toName="i" value="$say"/><Image name="i" valueList="$pics"/>{control}</View>'


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def star_mask(frame):
    mask = np.zeros((60, 90), bool)
    mask[10:30, 5 + 6 * frame : 25 + 6 * frame] = True
    mask[15:20, 10 + 6 * frame : 14 + 6 * frame] = False  # a hole
    return mask


def answered_task(kind):
    """A task whose draft holds what we answered for two objects on three pictures."""
    config = parse_label_config(config_with(kind))
    targets = (Target("Star", words="the star"), Target("r", words="the ring"))
    results = [
        TrackResult(t, track_of_masks(np.stack([np.roll(star_mask(f), 25 * k, 0) for f in range(3)])), (), 0.9, 0, ())
        for k, t in enumerate(targets)
    ]
    task = {"id": 7, "data": {"pics": ["a.png", "b.png", "c.png"], "say": "the star; the ring"}}
    ids = read_request(task, config).region_ids
    draft = {"id": 1, "updated_at": "2026-01-01", "result": config.control.regions(results, region_ids=ids)}
    return config, {**task, "drafts": [draft]}, ids


def change_mask(task, config, region_id, frame, mask):
    """As the editor leaves a region that a person changed; its label stays, and a polygon's origin too."""
    (shape,) = config.control.encode(mask)
    for region in task["drafts"][0]["result"]:
        if region["id"] == f"{region_id}-{frame}":
            if config.control.SHAPE != "polygon":
                region["origin"] = "prediction-changed"
            kept = {k: v for k, v in region["value"].items() if "labels" in k}
            region["value"] = {**shape, **kept}
