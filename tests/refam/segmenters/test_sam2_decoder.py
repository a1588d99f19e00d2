"""All prompts of an image in one call, against transformers' own forward with each prompt alone."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch

from refam.segmenters.sam2_engines import TorchEngine
from tests.refam.segmenters.small_sam2 import KINDS, SIDE, small_image_model
from video.types import Prompt

GRID = SIDE // 16


def prompts():
    """Every kind that `expand_prompt` makes, with different numbers of tokens."""
    prior = np.zeros((GRID * 4, GRID * 4), np.float32)
    prior[5:20, 8:24] = 1
    one = {"points": np.array([[0.5, 0.25]]), "labels": np.array([1])}
    many = {"points": np.random.default_rng(0).random((9, 2)), "labels": np.array([1, 0, 1, 1, 0, 0, 1, 1, 0])}
    box = (0.25, 0.125, 0.75, 0.625)
    return [
        Prompt(**one),
        Prompt(**many),
        Prompt(box=box),
        Prompt(**one, box=box),
        Prompt(**one, box=box, prior=prior),
        Prompt(**many, prior=prior),
        Prompt(box=box, prior=1 - prior),
        Prompt(prior=prior),
    ]


def forward(model, levels, prompt):
    """What transformers says to one prompt: (3, h, w) logits and (3,) IoU predictions."""
    inputs = {}
    if len(prompt.points):
        inputs["input_points"] = torch.tensor(prompt.points * SIDE, dtype=torch.float32)[None, None]
        inputs["input_labels"] = torch.tensor(prompt.labels, dtype=torch.int32)[None, None]
    if prompt.box is not None:
        inputs["input_boxes"] = torch.tensor(prompt.box)[None, None] * SIDE
    if prompt.prior is not None:
        inputs["input_masks"] = torch.tensor(16 * prompt.prior - 8)[None, None]
    with torch.inference_mode():
        out = model(image_embeddings=levels, multimask_output=True, **inputs)
    return out.pred_masks[0, 0], out.iou_scores[0, 0]


@pytest.fixture(params=KINDS)
def model(request):
    return small_image_model(request.param)


@pytest.fixture
def full_floats(monkeypatch):
    monkeypatch.setattr("refam.segmenters.sam2_engines.bfloat16_autocast", lambda device: contextlib.nullcontext())


@pytest.mark.usefixtures("full_floats")
def test_an_image_is_encoded_as_by_transformers(model):
    pixels = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    position_encoding = model.vision_encoder.neck.position_encoding
    ours, theirs = TorchEngine(model).encode(pixels), model.get_image_embeddings(pixels)
    assert [level.shape[-1] for level in ours] == [4 * GRID, 2 * GRID, GRID]
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
    assert model.vision_encoder.neck.position_encoding is position_encoding


def test_prompts_together_are_decoded_as_by_transformers_one_by_one(model):
    levels = model.get_image_embeddings(torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)))
    decoded = TorchEngine(model).decode(levels, prompts())
    expected = [forward(model, levels, prompt) for prompt in prompts()]
    assert min((a[0] - b[0]).abs().max() for a, b in zip(expected[1:], expected, strict=False)) > 0.1, "all differ"
    for ours, (masks, predicted_ious) in zip(decoded, expected, strict=True):
        torch.testing.assert_close(torch.stack([mask for mask, _ in ours]), masks, atol=1e-3, rtol=1e-3)
        assert [predicted for _, predicted in ours] == pytest.approx(predicted_ious.tolist(), abs=1e-5)


def test_no_prompts_are_no_masks(model):
    levels = model.get_image_embeddings(torch.zeros(1, 3, SIDE, SIDE))
    assert TorchEngine(model).decode(levels, []) == []
