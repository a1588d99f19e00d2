"""SAM3 from one folder, as facebook/sam3 has it, against transformers' own model. Small random models."""

from __future__ import annotations

import contextlib
import json
import shutil

import cv2
import numpy as np
import pytest
import scipy.special
import torch
from transformers import Sam3TrackerConfig, Sam3TrackerModel

from refam.backbones.weights import quiet_libraries
from refam.segmenters.concepts import concepts_of
from refam.segmenters.load import SegmenterError, choose_segmenter, load_segmenter
from refam.segmenters.sam2 import preprocess, resize_logits
from refam.segmenters.sam2_engines import TorchEngine
from refam.segmenters.sam3 import Sam3Detector
from tests.refam.segmenters.small_sam2 import SIDE, pixels_of, randomise, sam3_tracker_part, small_clip, small_mask
from tests.refam.segmenters.small_sam3 import save_small_sam3, small_tokenizer
from video.tracking.propagate import tracker_for, tracker_name
from video.types import Prompt

IMAGE = small_clip(1)[0]
SQUARE = small_clip(1, size=(130, 130))[0][:SIDE, :SIDE]  # as large as the model's input, so that nothing is resized
CLICK = Prompt(points=np.array([[0.4, 0.5]]), labels=np.array([1]))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder in the layout of facebook/sam3, and the model that is in it."""
    folder = tmp_path_factory.mktemp("weights") / "small-sam3"
    with quiet_libraries():
        return folder, save_small_sam3(folder)


@pytest.fixture(autouse=True)
def full_floats(monkeypatch):
    for module in ("sam2_engines", "sam2_video", "sam3"):
        monkeypatch.setattr(f"refam.segmenters.{module}.bfloat16_autocast", lambda device: contextlib.nullcontext())


@torch.inference_mode()
def instances(model, phrase):
    """Scores and masks, by hand, of what transformers' own detector says of the image."""
    tokens = small_tokenizer()(phrase, padding="max_length", max_length=32, return_tensors="pt")
    pixels = torch.tensor(SQUARE / 127.5 - 1, dtype=torch.float32).permute(2, 0, 1)[None]
    out = model.detector_model(pixel_values=pixels, **tokens)
    scores = scipy.special.expit(out.presence_logits[0].numpy()) * scipy.special.expit(out.pred_logits[0].numpy())
    soft = scipy.special.expit(out.pred_masks[0].numpy())
    masks = [cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) > 0.5 for one in soft]
    return scores, masks


def test_instances_of_a_phrase_are_those_of_transformers(saved):
    folder, model = saved
    detector = Sam3Detector.load(str(folder))
    scores, masks = instances(model, "brown dog")
    assert len({mask.tobytes() for mask in masks}) > 6, "masks that are all alike would prove nothing"
    other, _ = instances(model, "red cup")
    assert abs(other - scores).max() > 1e-4, "nor would a model that reads no text"
    found = Sam3Detector(detector._model, small_tokenizer(), min_score=float(np.median(scores))).detect(
        SQUARE, "brown dog", frame=7
    )
    expected = [i for i in np.argsort(-scores) if scores[i] > np.median(scores) and masks[i].any()]
    assert 3 <= len(expected) < len(scores)
    assert [one.score for one in found] == pytest.approx([scores[i] for i in expected], abs=1e-4)
    for one, i in zip(found, expected, strict=True):
        assert one.frame == 7
        assert (one.mask != masks[i]).mean() < 1e-3
    assert detector.detect(SQUARE, "brown dog") == [], "none of them is surer than 0.5"


@pytest.mark.parametrize(("tracker", "name"), [("sam3-video", "sam3-video"), ("flow", "dis-flow")])
def test_one_folder_gives_masks_tracker_and_concepts(saved, tracker, name):
    folder, model = saved
    segmenter = load_segmenter(str(folder), device="cpu", tracker=tracker)
    assert tracker_name(segmenter) == name
    detector = concepts_of(segmenter)
    engine = getattr(segmenter, "segmenter", segmenter).engine
    assert detector._model.vision_encoder.backbone is engine.model.vision_encoder.backbone, "held once"
    assert detector._model.vision_encoder.neck is not engine.model.vision_encoder.neck, "each has its own"
    for ours, theirs in (
        (detector._model.state_dict(), model.detector_model.state_dict()),
        (engine.model.vision_encoder.neck.state_dict(), model.tracker_neck.state_dict()),
        (engine.model.mask_decoder.state_dict(), model.tracker_model.mask_decoder.state_dict()),
    ):
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert segmenter.segment(IMAGE, CLICK)[0].mask.shape == IMAGE.shape[:2]
    tracker = tracker_for(segmenter)
    assert tracker.name == name
    tracker.step(IMAGE)
    tracker.start(4, small_mask())
    assert tracker.step(small_clip(2)[1])[4].mask.shape == small_mask().shape


@pytest.mark.parametrize(
    ("tracker", "gpu", "name"),
    [
        ("auto", False, "memory"),
        ("auto", True, "sam3-video"),
        ("memory", True, "memory"),
        ("flow", True, "dis-flow"),
        ("sam3-video", False, "sam3-video"),
    ],
)
def test_sam3_video_is_the_default_on_a_gpu(saved, monkeypatch, tracker, gpu, name):
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    assert choose_segmenter(str(saved[0]), tracker=tracker).version == f"small-sam3/{name}"


@torch.inference_mode()
def test_a_click_gives_the_first_masks_of_the_whole_models_own_tracker(saved):
    """An independent way to the same logits: `Sam3VideoModel` encodes with the detector's backbone and its own neck."""
    folder, model = saved
    engine = TorchEngine.load(str(folder), device="cpu")
    pixels = preprocess(IMAGE, side=SIDE, normalisation=engine.normalisation)
    vision = model.detector_model.get_vision_features(pixels)
    levels, _ = model.get_vision_features_for_tracker(vision)
    tracker = model.tracker_model
    sizes = [(side, side) for side in (SIDE // 4, SIDE // 8, SIDE // 16)]
    maps = [level.permute(1, 2, 0).unflatten(2, size) for level, size in zip(levels, sizes, strict=True)]
    maps[-1] = maps[-1] + tracker.no_memory_embedding.view(1, -1, 1, 1)
    sparse, dense = tracker.prompt_encoder(
        input_points=torch.tensor([[[[0.4 * SIDE, 0.5 * SIDE]]]]),
        input_labels=torch.ones(1, 1, 1, dtype=torch.int32),
        input_boxes=None,
        input_masks=None,
    )
    expected, ious, _, _ = tracker.mask_decoder(
        image_embeddings=maps[-1],
        image_positional_embeddings=tracker.get_image_wide_positional_embeddings(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
        high_resolution_features=maps[:-1],
    )
    found = engine.decode(engine.encode(pixels), [CLICK])[0]
    torch.testing.assert_close(torch.stack([logits for logits, _ in found]), expected[0, 0], atol=2e-3, rtol=1e-3)
    assert [iou for _, iou in found] == pytest.approx(ious[0, 0].tolist(), abs=1e-4)
    areas = [(resize_logits(logits, (80, 60)) > 0).mean() for logits, _ in found]
    assert any(0.05 < area < 0.95 for area in areas), "masks of nothing or all would prove nothing"


def test_the_constant_for_no_memory_is_on_the_level_that_is_decoded(tmp_path):
    """As in SAM2 and in SAM3's tracker for videos. With a fourth level transformers 5.24 adds it to that one."""
    torch.manual_seed(0)
    model = randomise(Sam3TrackerModel(Sam3TrackerConfig(**sam3_tracker_part())))
    torch.nn.init.normal_(model.no_memory_embedding)
    model.save_pretrained(tmp_path)
    pixels = pixels_of(model, IMAGE)
    with torch.inference_mode():
        plain = model.vision_encoder(pixels).fpn_hidden_states[2]
    levels = TorchEngine.load(str(tmp_path), device="cpu").encode(pixels)
    torch.testing.assert_close(levels[-1], plain + model.no_memory_embedding.view(1, -1, 1, 1), atol=1e-4, rtol=1e-4)


# --- what cannot be loaded -------------------------------------------------------------------------------------------


def test_each_memory_goes_with_its_own_weights(saved):
    with pytest.raises(SegmenterError, match="small-sam3 has another tracker than sam2-video: say auto or sam3-video"):
        load_segmenter(str(saved[0]), device="cpu", tracker="sam2-video")


def test_the_tokenizer_must_be_in_the_folder(saved, tmp_path):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(saved[0] / name, tmp_path)
    with pytest.raises(SegmenterError, match=r"holds no tokenizer for SAM3's detector, .* it needs tokenizer\.json"):
        load_segmenter(str(tmp_path), device="cpu")


@pytest.mark.parametrize(
    ("missing", "tracker", "part"),
    [
        ("detector_model.mask_decoder", "memory", "SAM3's detector"),
        ("memory_encoder", "sam3-video", "its model"),
        ("memory_encoder", "memory", "its model"),
    ],
)
def test_weights_that_are_not_complete_are_refused(saved, tmp_path, missing, tracker, part):
    folder, model = saved
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    with quiet_libraries():
        model.save_pretrained(tmp_path, state_dict={k: v for k, v in model.state_dict().items() if missing not in k})
    with pytest.raises(SegmenterError, match=rf"not complete: \d+ tensors of {part} are missing"):
        load_segmenter(str(tmp_path), device="cpu", tracker=tracker)


def _change_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def _add_query(folder):
    detector = json.loads((folder / "config.json").read_text())["detector_config"]
    detector["detr_decoder_config"]["num_queries"] += 1
    _change_config(folder, detector_config=detector)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda d: (d / "config.json").write_text("[]"), "no SAM2 or SAM3 model at .*model_type"),
        (lambda d: _change_config(d, model_type=["sam3_video"]), "damaged or do not match"),
        (lambda d: _change_config(d, detector_config=[1]), "damaged or do not match"),
        (lambda d: (d / "model.safetensors").write_bytes(b"\0" * 100), "damaged or do not match"),
        (_add_query, "damaged or do not match"),
        (lambda d: (d / "tokenizer_config.json").write_text("[]"), "no SAM3 detector can be loaded from .* damaged"),
    ],
    ids=["config is a list", "type is a list", "part is a list", "weights", "shapes", "tokenizer"],
)
@pytest.mark.parametrize("tracker", ["memory", "sam3-video"])
def test_a_damaged_folder_is_refused_in_one_sentence(saved, tmp_path, damage, reason, tracker):
    shutil.copytree(saved[0], tmp_path, dirs_exist_ok=True)
    damage(tmp_path)
    with pytest.raises(SegmenterError, match=reason) as refusal:
        load_segmenter(str(tmp_path), device="cpu", tracker=tracker)
    assert "\n" not in str(refusal.value)


ACCESS = r"accept Meta's SAM License at https://huggingface.co/facebook/sam3; .*hf download facebook/sam3 --local-dir"


@pytest.mark.parametrize("named", ["sam3", "SAM3", "facebook/sam3"])
@pytest.mark.parametrize("offline", [True, False])
def test_how_to_get_the_weights_is_said(monkeypatch, tmp_path, named, offline):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def refuse(*_, **__):
        raise OSError("You are trying to access a gated repo.\nMake sure to have access to it.")

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", refuse)
    with pytest.raises(SegmenterError, match=ACCESS):
        load_segmenter(named, device="cpu", offline=offline)


def test_the_detector_alone_draws_no_masks(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "sam3"}))
    with pytest.raises(SegmenterError, match=f"holds SAM3's detector alone, which takes no points: .*{ACCESS}"):
        load_segmenter(str(tmp_path), device="cpu")
