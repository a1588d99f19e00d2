"""SAM2's video memory, pruned, against transformers' own session, which keeps everything. Small random models."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import resource

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file

from refam.segmenters.load import SegmenterError, choose_segmenter, load_segmenter
from refam.segmenters.sam2_video import Sam2VideoTracker
from tests.refam.segmenters.small_sam2 import KINDS, SIDE, pixels_of, small_clip, small_mask, small_video_model
from tests.video.clips import ArrayClip
from video.tracking.propagate import propagate, tracker_for, tracker_name


@pytest.fixture(scope="module", params=KINDS)
def model(request):
    return small_video_model(request.param)


@pytest.fixture
def full_floats(monkeypatch):
    monkeypatch.setattr("refam.segmenters.sam2_video.bfloat16_autocast", lambda device: contextlib.nullcontext())


def new_session(model, **more):
    name = type(model).__name__.replace("Model", "InferenceSession")
    return getattr(transformers, name)(dtype=torch.float32, **more)


def say(session, frame, **masks):
    """What Sam2VideoProcessor.add_inputs_to_inference_session does with masks; it needs torchvision."""
    for name, mask in masks.items():
        index = session.obj_id_to_idx(name)
        soft = F.interpolate(torch.tensor(mask)[None, None].float(), (SIDE, SIDE), mode="bilinear", antialias=True)
        session.add_mask_inputs(index, frame, (soft >= 0.5).float())
    session.obj_with_new_inputs = list(masks)


@torch.inference_mode()
def unpruned(model, frames, prompts):
    """(n, objects, h, w) logits of a session that streams and keeps everything. prompts: frame -> object -> mask."""
    session, rows = new_session(model), []
    for i, image in enumerate(frames):
        if i in prompts:
            say(session, i, **prompts[i])
        rows.append(model(inference_session=session, frame=pixels_of(model, image), frame_idx=i).pred_masks[:, 0])
    return torch.stack(rows)


def at_size(logits, frames):
    return F.interpolate(logits, frames.shape[1:3], mode="bilinear", align_corners=False).numpy()


def follow(tracker, frames, prompts):
    rows = []
    for i, image in enumerate(frames):
        seen = tracker.step(image)
        for target, mask in prompts.get(i, {}).items():
            seen[target] = tracker.start(target, mask)
        rows.append(seen)
    return rows


@pytest.mark.usefixtures("full_floats")
def test_pruned_and_unpruned_give_the_same_masks(model):
    """30 frames, a memory of 6: bit for bit, through a second prompt on a frame that was tracked already."""
    frames, first, second = small_clip(30), small_mask(), small_mask(left=40)
    expected = at_size(unpruned(model, frames, {0: {"a": first}, 12: {"a": second}}), frames)[:, 0] > 0
    seen = follow(Sam2VideoTracker(model), frames, {0: {7: first}, 12: {7: second}})
    np.testing.assert_array_equal(seen[12][7].mask, second)
    for i, row in enumerate(seen):
        if i not in (0, 12):
            np.testing.assert_array_equal(row[7].mask, expected[i] & row[7].visible, err_msg=f"frame {i}")
    areas = expected.mean(axis=(1, 2))
    assert ((areas > 0.01) & (areas < 0.99)).sum() >= 20, "masks of nothing or all would prove nothing"
    assert len({mask.tobytes() for mask in expected}) >= 25, "nor would masks that do not change"


@pytest.mark.usefixtures("full_floats")
def test_a_shorter_memory_window_changes_the_logits(model, monkeypatch):
    """The comparison can fail: with one frame less of memory the logits, else equal bit for bit, are others."""
    frames, prompts = small_clip(12), {0: {7: small_mask()}}
    recorded = []

    def record(self, session, predict=Sam2VideoTracker._predict):
        recorded.append(predict(self, session).logits)

    monkeypatch.setattr(Sam2VideoTracker, "_predict", record)
    monkeypatch.setattr(Sam2VideoTracker, "_observe", lambda self, predictions: {})
    follow(Sam2VideoTracker(model), frames, prompts)
    whole = torch.stack(recorded)
    assert torch.equal(whole, unpruned(model, frames, {0: {"a": small_mask()}})[:, 0])

    def forget(self, session, prune=Sam2VideoTracker._prune):
        prune(self, session)
        recent = session.output_dict_per_obj[0]["non_cond_frame_outputs"]
        recent.pop(self._frame + 2 - model.config.max_object_pointers_in_encoder, None)

    monkeypatch.setattr(Sam2VideoTracker, "_prune", forget)
    recorded.clear()
    follow(Sam2VideoTracker(model), frames, prompts)
    assert not torch.equal(torch.stack(recorded), whole)


@pytest.mark.usefixtures("full_floats")
def test_objects_are_independent_but_share_no_pixel(model):
    frames, masks = small_clip(10), {"a": small_mask(), "b": small_mask(left=35)}
    logits = at_size(unpruned(model, frames, {0: masks}), frames)
    owner = logits.argmax(1)
    encoded = []
    handle = model.vision_encoder.register_forward_hook(lambda *_: encoded.append(1))
    seen = follow(Sam2VideoTracker(model), frames, {0: {0: masks["a"], 1: masks["b"]}})
    handle.remove()
    assert len(encoded) == len(frames), "each frame is encoded once, whatever the number of objects"
    for i in range(1, 10):
        for k in range(2):
            expected = (logits[i, k] > 0) & (owner[i] == k) & seen[i][k].visible
            assert (seen[i][k].mask != expected).mean() < 0.005  # one pass for both there, one for each here
        assert not (seen[i][0].mask & seen[i][1].mask).any()


@pytest.mark.usefixtures("full_floats")
@torch.inference_mode()
def test_backward_tracking_equals_transformers_reverse(model):
    frames, mask = small_clip(12), small_mask()
    video = torch.cat([pixels_of(model, image) for image in frames])
    session = new_session(model, video=video)
    say(session, 11, a=mask)
    model(inference_session=session, frame_idx=11)
    found = model.propagate_in_video_iterator(session, start_frame_idx=11, reverse=True)
    expected = {out.frame_idx: at_size(out.pred_masks, frames)[0, 0] > 0 for out in found}
    seen = follow(Sam2VideoTracker(model), frames[::-1], {0: {0: mask}})
    assert sorted(expected) == list(range(12))
    for i in range(11):
        np.testing.assert_array_equal(seen[11 - i][0].mask, expected[i] & seen[11 - i][0].visible)


def held_bytes(tracker):
    """Of every tensor that the tracker's sessions can reach."""
    seen, todo, total = set(), [vars(s) for s in tracker._sessions.values()] + [tracker._pixels], 0
    while todo:
        thing = todo.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, torch.Tensor):
            total += thing.untyped_storage().nbytes()
        elif isinstance(thing, dict):
            todo += thing.values()
        elif isinstance(thing, list | tuple):
            todo += thing
        elif hasattr(thing, "_vision_features"):
            todo.append(vars(thing))
    return total


def entries(tracker):
    """How many things the sessions' dictionaries hold, whatever they are."""
    return sum(
        len(held) if not per_object else sum(len(v) for v in held.values())
        for session in tracker._sessions.values()
        for held, per_object in (
            (session.processed_frames, False),
            (session.frames_tracked_per_obj, True),
            (session.mask_inputs_per_obj, True),
            (session.output_dict_per_obj[0], True),
        )
    )


def test_memory_does_not_grow_with_frames(model):
    tracker, frames, sizes = Sam2VideoTracker(model, max_prompts=3), small_clip(60), []
    for i, image in enumerate(frames):
        tracker.step(image)
        if i % 10 == 0:  # more prompts than are kept
            tracker.start(0, small_mask())
        if i % 10 == 9 and i > 30:
            sizes.append((held_bytes(tracker), entries(tracker)))
    assert len(set(sizes)) == 1
    prompted = tracker._sessions[0].output_dict_per_obj[0]["cond_frame_outputs"]
    assert sorted(prompted) == [0, 40, 50], "the first and the last"


@pytest.mark.slow
def test_three_thousand_frames_in_constant_memory(model):
    tracker, frames = Sam2VideoTracker(model), small_clip(50)
    tracker.step(frames[0])
    for target, left in enumerate((5, 40)):
        tracker.start(target, small_mask(left=left))
    before = None
    for i in range(1, 3000):
        tracker.step(frames[i % 50])
        if i == 500:
            gc.collect()
            before = held_bytes(tracker), entries(tracker), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    after = held_bytes(tracker), entries(tracker), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"frame 500 and 3000: {before[0] / 1e6:.2f} and {after[0] / 1e6:.2f} MB, peak RSS {before[2]}, {after[2]} kB")
    assert after[:2] == before[:2]
    assert after[2] - before[2] < 20_000, "kB; unpruned it would be hundreds of MB"


def test_an_object_that_the_model_calls_hidden_is_not_visible(model):
    tracker = Sam2VideoTracker(model)
    frames = small_clip(3)
    tracker.step(frames[0])
    tracker.start(0, small_mask())
    present = model.mask_decoder.register_forward_hook(lambda m, i, o: (o[0], o[1] * 0 + 0.9, o[2], o[3] * 0 + 5.0))
    seen = tracker.step(frames[1])[0]
    present.remove()
    assert seen.visible
    assert seen.score == pytest.approx(0.9 / (1 + np.exp(-5)), abs=1e-2)
    hidden = model.mask_decoder.register_forward_hook(lambda m, i, o: (*o[:3], o[3] * 0 - 3.0))
    seen = tracker.step(frames[2])[0]
    hidden.remove()
    assert not seen.visible
    assert not seen.mask.any()
    assert seen.score < 0.06


def test_an_object_thinner_than_a_model_pixel_can_be_tracked(model):
    tracker = Sam2VideoTracker(model)
    tracker.step(small_clip(1, size=(1280, 960))[0])
    line = np.zeros((960, 1280), bool)
    line[100:900, 640] = True
    assert tracker.start(0, line).visible


def test_bad_input(model):
    tracker, frames = Sam2VideoTracker(model), small_clip(2)
    with pytest.raises(ValueError, match=r"step\(\) must take a frame"):
        tracker.start(0, small_mask())
    assert tracker.step(frames[0]) == {}
    with pytest.raises(ValueError, match="empty mask"):
        tracker.start(0, np.zeros((60, 80), bool))
    with pytest.raises(ValueError, match="size"):
        tracker.start(0, np.ones((80, 60), bool))
    with pytest.raises(ValueError, match="80x60, then 60x80"):
        tracker.step(frames[1].transpose(1, 0, 2))
    with pytest.raises(ValueError, match="max_prompts"):
        Sam2VideoTracker(model, max_prompts=0)


# --- which tracker is used ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "small-sam2"
    small_video_model().save_pretrained(folder)
    return folder


def test_video_weights_track_with_their_memory(saved):
    segmenter = load_segmenter(str(saved), device="cpu", tracker="sam2-video")
    assert tracker_name(segmenter) == "sam2-video" == tracker_for(segmenter).name
    frames = small_clip(9)
    track = propagate(ArrayClip(frames), 4, small_mask(), segmenter)
    np.testing.assert_array_equal(track.frames, np.arange(9))
    assert track.visible[4]
    assert track.scores[4] == 1
    assert segmenter.features(frames[0]).shape == (8, 8, 128)


@pytest.mark.parametrize(
    ("device", "gpu", "asked", "expected"),
    [
        ("auto", False, "auto", "memory"),
        ("auto", True, "auto", "sam2-video"),
        ("cpu", True, "auto", "memory"),
        ("cuda:1", False, "auto", "sam2-video"),
        ("cpu", False, "sam2-video", "sam2-video"),
        ("auto", True, "flow", "flow"),
        ("auto", True, "memory", "memory"),
    ],
)
def test_sam2_video_is_the_default_on_a_gpu(saved, monkeypatch, device, gpu, asked, expected):
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    choice = choose_segmenter(str(saved), device=device, tracker=asked)
    assert choice.tracker == expected
    assert choice.version.startswith("small-sam2/")


@pytest.mark.parametrize(("asked", "name"), [("memory", "memory"), ("flow", "dis-flow"), ("auto", "memory")])
def test_other_trackers_over_the_same_weights(saved, asked, name):
    segmenter = load_segmenter(str(saved), device="cpu", tracker=asked)
    assert tracker_name(segmenter) == name == tracker_for(segmenter).name
    assert segmenter.name == "small-sam2"
    assert not segmenter.is_fast, "on a CPU"
    assert choose_segmenter(str(saved), device="cpu", tracker=asked).version == f"small-sam2/{name}"


@pytest.mark.parametrize("asked", ["memory", "sam2-video"])
def test_grabcut_allows_the_flow_tracker_only(asked):
    with pytest.raises(
        SegmenterError, match=f"'{asked}' needs SAM2, and the segmenter is GrabCut .* models pull sam2-tiny"
    ):
        load_segmenter(None, tracker=asked)


def test_weights_without_video_memory_are_refused(tmp_path):
    model = small_video_model()
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith("memory_")}
    model.save_pretrained(tmp_path / "part", state_dict=weights)
    with pytest.raises(SegmenterError, match=r"image part alone, \d+ tensors .* are missing: say the tracker memory"):
        load_segmenter(str(tmp_path / "part"), tracker="sam2-video")
    (tmp_path / "config.json").write_text('{"model_type": "sam2"}')
    with pytest.raises(SegmenterError, match="'sam2' model, without SAM2's video memory"):
        load_segmenter(str(tmp_path), tracker="sam2-video")
    assert choose_segmenter(str(tmp_path), device="cuda").tracker == "memory"


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed")
@pytest.mark.parametrize("tracker", ["sam2-video", "memory"])
def test_edgetams_own_backbone_needs_timm(tmp_path, tracker):
    """timm needs torchvision, which this project leaves out: it is said, not met as a traceback."""
    vision = {"model_type": "edgetam_vision_model"}
    transformers.EdgeTamVideoConfig(vision_config=vision).save_pretrained(tmp_path)
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SegmenterError, match="requires the timm library"):
        load_segmenter(str(tmp_path), device="cpu", tracker=tracker)


def test_bfloat16_gives_nearly_the_same(model, monkeypatch):
    """The way of a GPU, on the processor: bfloat16 in the matrix products."""
    frames, prompts = small_clip(4), {0: {0: small_mask()}}
    monkeypatch.setattr("refam.segmenters.sam2_video.bfloat16_autocast", lambda device: contextlib.nullcontext())
    full = follow(Sam2VideoTracker(model), frames, prompts)
    monkeypatch.setattr(
        "refam.segmenters.sam2_video.bfloat16_autocast", lambda device: torch.autocast("cpu", torch.bfloat16)
    )
    short = follow(Sam2VideoTracker(model), frames, prompts)
    assert (full[1][0].mask != short[1][0].mask).mean() < 0.1


@pytest.mark.needs_cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_nearly_the_same(saved):
    frames, prompts = small_clip(4), {0: {0: small_mask()}}
    segmenters = [load_segmenter(str(saved), device=d, tracker="sam2-video") for d in ("cpu", "cuda")]
    here, there = (follow(segmenter.make_tracker(), frames, prompts) for segmenter in segmenters)
    assert (here[1][0].mask != there[1][0].mask).mean() < 0.1
