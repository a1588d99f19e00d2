import contextlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from refam.segmenters.grabcut import color_purity, edge_contrast, is_mask
from refam.segmenters.load import GrabCutSegmenter, SegmenterError, load_segmenter
from refam.segmenters.model_types import IMAGENET, SYMMETRIC
from refam.segmenters.prompts import soft_dice
from refam.segmenters.sam2 import Sam2Segmenter, open_feature_cache, preprocess, resize_logits
from refam.tiny.scenes import draw_clip
from video import masks
from video.types import Prompt

SHARED = Path(__file__).parents[3].parent / "shared"
WEIGHTS = SHARED / "weights" / "sam2-hiera-tiny-image"
DAVIS = SHARED / "data" / "davis-dev"
SIZE = (320, 180)


def coarse_heatmap(mask, *, seed=0, noise=0.08, grid=(28, 16)):
    """What a grounder gives for this mask: coarse, blurred, noisy, with its maximum 1."""
    rng = np.random.default_rng(seed)
    out = cv2.GaussianBlur(masks.resize_map(mask, grid), (0, 0), 0.8)
    out = np.clip(out / out.max() + rng.normal(0, noise, out.shape), 0, None)
    return (out / out.max()).astype(np.float32)


def prompts_for(mask):
    point = masks.deepest_point(mask)
    return {
        "heatmap": Prompt(prior=coarse_heatmap(mask)),
        "box": Prompt(box=masks.box_of(mask)),
        "point": Prompt(points=np.array([point]), labels=np.array([1])),
        "mask": Prompt(prior=np.roll(mask, 3, axis=1).astype(np.float32)),
    }


def scenes(n):
    for seed in range(n):
        clip = draw_clip(seed, size=SIZE, n_frames=1, count=3)
        for k in range(3):
            if clip.masks[k, 0].sum() > 130:
                yield clip.frames[0], clip.masks[k, 0]


@pytest.mark.parametrize(
    ("kind", "mean", "n"),
    [("heatmap", 0.9, 6), ("box", 0.92, 6), ("point", 0.8, 3), ("mask", 0.92, 6)],  # a point is cut in several sizes
)
def test_grabcut_on_drawn_scenes(kind, mean, n):
    segmenter = GrabCutSegmenter()
    scores = []
    for image, truth in scenes(n):
        found = segmenter.segment(image, prompts_for(truth)[kind], frame=7)
        assert [c.score for c in found] == sorted((c.score for c in found), reverse=True)
        assert all(c.frame == 7 and c.mask.shape == truth.shape for c in found)
        scores.append(masks.iou(found[0].mask, truth) if found else 0.0)
    assert np.mean(scores) > mean


def test_grabcut_opens_the_hole_of_a_ring():
    y, x = np.mgrid[0:200, 0:300]
    r = np.hypot(x - 140, y - 100)
    ring = (r < 50) & (r > 25)
    image = np.where(ring[..., None], np.uint8([240, 220, 40]), np.uint8([110, 120, 115])).astype(np.uint8)
    assert color_purity(image, ring) > 0.99 > 0.8 > color_purity(image, ring | (r < 30))
    for prompt in (Prompt(box=masks.box_of(ring)), Prompt(prior=coarse_heatmap(ring))):
        assert masks.iou(GrabCutSegmenter().segment(image, prompt)[0].mask, ring) > 0.9


def test_grabcut_keeps_to_points_and_box():
    """Nothing outside the box; points on the object inside the mask, points off it outside."""
    image, truth = next(iter(scenes(1)))
    box = masks.box_of(truth)
    half = (box[0], box[1], (box[0] + box[2]) / 2, box[3])
    for found in GrabCutSegmenter().segment(image, Prompt(box=half)):
        assert not (found.mask & ~masks.box_mask(masks.pad_box(half, 0.02, least=0.01), SIZE)).any()
    on, off = masks.deepest_point(truth), (0.99, 0.01)
    prompt = Prompt(points=np.array([on, off]), labels=np.array([1, 0]))
    best = GrabCutSegmenter().segment(image, prompt)[0].mask
    assert best[int(on[1] * SIZE[1]), int(on[0] * SIZE[0])]
    assert not best[int(off[1] * SIZE[1]), int(off[0] * SIZE[0])]


def test_grabcut_is_deterministic():
    image, truth = next(iter(scenes(1)))
    a, b = (GrabCutSegmenter().segment(image, prompts_for(truth)["heatmap"]) for _ in range(2))
    assert [c.score for c in a] == [c.score for c in b]
    np.testing.assert_array_equal(a[0].mask, b[0].mask)


def test_nothing_to_find():
    image = np.full((90, 160, 3), 127, np.uint8)
    assert GrabCutSegmenter().segment(image, Prompt(prior=np.zeros((9, 16), np.float32))) == []
    with pytest.raises(ValueError, match="RGB"):
        GrabCutSegmenter().segment(image[..., 0], Prompt(box=(0.1, 0.1, 0.5, 0.5)))


def test_is_mask_separates_warped_masks_from_heatmaps():
    _, truth = next(iter(scenes(1)))
    assert is_mask(truth.astype(np.float32))
    assert not is_mask(coarse_heatmap(truth))
    assert not is_mask(np.zeros((4, 4), np.float32))


def test_edge_contrast_prefers_the_true_mask():
    for image, truth in scenes(2):
        wrong = np.roll(truth, 15, axis=1)
        assert edge_contrast(image, truth) > edge_contrast(image, wrong) + 0.1


# --- SAM2 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalisation", [IMAGENET, SYMMETRIC])
def test_preprocessing_against_pillow(normalisation):
    """Sam2ImageProcessor resizes with antialiased bilinear on bytes, as Pillow does, to one level."""
    mean, std = map(np.array, normalisation)
    image = np.random.default_rng(0).integers(0, 256, (270, 480, 3), np.uint8)
    for picture in (image, cv2.GaussianBlur(image, (0, 0), 3)):
        ours = preprocess(picture, side=128, normalisation=normalisation)[0]
        small = Image.fromarray(picture).resize((128, 128), Image.Resampling.BILINEAR)
        theirs = np.asarray(small, np.float32) / 255
        levels = (ours.permute(1, 2, 0).numpy() * std + mean - theirs) * 255
        assert np.abs(levels).max() < 1.01
        assert np.abs(levels).mean() < 0.02


def test_preprocessing_against_the_processor_itself():
    pytest.importorskip("torchvision", reason="Sam2ImageProcessor needs torchvision, which this project leaves out")
    from transformers import Sam2ImageProcessor

    image = np.random.default_rng(0).integers(0, 256, (270, 480, 3), np.uint8)
    theirs = Sam2ImageProcessor()(images=image, return_tensors="pt")["pixel_values"]
    assert (preprocess(image, side=1024) - theirs).abs().max() < 0.03


def test_coordinates_and_masks_against_the_processor():
    from transformers.models.sam2.processing_sam2 import Sam2Processor

    pixels = torch.tensor([[[120.0, 40.0], [479.0, 269.0]]])
    theirs = Sam2Processor._normalize_coordinates(None, 1024, pixels, (270, 480))
    ours = pixels / torch.tensor([480.0, 270.0]) * 1024
    torch.testing.assert_close(ours, theirs)
    logits = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    theirs = torch.nn.functional.interpolate(logits[None, None], (27, 48), mode="bilinear", align_corners=False)[0, 0]
    np.testing.assert_allclose(resize_logits(logits, (48, 27)), theirs.numpy())


def test_soft_dice():
    mask = np.zeros((90, 160), bool)
    mask[30:60, 40:80] = True
    assert soft_dice(masks.resize_map(mask, (16, 9)), mask) == pytest.approx(1, abs=1e-5)
    assert soft_dice(masks.resize_map(mask, (16, 9)), np.roll(mask, 80, 1)) == 0
    assert soft_dice(np.zeros((9, 16), np.float32), np.zeros_like(mask)) == 0


class CountingEngine:
    """Stands in for a `Sam2Engine`: notes what it was asked, answers with blobs of falling scores."""

    side_px, is_fast, normalisation = 64, False, IMAGENET

    def __init__(self):
        self.encoded, self.asked = 0, []

    def encode(self, pixels):
        assert pixels.shape == (1, 3, 64, 64)
        self.encoded += 1
        return [pixels]

    def decode(self, levels, prompts):
        self.asked.append(prompts)
        logits = torch.full((3, 16, 16), -5.0)
        for k in range(3):
            logits[k, 4 : 10 + 2 * k, 4 : 10 + 2 * k] = 5
        return [list(zip(logits, [0.9, 0.7, 0.5], strict=True)) for _ in prompts]


def test_sam2_encodes_an_image_once_and_decodes_all_prompts_in_one_call():
    engine = CountingEngine()
    segmenter = Sam2Segmenter(engine, name="double")
    image = np.zeros((32, 64, 3), np.uint8)
    found = segmenter.segment(image, Prompt(points=np.array([[0.5, 0.25]]), labels=np.array([1])))
    assert len(found) == 3, "one click may mean a part or the whole"
    found = segmenter.segment(image, Prompt(box=(0.25, 0.0, 0.5, 1.0)))
    assert [c.score for c in found] == pytest.approx([0.9]), "a box leaves no doubt: the surest of the three"
    mask = np.zeros((32, 64), np.float32)
    mask[8:20, 16:40] = 1
    found = segmenter.segment(image, Prompt(prior=mask))
    assert [len(prompts) for prompts in engine.asked] == [1, 1, 3]
    assert [prompt.prior is not None for prompt in engine.asked[-1]] == [False, True, True]
    assert engine.encoded == 1
    assert 0.5 < found[0].score <= 0.9
    segmenter.segment(image + 1, Prompt(box=(0.25, 0.0, 0.5, 1.0)))
    assert engine.encoded == 2
    segmenter.segment(image, Prompt(box=(0.25, 0.0, 0.5, 1.0)))
    assert engine.encoded == 2, "the images before are known still"
    for k in range(20):
        segmenter.features(image + k)
    segmenter.features(image)
    assert engine.encoded == 2 + 18 + 1, "but not any number of them"


def test_features_are_cached_by_content(tmp_path):
    engine = CountingEngine()
    image = np.random.default_rng(0).integers(0, 255, (32, 64, 3), np.uint8)
    kept = open_feature_cache("double", tmp_path / "kept", 1)
    fresh = Sam2Segmenter(engine, name="double", features=kept).features(image)
    again = Sam2Segmenter(engine, name="double", features=kept).features(image.copy())
    assert engine.encoded == 1
    assert fresh.shape == (64, 64, 3)
    np.testing.assert_allclose(again, fresh, rtol=1e-3, atol=1e-3)  # kept at half precision
    Sam2Segmenter(engine, name="double", features=kept).features(255 - image)
    assert engine.encoded == 2
    assert len(list((tmp_path / "kept" / "double").iterdir())) == 2
    Sam2Segmenter(engine, name="double", features=open_feature_cache("other", tmp_path / "kept", 1)).features(image)
    assert engine.encoded == 3, "another model's are not taken"


@pytest.mark.slow
@pytest.mark.skipif(not (WEIGHTS.is_dir() and DAVIS.is_dir()), reason=f"no weights or clips in {SHARED}")
def test_bfloat16_gives_the_same_masks(monkeypatch):
    image = np.asarray(Image.open(DAVIS / "JPEGImages" / "libby" / "00000.jpg").convert("RGB"))
    truth = np.asarray(Image.open(DAVIS / "Annotations" / "libby" / "00000.png").convert("L")) > 127
    prompt = prompts_for(truth)["box"]
    short = load_segmenter(str(WEIGHTS)).segment(image, prompt)[0].mask
    monkeypatch.setattr("refam.segmenters.sam2_engines.bfloat16_autocast", lambda device: contextlib.nullcontext())
    full = load_segmenter(str(WEIGHTS)).segment(image, prompt)[0].mask
    assert masks.iou(short, full) > 0.98


@pytest.mark.slow
@pytest.mark.skipif(not (WEIGHTS.is_dir() and DAVIS.is_dir()), reason=f"no weights or clips in {SHARED}")
@pytest.mark.parametrize("kind", ["point", "box", "heatmap", "mask"])
def test_sam2_on_real_first_frames(kind):
    segmenter = load_segmenter(str(WEIGHTS))
    assert segmenter.name == "sam2-hiera-tiny-image"
    scores = []
    for name in ("blackswan", "libby"):
        image = np.asarray(Image.open(DAVIS / "JPEGImages" / name / "00000.jpg").convert("RGB"))
        truth = np.asarray(Image.open(DAVIS / "Annotations" / name / "00000.png").convert("L")) > 127
        scores.append(masks.iou(segmenter.segment(image, prompts_for(truth)[kind])[0].mask, truth))
    assert np.mean(scores) > 0.88


@pytest.mark.parametrize("name", [None, "", "grabcut"])
def test_grabcut_is_the_default(name):
    assert load_segmenter(name).name == "grabcut"


def test_missing_weights_are_refused(tmp_path):
    with pytest.raises(SegmenterError, match=str(tmp_path)):
        load_segmenter(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(SegmenterError, match="'bert' model, not SAM2"):
        load_segmenter(str(tmp_path))


# --- what is no segmenter --------------------------------------------------------------------------------------------


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """An empty cache of the hub; whoever asks for an address fails."""

    def refuse(*_, **__):
        raise AssertionError("a request was sent")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


@pytest.mark.parametrize("named", ["5", "sam", "a/b/c", "no folder", "owner/na me", "/nowhere", "./sam2", "grabcut "])
@pytest.mark.parametrize("offline", [True, False])
def test_a_name_that_nothing_can_have_is_refused_at_once(no_network, named, offline):
    with pytest.raises(SegmenterError, match=r"^there is no segmenter '.*': give grabcut, .*sam2-tiny, the directory"):
        load_segmenter(named, device="cpu", offline=offline)


@pytest.mark.parametrize("tracker", ["auto", "flow", "memory", "sam2-video"])
def test_offline_a_name_on_the_hub_is_refused_without_a_request(no_network, tracker):
    with pytest.raises(SegmenterError, match=r"^nosuch/model is not on this machine, and REFAM_OFFLINE=1 .* forbids"):
        load_segmenter("nosuch/model", device="cpu", tracker=tracker, offline=True)


def test_offline_a_model_in_the_hubs_cache_is_loaded_from_it(no_network, monkeypatch, tmp_path):
    folder = tmp_path / "models--some--model" / "snapshots" / ("a" * 40)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "sam2"}')
    (folder.parents[1] / "refs").mkdir()
    (folder.parents[1] / "refs" / "main").write_text("a" * 40)
    loaded = []
    monkeypatch.setattr(Sam2Segmenter, "load", lambda source, **how: loaded.append((source, how["local_files_only"])))
    load_segmenter("some/model", device="cpu", offline=True)
    assert loaded == [("some/model", True)]
