"""SAM2's own video memory (Ravi et al. 2024) as a `Tracker`, over `transformers.Sam2VideoModel`, EdgeTAM's or SAM3's.

transformers' inference session keeps every frame and every output for ever. Here each object has a session of its own,
which is fed frame by frame and pruned to what the model reads: the conditioning frames (those with a given mask) and a
window of the last frames. The image is encoded once for all objects. Frames may come backward in time: the model is
told how many frames ago it saw something, in either direction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from refam.backbones.weights import quiet_libraries
from refam.segmenters.feature_cache import FeatureCache
from refam.segmenters.model_types import MODEL_TYPES, ModelType, describe_incomplete, describe_load_error
from refam.segmenters.sam2 import Sam2Segmenter, open_feature_cache, preprocess
from refam.segmenters.sam2_engines import Sam2Engine, TorchEngine, bfloat16_autocast
from refam.segmenters.sam2_weights import SegmenterError
from video.types import Observation

_UNUSED_OUTPUTS = ("high_res_masks", "pred_masks")  # no later frame reads them
_MEMORY_OUTPUTS = ("maskmem_features", "maskmem_pos_enc")  # only the frames of the shorter window need them


@dataclass(frozen=True)
class _Prediction:
    """The model's output for one object in one frame.

    logits: (h, w) of the mask, on the model's device. presence: the logit of the object being visible. predicted_iou:
    the model's IoU prediction.
    """

    logits: torch.Tensor
    presence: float
    predicted_iou: float


class Sam2VideoTracker:
    """A `Tracker` with SAM2's memory. Its memory does not grow with the number of frames. One thread at a time.

    Args:
        model: A video model of `MODEL_TYPES`.
        device: The torch device.
        max_prompts: Conditioning frames kept per object: the first one, and the last ones.

    Attributes:
        name: "sam2-video" or "sam3-video".
    """

    def __init__(self, model: Any, *, device: str = "cpu", max_prompts: int = 8) -> None:
        if max_prompts < 1:
            raise ValueError(f"max_prompts must be at least 1, got {max_prompts}")
        self._model, self._device, self._max_prompts = model, device, max_prompts
        self._side = int(model.config.image_size)
        kind = _require_video(model)
        self.name = kind.tracker
        self._normalisation = kind.normalisation
        self._session_class = _class_of(kind.session)
        self._sessions: dict[int, Any] = {}
        self._frame_cache: Any = None  # the encoded frame, shared by all sessions
        self._pixels: torch.Tensor | None = None
        self._size = (0, 0)
        self._frame = -1

    def step(self, image: NDArray[np.uint8]) -> dict[int, Observation]:
        """Track into the next frame; see `Tracker.step`. Raises ValueError for a frame of another size."""
        size = (image.shape[1], image.shape[0])
        if self._pixels is not None and size != self._size:
            raise ValueError(f"frames must keep their size: {self._size[0]}x{self._size[1]}, then {size[0]}x{size[1]}")
        self._size = size
        pixels = preprocess(image, side=self._side, normalisation=self._normalisation)
        self._pixels = pixels.to(self._device)
        self._frame += 1
        predictions = {object_id: self._predict(session) for object_id, session in self._sessions.items()}
        return self._observe(predictions)

    def start(self, object_id: int, mask: NDArray[np.bool_]) -> Observation:
        """Start or correct an object; see `Tracker.start`.

        Raises:
            ValueError: Before the first frame, for a mask of another size, and for an empty one.
        """
        if self._pixels is None:
            raise ValueError("step() must take a frame before start()")
        if (mask.shape[1], mask.shape[0]) != self._size:
            raise ValueError(f"mask must have the frame's size {self._size}, got {mask.shape[1]}x{mask.shape[0]}")
        if not mask.any():
            raise ValueError("a track cannot start from an empty mask")
        session = self._sessions.setdefault(object_id, self._make_session())
        # A frame that was tracked already would not be kept as a conditioning one.
        session.output_dict_per_obj[0]["non_cond_frame_outputs"].pop(self._frame, None)
        session.frames_tracked_per_obj[0].pop(self._frame, None)
        session.add_mask_inputs(0, self._frame, _to_square(mask, self._side))
        session.obj_with_new_inputs = [0]
        self._predict(session)
        return Observation(mask.copy(), 1.0, True)

    def _make_session(self) -> Any:
        devices = dict.fromkeys(("inference_device", "inference_state_device", "video_storage_device"), self._device)
        session = self._session_class(dtype=torch.float32, **devices)
        session.obj_id_to_idx(0)
        if self._frame_cache is None:
            self._frame_cache = session.cache
        session.cache = self._frame_cache
        return session

    def _predict(self, session: Any) -> _Prediction:
        with (
            torch.inference_mode(),
            bfloat16_autocast(self._device),
            _collect_iou_predictions(self._model.mask_decoder) as collected,
        ):
            out = self._model(inference_session=session, frame=self._pixels, frame_idx=self._frame)
        self._prune(session)
        logits = out.pred_masks.float().reshape(-1, *out.pred_masks.shape[-2:])[0]
        # Of several masks the model takes the one with the highest IoU prediction.
        return _Prediction(logits, float(out.object_score_logits.float().max()), float(collected[-1].float().max()))

    def _prune(self, session: Any) -> None:
        """Delete all outputs that no later frame reads."""
        config = self._model.config
        outputs = session.output_dict_per_obj[0]
        recent, prompted = outputs["non_cond_frame_outputs"], outputs["cond_frame_outputs"]
        for frame in list(recent):
            ago = self._frame + 1 - frame  # seen from the next frame
            if ago >= max(config.num_maskmem, config.max_object_pointers_in_encoder):
                del recent[frame]
            else:
                _drop(recent[frame], _UNUSED_OUTPUTS + (_MEMORY_OUTPUTS if ago >= config.num_maskmem else ()))
        for frame in sorted(prompted)[1:][: max(0, len(prompted) - self._max_prompts)]:
            del prompted[frame]
        for output in prompted.values():
            _drop(output, _UNUSED_OUTPUTS)
        session.mask_inputs_per_obj[0].clear()
        session.processed_frames = {}
        session.frames_tracked_per_obj[0] = {self._frame: session.frames_tracked_per_obj[0].get(self._frame)}

    def _observe(self, predictions: dict[int, _Prediction]) -> dict[int, Observation]:
        """Return masks at the frame's own size; a pixel belongs to the object with the highest logit."""
        if not predictions:
            return {}
        logits = torch.stack([prediction.logits for prediction in predictions.values()])[:, None]
        logits = F.interpolate(logits, self._size[::-1], mode="bilinear", align_corners=False)[:, 0]
        owner = logits.argmax(0)
        masks = [((logits[i] > 0) & (owner == i)).cpu().numpy() for i in range(len(predictions))]
        observed = {}
        for (object_id, prediction), mask in zip(predictions.items(), masks, strict=True):
            visible = prediction.presence > 0 and bool(mask.any())
            presence = float(torch.sigmoid(torch.tensor(prediction.presence)))
            score = presence * float(np.clip(prediction.predicted_iou, 0, 1))
            observed[object_id] = Observation(mask if visible else np.zeros_like(mask), score, visible)
        return observed


class Sam2VideoSegmenter(Sam2Segmenter):
    """A `Sam2Segmenter` that tracks with SAM2's video memory: a `TrackerSource`.

    Args:
        engine: What computes the image part.
        model: The video model.
        name: What the model version calls it.
        device: The video model's torch device.
        features: Where the image part's features are cached on disk.
    """

    def __init__(
        self,
        engine: Sam2Engine,
        model: Any,
        *,
        name: str,
        device: str = "cpu",
        features: FeatureCache | None = None,
    ) -> None:
        super().__init__(engine, name=name, features=features)
        self._model, self._device = model, device

    @classmethod
    def load(
        cls,
        name_or_dir: str,
        *,
        device: str = "auto",
        cache: Path | None = None,
        cache_mb: float = 2000,
        local_files_only: bool = False,
    ) -> Sam2VideoSegmenter:
        """Load a video model.

        Args:
            name_or_dir: A directory, or a name on the hub.
            device: "auto", or a torch device.
            cache: A directory for features; see `open_feature_cache`.
            cache_mb: What it may hold.
            local_files_only: Send no request to the hub.

        Raises:
            SegmenterError: If there is no complete video model there.
        """
        with quiet_libraries():
            import transformers

        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            local: dict[str, Any] = {"local_files_only": local_files_only}
            model_type = transformers.AutoConfig.from_pretrained(name_or_dir, **local).model_type
            kind = MODEL_TYPES.get(model_type)
            if kind is None or kind.video is None:
                raise SegmenterError(
                    f"{name_or_dir} holds a {model_type!r} model, without SAM2's video memory: "
                    "say the tracker memory or flow"
                )
            video_class, image_class = _class_of(kind.video), _class_of(kind.image)
            with quiet_libraries():
                model, report = video_class.from_pretrained(
                    name_or_dir, dtype=torch.float32, output_loading_info=True, **local
                )
                image_model = model
                if image_class is not video_class:
                    image_model = image_class.from_pretrained(name_or_dir, dtype=torch.float32, **local)
        except SegmenterError:
            raise
        except Exception as error:  # each library has its own for a broken file, a wrong shape, a missing package
            raise SegmenterError(describe_load_error(name_or_dir, error)) from error
        if (count := len(report["missing_keys"])) and image_model is model:  # which no other tracker can do without
            raise SegmenterError(describe_incomplete(name_or_dir, count))
        if count:
            raise SegmenterError(
                f"{name_or_dir} holds SAM2's image part alone, {count} tensors of its video memory are missing: say "
                "the tracker memory or flow"
            )
        model = model.to(device).eval()
        image_model.vision_encoder = model.vision_encoder  # one copy in memory
        return cls(
            TorchEngine(image_model, device=device),
            model,
            name=Path(name_or_dir).expanduser().name or name_or_dir,
            device=device,
            features=open_feature_cache(name_or_dir, cache, cache_mb),
        )

    @property
    def tracker_name(self) -> str:
        """The name of every tracker it makes."""
        return _require_video(self._model).tracker

    def make_tracker(self) -> Sam2VideoTracker:
        """Return a new tracker, which has seen no frame."""
        return Sam2VideoTracker(self._model, device=self._device)


def _require_video(model: Any) -> ModelType:
    """Return the type of a model with a video memory; raises ValueError for another one."""
    kind = MODEL_TYPES.get(model.config.model_type)
    if kind is None or kind.session is None:
        known = ", ".join(name for name, one in MODEL_TYPES.items() if one.session is not None)
        raise ValueError(f"{model.config.model_type!r} is no model with SAM2's video memory: give one of {known}")
    return kind


def _class_of(name: str | None) -> Any:
    """Return one of transformers' classes."""
    with quiet_libraries():
        import transformers

    return getattr(transformers, str(name))


@contextmanager
def _collect_iou_predictions(decoder: torch.nn.Module) -> Iterator[list[torch.Tensor]]:
    """Collect the IoU predictions of the mask decoder: the video model's output leaves them out."""
    predictions: list[torch.Tensor] = []
    handle = decoder.register_forward_hook(lambda module, inputs, output: predictions.append(output[1]))
    try:
        yield predictions
    finally:
        handle.remove()


def _drop(output: dict[str, Any], keys: tuple[str, ...]) -> None:
    for key in keys:
        output.pop(key, None)


def _to_square(mask: NDArray[np.bool_], side: int) -> torch.Tensor:
    """Return a mask, (H, W) bool, as (1, 1, side, side) float32 of 0 and 1, the same as Sam2VideoProcessor."""
    soft = torch.from_numpy(np.ascontiguousarray(mask)).float()[None, None]
    soft = F.interpolate(soft, (side, side), mode="bilinear", align_corners=False, antialias=True)
    hard = soft >= 0.5
    return (hard if hard.any() else soft >= soft.max()).float()  # keeps what is thinner than a pixel of the square
