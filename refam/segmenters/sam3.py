"""SAM3's detector (Carion et al. 2025) as a `ConceptDetector`, over `transformers.Sam3Model`.

SAM3 finds every instance of a short noun phrase, and knows no words of place, size or order: those choose among its
instances in `refam.pipeline.concepts`. Its tracker is read as SAM2 is, by `refam.segmenters.sam2` and `.sam2_video`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from refam.backbones.weights import quiet_libraries
from refam.segmenters.model_types import SAM3_HUB, SYMMETRIC, describe_load_error
from refam.segmenters.sam2 import preprocess
from refam.segmenters.sam2_engines import bfloat16_autocast
from refam.segmenters.sam2_weights import SegmenterError
from video.types import Candidate

_MIN_SCORE = 0.5  # of an instance; the published model's own
_MASK_THRESHOLD = 0.5
_TEXT_LENGTH = 32  # tokens, as Sam3Processor pads


class Sam3Detector:
    """A `ConceptDetector`. One thread at a time.

    Args:
        model: A `Sam3Model`.
        tokenizer: Its tokenizer, CLIP's.
        device: The torch device.
        min_score: The least score of an instance.
    """

    name = "SAM3"

    def __init__(self, model: Any, tokenizer: Any, *, device: str = "cpu", min_score: float = _MIN_SCORE) -> None:
        self._model = model.to(device=device, dtype=torch.float32).eval()
        self._tokenizer, self._device, self._min_score = tokenizer, device, min_score
        self._side = int(model.config.vision_config.image_size)

    @classmethod
    def load(
        cls, name_or_dir: str, *, device: str = "cpu", local_files_only: bool = False, backbone: Any = None
    ) -> Sam3Detector:
        """Load the detector from the layout of facebook/sam3.

        Args:
            name_or_dir: A directory, or a name on the hub.
            device: The torch device.
            local_files_only: Send no request to the hub.
            backbone: The same checkpoint's vision transformer, if it is loaded already: it is held once.

        Raises:
            SegmenterError: If a part of the detector or its tokenizer is missing there.
        """
        with quiet_libraries():
            import transformers

        local: dict[str, Any] = {"local_files_only": local_files_only}
        try:
            with quiet_libraries():
                model, report = transformers.Sam3Model.from_pretrained(
                    name_or_dir, dtype=torch.float32, output_loading_info=True, **local
                )
                tokenizer = transformers.AutoTokenizer.from_pretrained(name_or_dir, **local)
        except Exception as error:  # each library has its own for a broken file, a wrong shape
            raise SegmenterError(describe_load_error(name_or_dir, error, what="SAM3 detector")) from error
        if report["missing_keys"]:
            count = len(report["missing_keys"])
            raise SegmenterError(f"{name_or_dir} is not complete: {count} tensors of SAM3's detector are missing")
        words, known = model.config.text_config.vocab_size, len(tokenizer)
        if known < words:  # transformers makes an empty one where there are no files
            raise SegmenterError(
                f"{name_or_dir} holds no tokenizer for SAM3's detector, which reads {words} pieces of words: it needs "
                f"tokenizer.json and tokenizer_config.json of {SAM3_HUB}"
            )
        if backbone is not None:
            model.vision_encoder.backbone = backbone
        return cls(model, tokenizer, device=device)

    @torch.inference_mode()
    def detect(self, image: NDArray[np.uint8], noun_phrase: str, *, frame: int = 0) -> list[Candidate]:
        """Outline every instance of a noun phrase; see `ConceptDetector.detect`.

        The same as Sam3Processor and its post_process_instance_segmentation, which need torchvision: a score is the
        instance's times that of the phrase being in the image at all.
        """
        text = self._tokenizer(
            noun_phrase, padding="max_length", max_length=_TEXT_LENGTH, truncation=True, return_tensors="pt"
        ).to(self._device)
        pixels = preprocess(image, side=self._side, normalisation=SYMMETRIC).to(self._device)
        with bfloat16_autocast(self._device):
            out = self._model(pixel_values=pixels, input_ids=text.input_ids, attention_mask=text.attention_mask)
        scores = out.pred_logits[0].float().sigmoid() * out.presence_logits[0].float().sigmoid()
        found = []
        for i in scores.argsort(descending=True, stable=True).tolist():
            if scores[i] <= self._min_score:
                break
            soft = out.pred_masks[:, i : i + 1].float().sigmoid()
            soft = F.interpolate(soft, image.shape[:2], mode="bilinear", align_corners=False)[0, 0]
            mask = (soft > _MASK_THRESHOLD).cpu().numpy()
            if mask.any():
                found.append(Candidate(frame, mask, min(1.0, float(scores[i]))))
        return found
