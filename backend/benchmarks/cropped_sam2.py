"""SAM2 that encodes only a square around the object's expected place, at full detail, where the object fits into it."""

from __future__ import annotations

import numpy as np

from refam.segmenters.sam2 import Sam2Segmenter, preprocess
from video import masks

_MARGIN = 1.25  # sides of the object's box that must fit into the square
CROP_STEP_PX = 32  # squares begin and end at multiples of it, the stride of the encoder's coarsest features


class CroppedSam2(Sam2Segmenter):
    """A `Sam2Segmenter` whose features are computed in a square around the mask that it outlined last.

    Elsewhere the features of earlier frames stay. The whole frame is encoded at first, where the object does not fit
    into the square, and after a frame on which nothing was outlined.

    Args:
        engine: A `TorchEngine`; the graph for onnxruntime takes one size only.
        crop_px: The side of the square in pixels of the model's input, a multiple of `CROP_STEP_PX`.

    Attributes:
        crops: How many squares were encoded.
    """

    def __init__(self, engine, *, crop_px):
        super().__init__(engine, name="sam2")
        self._crop_px, self.crops = crop_px, 0
        self._before, self._box = None, None  # features of the last look; the mask's box in it, fractions of the frame

    def segment(self, image, prompt, *, frame=0):
        candidates = super().segment(image, prompt, frame=frame)
        if candidates:
            self._box = masks.box_of(candidates[0].mask)
        return candidates

    def _encode(self, image, key):
        pixels = preprocess(image, side=self.engine.side_px, normalisation=self.engine.normalisation)
        corner, self._box = self._place_square(), None
        if corner is None:
            levels = self.engine.encode(pixels)
        else:
            x, y = corner
            levels = self._encode_square(pixels[..., y : y + self._crop_px, x : x + self._crop_px], x, y)
            self.crops += 1
        self._before = levels
        return levels

    def _place_square(self):
        """Return the square's top left corner, (x, y) pixels of the model's input; None if all is to be encoded."""
        if self._before is None or self._box is None:
            return None
        x0, y0, x1, y1 = np.array(self._box) * self.engine.side_px
        if _MARGIN * max(x1 - x0, y1 - y0) > self._crop_px:
            return None
        centre = np.array([x0 + x1, y0 + y1]) / 2
        corner = np.round((centre - self._crop_px / 2) / CROP_STEP_PX).astype(int) * CROP_STEP_PX
        return np.clip(corner, 0, self.engine.side_px - self._crop_px).tolist()

    def _encode_square(self, pixels, x, y):
        model, side = self.engine.model, self.engine.side_px
        sizes = model.backbone_feature_sizes
        model.backbone_feature_sizes = [[n * self._crop_px // side for n in size] for size in sizes]
        try:
            parts = self.engine.encode(pixels)
        finally:
            model.backbone_feature_sizes = sizes
        levels = []
        for before, part in zip(self._before, parts, strict=True):
            level, stride = before.clone(), side // before.shape[-1]
            top, left = y // stride, x // stride
            level[..., top : top + part.shape[-2], left : left + part.shape[-1]] = part
            levels.append(level)
        return levels
