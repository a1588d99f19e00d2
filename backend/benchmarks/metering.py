"""Count what a segmenter is asked, and measure what its image encoder costs.

A *look* is an image that the segmenter encodes. With stored features none is encoded again; a look then costs what the
encoder was measured to take.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np

from backend.benchmarks.cropped_sam2 import CROP_STEP_PX, CroppedSam2
from backend.benchmarks.davis_clips import FEATURES_MB
from refam.segmenters.sam2 import Sam2Segmenter, open_feature_cache
from refam.segmenters.sam2_engines import OnnxEngine, TorchEngine
from refam.segmenters.sam2_weights import is_for_onnx

SIDE_PX = OnnxEngine.side_px
MEASURED_LOOKS = 3  # of which the median is taken


class MeteredEngine:
    """A `Sam2Engine` that sums the CPU seconds of its encoder.

    Attributes:
        encoder_s: CPU seconds of all calls so far.
    """

    def __init__(self, engine):
        self._engine, self.encoder_s = engine, 0.0

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def encode(self, pixels):
        begin = time.process_time()
        levels = self._engine.encode(pixels)
        self.encoder_s += time.process_time() - begin
        return levels


class MeteredSegmenter:
    """A segmenter that counts its looks. It offers whatever the other one does.

    Args:
        inner: The segmenter.
        engine: Its metered engine, if it has one.
        look_s: CPU seconds that its encoder takes for one image; None where that differs, so that it is measured.

    Attributes:
        looks: How often it was called with another image than before.
    """

    def __init__(self, inner, *, engine=None, look_s=0.0):
        self._inner, self._engine, self.look_s = inner, engine, look_s
        self.looks, self._last = 0, None

    def __getattr__(self, name):
        value = getattr(self._inner, name)
        if not callable(value):
            return value

        def counted(image, *args, **options):
            if self._last is None or (image is not self._last and not np.array_equal(image, self._last)):
                self.looks, self._last = self.looks + 1, image
            return value(image, *args, **options)

        return counted

    @property
    def encoder_s(self):
        """CPU seconds that the encoder really ran, which depends on what was stored."""
        return self._engine.encoder_s if self._engine else 0.0


def why_not_cropped(weights, crop_px):
    """Return why weights cannot encode squares of so many pixels (`CroppedSam2`); None if they can."""
    if weights is None or is_for_onnx(Path(weights).expanduser()):
        return "squares need SAM2's weights in the format of transformers: give them with --sam2"
    if crop_px % CROP_STEP_PX or not 0 < crop_px < SIDE_PX:
        return f"the side must be a multiple of {CROP_STEP_PX} pixels below SAM2's own input of {SIDE_PX}"
    return None


def load_metered_sam2(weights, image, *, features, crop_px=None):
    """Load SAM2 with stored features, and measure its encoder on an image, (H, W, 3) uint8 RGB.

    Args:
        weights: A directory, for transformers or onnxruntime, or a name on the hub.
        image: What the encoder is measured on.
        features: The directory of the features.
        crop_px: Encode only a square of so many pixels where the object fits into it; nothing is stored then.
    """
    folder = Path(weights).expanduser()
    engine = MeteredEngine(OnnxEngine.load(folder) if is_for_onnx(folder) else TorchEngine.load(weights))
    if crop_px is not None:
        return MeteredSegmenter(CroppedSam2(engine, crop_px=crop_px), engine=engine, look_s=None)
    alone = Sam2Segmenter(engine, name="sam2")
    spent = []
    for k in range(MEASURED_LOOKS + 1):
        before = engine.encoder_s
        alone.features(np.roll(image, k, axis=1))  # another image each time
        spent.append(engine.encoder_s - before)
    stored = open_feature_cache(weights, features, FEATURES_MB)
    segmenter = Sam2Segmenter(engine, name="sam2", features=stored)
    return MeteredSegmenter(segmenter, engine=engine, look_s=statistics.median(spent[1:]))  # the first is slower
