"""SAM2's own video memory (Ravi et al. 2024) as a `Tracker`, over `transformers.Sam2VideoModel` or EdgeTAM's.

transformers' inference session keeps every frame and every output for ever. Here each object has a session of its own,
fed frame by frame and pruned to what the model reads: the conditioning frames (those on which somebody said where the
object is) and a window of the last frames. The image is encoded once for all objects. Time may run backward: what the
model is told is how many frames ago something was seen, whichever way it goes.
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
from refam.segmenters.feature_cache import FeatureStore
from refam.segmenters.sam2 import Sam2Segmenter, preprocess, store_of
from refam.segmenters.sam2_engines import Sam2Engine, TorchEngine, short_floats
from refam.segmenters.sam2_weights import SegmenterError, first_line
from video.types import Observation

# Of each kind of checkpoint: the video model, its session, and the model of the image part alone.
_CLASSES = {
    "sam2_video": ("Sam2VideoModel", "Sam2VideoInferenceSession", "Sam2Model"),
    "edgetam_video": ("EdgeTamVideoModel", "EdgeTamVideoInferenceSession", "EdgeTamModel"),
}
_READ_ONCE = ("high_res_masks", "pred_masks")  # outputs that no later frame reads
_MEMORY = ("maskmem_features", "maskmem_pos_enc")  # those that only the frames of the shorter window need


@dataclass(frozen=True)
class _Answer:
    """What the model says of one object in one frame. logits: (h, w), on its device."""

    logits: torch.Tensor
    presence: float
    guess: float


class Sam2VideoTracker:
    """`Tracker` by SAM2's memory. What it holds does not grow with the number of frames. One thread at a time.

    most_prompts: conditioning frames kept per object: the first, and the last ones.
    """

    name = "sam2-video"

    def __init__(self, model: Any, *, device: str = "cpu", most_prompts: int = 8) -> None:
        if most_prompts < 1:
            raise ValueError(f"most_prompts must be at least 1, got {most_prompts}")
        self._model, self._device, self._most_prompts = model, device, most_prompts
        self._side = int(model.config.image_size)
        self._new_session = _session_class(model)
        self._sessions: dict[int, Any] = {}
        self._features: Any = None  # the cache of the encoded frame, one for all sessions
        self._pixels: torch.Tensor | None = None
        self._size = (0, 0)
        self._frame = -1

    def step(self, image: NDArray[np.uint8]) -> dict[int, Observation]:
        """See `Tracker.step`. Raises ValueError when a frame has another size than the one before."""
        size = (image.shape[1], image.shape[0])
        if self._pixels is not None and size != self._size:
            raise ValueError(f"frames must keep their size: {self._size[0]}x{self._size[1]}, then {size[0]}x{size[1]}")
        self._size = size
        self._pixels = preprocess(image, side=self._side).to(self._device)
        self._frame += 1
        answers = {object_id: self._ask(session) for object_id, session in self._sessions.items()}
        return self._observe(answers)

    def start(self, object_id: int, mask: NDArray[np.bool_]) -> Observation:
        """See `Tracker.start`. Raises ValueError before the first frame, on another size, and on an empty mask."""
        if self._pixels is None:
            raise ValueError("step() must take a frame before start()")
        if (mask.shape[1], mask.shape[0]) != self._size:
            raise ValueError(f"mask must have the frame's size {self._size}, got {mask.shape[1]}x{mask.shape[0]}")
        if not mask.any():
            raise ValueError("a track cannot start from an empty mask")
        session = self._sessions.setdefault(object_id, self._session())
        # A frame that was tracked already would not be kept as a conditioning one.
        session.output_dict_per_obj[0]["non_cond_frame_outputs"].pop(self._frame, None)
        session.frames_tracked_per_obj[0].pop(self._frame, None)
        session.add_mask_inputs(0, self._frame, _square(mask, self._side))
        session.obj_with_new_inputs = [0]
        self._ask(session)
        return Observation(mask.copy(), 1.0, True)

    def _session(self) -> Any:
        places = dict.fromkeys(("inference_device", "inference_state_device", "video_storage_device"), self._device)
        session = self._new_session(dtype=torch.float32, **places)
        session.obj_id_to_idx(0)
        if self._features is None:
            self._features = session.cache
        session.cache = self._features
        return session

    def _ask(self, session: Any) -> _Answer:
        with torch.inference_mode(), short_floats(self._device), _heard(self._model.mask_decoder) as heard:
            out = self._model(inference_session=session, frame=self._pixels, frame_idx=self._frame)
        self._prune(session)
        logits = out.pred_masks.float().reshape(-1, *out.pred_masks.shape[-2:])[0]
        # Of several masks the model takes the one whose IoU it guesses highest.
        return _Answer(logits, float(out.object_score_logits.float().max()), float(heard[-1].float().max()))

    def _prune(self, session: Any) -> None:
        """Lets go of all that no later frame reads."""
        config = self._model.config
        outputs = session.output_dict_per_obj[0]
        recent, prompted = outputs["non_cond_frame_outputs"], outputs["cond_frame_outputs"]
        for frame in list(recent):
            ago = self._frame + 1 - frame  # when the next frame is looked at
            if ago >= max(config.num_maskmem, config.max_object_pointers_in_encoder):
                del recent[frame]
            else:
                _drop(recent[frame], _READ_ONCE + (_MEMORY if ago >= config.num_maskmem else ()))
        for frame in sorted(prompted)[1:][: max(0, len(prompted) - self._most_prompts)]:
            del prompted[frame]
        for output in prompted.values():
            _drop(output, _READ_ONCE)
        session.mask_inputs_per_obj[0].clear()
        session.processed_frames = {}
        session.frames_tracked_per_obj[0] = {self._frame: session.frames_tracked_per_obj[0].get(self._frame)}

    def _observe(self, answers: dict[int, _Answer]) -> dict[int, Observation]:
        if not answers:
            return {}
        # At the frame's own size; of several objects the surest has a pixel.
        logits = torch.stack([answer.logits for answer in answers.values()])[:, None]
        logits = F.interpolate(logits, self._size[::-1], mode="bilinear", align_corners=False)[:, 0]
        owner = logits.argmax(0)
        masks = [((logits[i] > 0) & (owner == i)).cpu().numpy() for i in range(len(answers))]
        observed = {}
        for (object_id, answer), mask in zip(answers.items(), masks, strict=True):
            seen = answer.presence > 0 and bool(mask.any())
            score = float(torch.sigmoid(torch.tensor(answer.presence))) * float(np.clip(answer.guess, 0, 1))
            observed[object_id] = Observation(mask if seen else np.zeros_like(mask), score, seen)
        return observed


class Sam2VideoSegmenter(Sam2Segmenter):
    """A `Sam2Segmenter` that follows masks by its own memory: a `TrackerSource`."""

    def __init__(
        self,
        engine: Sam2Engine,
        model: Any,
        *,
        name: str,
        device: str = "cpu",
        features: FeatureStore | None = None,
    ) -> None:
        super().__init__(engine, name=name, features=features)
        self._model, self._device = model, device

    @classmethod
    def load(
        cls, name_or_dir: str, *, device: str = "auto", cache: Path | None = None, cache_mb: float = 2000
    ) -> Sam2VideoSegmenter:
        """From a directory or a hub id. Raises SegmenterError where there is no whole video model."""
        with quiet_libraries():
            import transformers

        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            kind = transformers.AutoConfig.from_pretrained(name_or_dir).model_type
            if kind not in _CLASSES:
                raise SegmenterError(
                    f"{name_or_dir} holds a {kind!r} model, without SAM2's video memory: say the tracker memory or flow"
                )
            video, _, image = (getattr(transformers, name) for name in _CLASSES[kind])
            with quiet_libraries():
                model, report = video.from_pretrained(name_or_dir, dtype=torch.float32, output_loading_info=True)
                part = image.from_pretrained(name_or_dir, dtype=torch.float32)
        except SegmenterError:
            raise
        except (OSError, ValueError, ImportError) as error:  # ImportError: EdgeTAM's backbone needs timm
            raise SegmenterError(f"no SAM2 video model at {name_or_dir}: {first_line(error)}") from error
        if report["missing_keys"]:
            raise SegmenterError(
                f"{name_or_dir} holds SAM2's image part alone, {len(report['missing_keys'])} tensors of its video "
                "memory are missing: say the tracker memory or flow"
            )
        model = model.to(device).eval()
        part.vision_encoder = model.vision_encoder  # once in memory
        return cls(
            TorchEngine(part, device=device),
            model,
            name=Path(name_or_dir).expanduser().name or name_or_dir,
            device=device,
            features=store_of(name_or_dir, cache, cache_mb),
        )

    @property
    def tracker_name(self) -> str:
        """See `TrackerSource`."""
        return Sam2VideoTracker.name

    def make_tracker(self) -> Sam2VideoTracker:
        """See `TrackerSource`."""
        return Sam2VideoTracker(self._model, device=self._device)


def _session_class(model: Any) -> Any:
    with quiet_libraries():
        import transformers

    kind = model.config.model_type
    if kind not in _CLASSES:
        raise ValueError(f"{kind!r} is no model with SAM2's video memory: give one of {', '.join(_CLASSES)}")
    return getattr(transformers, _CLASSES[kind][1])


@contextmanager
def _heard(decoder: torch.nn.Module) -> Iterator[list[torch.Tensor]]:
    """Collects the guesses of IoU that the mask decoder makes: the video model's output leaves them out."""
    guesses: list[torch.Tensor] = []
    handle = decoder.register_forward_hook(lambda module, inputs, output: guesses.append(output[1]))
    try:
        yield guesses
    finally:
        handle.remove()


def _drop(output: dict[str, Any], keys: tuple[str, ...]) -> None:
    for key in keys:
        output.pop(key, None)


def _square(mask: NDArray[np.bool_], side: int) -> torch.Tensor:
    """(H, W) bool -> (1, 1, side, side) float32 of 0 and 1, as Sam2VideoProcessor does it."""
    soft = torch.from_numpy(np.ascontiguousarray(mask)).float()[None, None]
    soft = F.interpolate(soft, (side, side), mode="bilinear", align_corners=False, antialias=True)
    hard = soft >= 0.5
    return (hard if hard.any() else soft >= soft.max()).float()  # what is thinner than a pixel there is not lost
