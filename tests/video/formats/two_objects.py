"""A video with two objects, for what is written and read again."""

from __future__ import annotations

import numpy as np

from video import masks
from video.formats.base import make_video, track_from_masks

W, H, N = 64, 48, 9
Y, X = np.mgrid[:H, :W]


def ring(t):
    """A moving ring: it has a hole, and is away on two frames."""
    d = np.hypot(X - 14 - 4 * t, Y - 20)
    return (d < 10) & (d > 4) if t not in (4, 5) else np.zeros((H, W), bool)


def bars(t):
    """Two parts; overlaps the ring."""
    return ((Y > 26) & (Y < 40) & (10 + t < X) & (22 + t > X)) | ((Y > 26) & (Y < 32) & (X > 40) & (X < 60))


def two_objects(name="a/clip"):
    """Return the annotated video: the ring and the bars on N frames at 25 a second."""
    shapes = {"ring": ring, "two bars": bars}
    objects = [track_from_masks(label, {t: masks.encode(f(t)) for t in range(N)}) for label, f in shapes.items()]
    return make_video(name, (W, H), np.arange(N) / 25, objects)


def same(a, b, *, with_masks=True, atol=0.01):
    """Two videos tell the same of the same objects."""
    assert a.size == b.size
    assert [o.label for o in a.objects] == [o.label for o in b.objects]
    for p, q in zip(a.objects, b.objects, strict=True):
        np.testing.assert_array_equal(p.frames, q.frames)
        np.testing.assert_allclose(p.boxes, q.boxes, atol=atol)
        if with_masks:
            for x, y in zip(p.rles, q.rles, strict=True):
                np.testing.assert_array_equal(masks.decode(x), masks.decode(y))
