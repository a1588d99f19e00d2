"""Masks on lists of pictures: each format is decoded again by an independent reader and compared with the truth."""

import base64
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle
from PIL import Image
from typer.testing import CliRunner

from backend.cli.main import app
from backend.jobs.models import JobSpec
from backend.jobs.runner import JobRunner
from backend.labelstudio.config_xml import LabelConfigError
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.request import RequestError, read_request
from backend.media.store import MediaError
from backend.settings import load_settings
from refam.evaluation.synthetic import red_star_and_blue_ring
from refam.pipeline.pipeline import PipelineError, Target, TrackResult
from refam.pipeline.types import FramePrompt
from tests.backend.labelstudio.mask_tasks import MASK_KINDS, config_with, iou
from tests.doubles import TruthRuntime, track_of_masks
from tests.media import cfr
from video.io.probe import ClipError
from video.io.reader import open_sequence


def decoded(value, kind, size):
    w, h = size
    if kind.startswith("brush"):
        return decode_rle(value["rle"]).reshape(h, w, 4)[..., 3] > 127
    if kind.startswith("bitmask"):
        head, coded = value["imageDataURL"].split(",")
        assert head == "data:image/png;base64"
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(coded), np.uint8), cv2.IMREAD_UNCHANGED)
        return picture[..., 3] > 127
    corners = np.array(value["points"]) / 100 * [w, h]
    fine = cv2.fillPoly(np.zeros((h * 4, w * 4), np.uint8), [np.round(corners * 4 - 0.5).astype(np.int32)], 255)
    return cv2.resize(fine, (w, h), interpolation=cv2.INTER_AREA) > 127


def two_parts_and_a_hole():
    mask = np.zeros((60, 90), np.uint8)
    cv2.circle(mask, (28, 30), 22, 1, -1)
    cv2.circle(mask, (22, 26), 6, 0, -1)
    cv2.circle(mask, (36, 38), 5, 0, -1)
    cv2.rectangle(mask, (65, 10), (85, 40), 1, -1)
    return mask > 0


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_encoded_values_decode_to_the_mask(kind):
    _, scene = red_star_and_blue_ring(3)
    blank = np.zeros_like(scene[0])
    blank[1:] = scene[1][1:]  # the ring is hidden on the first picture
    with_holes = np.stack([two_parts_and_a_hole()] * 3)
    config = parse_label_config(config_with(kind))
    for masks, label in ((scene[0], "Star"), (blank, "r"), (with_holes, "Star")):
        result = TrackResult(Target(label=label, words="x"), track_of_masks(masks), (), 0.8, 0, ())
        regions = config.control.regions([result], region_ids=["refam-1"])
        shapes = [r for r in regions if r["type"] == kind.lower()]
        h, w = masks.shape[1:]
        pictures = {r["item_index"] for r in shapes}
        assert pictures == {i for i in range(3) if masks[i].any()}
        for i in pictures:
            here = [r for r in shapes if r["item_index"] == i]
            union = np.any([decoded(r["value"], kind.lower(), (w, h)) for r in here], axis=0)
            assert iou(union, masks[i]) >= (0.95 if kind.startswith("Polygon") else 1.0)
            assert len({r["id"] for r in here}) == len(here)
        labelled = [r for r in regions if r["type"].endswith("labels")]
        assert {tuple(r["value"][r["type"]]) for r in labelled} == {(label,)}
        assert {r["id"] for r in labelled} == {r["id"] for r in shapes}
        assert all((r["original_width"], r["original_height"], r["image_rotation"]) == (w, h, 0) for r in regions)
        if kind.startswith("Polygon"):
            most = 80 if masks is with_holes else 40  # small round holes take many
            assert max(len(r["value"]["points"]) for r in shapes) <= most


@pytest.mark.parametrize("kind", MASK_KINDS)
@pytest.mark.parametrize(
    ("words", "notes", "text"),
    [
        ("the star", (), ["words: the star"]),
        ("the star", ("lost for a while", "a doubt"), ["words: the star; lost for a while; a doubt"]),
        (None, ("lost for a while",), ["lost for a while"]),
        (None, (), None),
    ],
)
def test_a_mask_says_its_words_and_notes(kind, words, notes, text):
    config = parse_label_config(config_with(kind))
    target = Target("Star", words=words, prompts=() if words else (FramePrompt(0, box=(0, 0, 1, 1)),))
    result = TrackResult(target, track_of_masks(np.ones((2, 9, 16), bool)), (), 0.8, 0, notes)
    for region in config.control.regions([result], region_ids=["refam-1"]):
        assert region.get("meta", {}).get("text") == text
        assert config.control.read_words(region) == words


@pytest.mark.parametrize(
    ("region", "meta", "words"),
    [
        ("refam-1-0", {"text": ["the star"]}, "the star"),
        ("refam-1-0", {"text": ["words: the star; lost from 0.04 s to the end"], "words": "the star"}, "the star"),
        ("refam-1-0", {"text": ["lost from 0.04 s to the end"], "words": ""}, None),
        ("refam-1-0", {"text": ["not seen on this picture"]}, None),
        ("refam-1-0", {"text": []}, None),
        ("drawn", {"text": ["a remark"]}, None),
    ],
    ids=["of version 0.2", "of today", "of a click", "empty", "no text", "a person's"],
)
def test_masks_stored_by_earlier_versions_keep_their_words(region, meta, words):
    config = parse_label_config(config_with("BrushLabels"))
    assert config.control.read_words({"id": region, "meta": meta}) == words


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_mask_configs_are_read(kind):
    config = parse_label_config(config_with(kind))
    assert config.on_pictures
    assert (config.media, config.media_field, config.control.name, config.control.tag) == (
        "i",
        "pics",
        "m",
        kind.lower(),
    )
    assert [label.result for label in config.labels] == ["Star", "r"]
    assert (config.text_area.name, config.word_fields) == ("w", ("say",))


@pytest.mark.parametrize(
    ("xml", "says"),
    [
        ('<View><Image name="i" valueList="$p"/></View>', "no tag that takes masks"),
        ('<View><Image name="i" valueList="p"/><Brush name="b" toName="i"/></View>', r'valueList="\$field"'),
        ('<View><Image name="i" valueList="$p"/><Brush name="b" toName="x"/></View>', "no tag that takes masks"),
    ],
)
def test_a_config_that_cannot_take_masks_is_refused(xml, says):
    with pytest.raises(LabelConfigError, match=says):
        parse_label_config(xml)


@pytest.mark.parametrize("pics", [[], "a.jpg", None, ["a.jpg", 3], ["a.jpg", " "]])
def test_an_invalid_list_of_pictures_is_refused(pics):
    with pytest.raises(RequestError, match="list of pictures"):
        read_request({"id": 1, "data": {"pics": pics, "say": "x"}}, parse_label_config(config_with("Brush")))


class MaskTruth:
    """A pipeline that knows the masks."""

    def __init__(self, masks):
        self.masks = masks

    def run(self, clip, targets, **_):
        assert np.concatenate([images for _, images in clip.batches(size=2)]).shape[:3] == self.masks.shape
        return [TrackResult(t, track_of_masks(self.masks, label=t.label), (), 0.8, 0, ()) for t in targets]


@pytest.fixture
def run_job(tmp_path):
    images, masks = red_star_and_blue_ring(3, size=(96, 54))
    (tmp_path / "m").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "m" / f"{i}.png")
    Image.new("RGB", (10, 10)).save(tmp_path / "m" / "small.png")
    (tmp_path / "m" / "text.png").write_text("no picture")
    whole = (tmp_path / "m" / "0.png").read_bytes()
    (tmp_path / "m" / "half.png").write_bytes(whole[: len(whole) // 2])
    settings = load_settings(media_root=tmp_path / "m", cache_dir=tmp_path / "c", data_dir=tmp_path / "d", max_frames=4)
    runtime = TruthRuntime(settings)
    runtime.truth = MaskTruth(masks[0])

    class EmptyQueue:
        def records(self):
            return []

    def do(pics, kind="BrushLabels"):
        xml = config_with(kind)
        work = read_request({"id": 7, "data": {"pics": pics, "say": "the star"}}, parse_label_config(xml))
        spec = JobSpec(id="1", task_id=7, project="1", work=work, label_config=xml, model_version="v")
        spec = JobSpec.model_validate_json(spec.model_dump_json())
        return JobRunner(settings, runtime.media, EmptyQueue(), pipeline=runtime.pipeline)(spec, lambda *_: None)

    return do, masks[0]


def test_a_task_of_pictures_runs(run_job):
    do, masks = run_job
    first, second = do(["0.png", "1.png", "2.png"]), do(["0.png", "1.png", "2.png"])
    regions = first.prediction["result"]
    assert [r["item_index"] for r in regions] == [0, 1, 2]
    assert regions == second.prediction["result"]
    for region, mask in zip(regions, masks, strict=True):
        assert iou(decoded(region["value"], "brush", (96, 54)), mask) == 1.0
    assert first.thumbnail[:2] == b"\xff\xd8"


@pytest.mark.parametrize("kind", ["BrushLabels", "Brush"])
@pytest.mark.parametrize(("offered", "labels"), [([{"value": "Star"}], ["Star"]), (None, None)])
def test_masks_have_only_labels_that_their_task_offers(kind, offered, labels):
    xml = config_with(kind).replace('<Label value="Star"/><Label value="Ring" alias="r"/>', "")
    xml = xml.replace('toName="i"></', 'toName="i" value="$kinds"></')
    config = parse_label_config(xml)
    task = {"id": 7, "data": {"pics": ["a.png"], "say": "the star", "kinds": offered}}
    work = read_request(task, config)
    results = [TrackResult(work.targets[0], track_of_masks(np.ones((1, 9, 16), bool)), (), 0.9, 0, ())]
    regions = config.control.with_labels(work.labels).regions(results, region_ids=work.region_ids)
    written = [r["value"].get("brushlabels") or r["value"].get("labels") for r in regions]
    assert [found for found in written if found] == ([labels] if labels else [])


@pytest.mark.parametrize(
    ("pics", "error", "says"),
    [
        (["0.png", "gone.png"], MediaError, "frame 1 .gone.png"),
        (["0.png", "small.png"], ClipError, "one size: frame 1 .small.png. is 10x10"),
        (["0.png", "text.png"], ClipError, "frame 1 .text.png.: this is no picture"),
        (["0.png", "1.png", "half.png"], ClipError, "frame 2 .half.png.*cannot be read"),
        (["0.png"] * 5, PipelineError, "REFAM_MAX_FRAMES=4"),
    ],
)
def test_errors_name_the_picture(run_job, pics, error, says):
    with pytest.raises(error, match=says):
        run_job[0](pics)


def test_a_sequence_reads_as_a_clip(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (5, 8, 12, 3), np.uint8)
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    clip = open_sequence([tmp_path / f"{i}.png" for i in range(5)])
    assert (len(clip), clip.size) == (5, (12, 8))
    assert [list(i) for i, _ in clip.batches([4, 0, 2, 2], size=2)] == [[0, 2], [4]]
    assert (np.concatenate([b for _, b in clip.batches(size=2)]) == images).all()
    assert (clip.frame(-1) == images[4]).all()
    with pytest.raises(IndexError, match="frame 5"):
        clip.frame(5)
    with pytest.raises(ClipError, match="empty"):
        open_sequence([])


@pytest.mark.parametrize(("option", "count"), [(["--every", "5"], 4), (["--fps", "8"], 7), ([], 20)])
def test_frames_makes_a_task_that_the_backend_reads(tmp_path: Path, option, count):
    images, _ = red_star_and_blue_ring(20, size=(96, 54))
    video = cfr(tmp_path / "a.mp4", images, fps=24)
    out = tmp_path / "cut"
    args = ["frames", str(video), "--out", str(out), "--label", "Star", *option]
    ran = CliRunner().invoke(app, [*args, "--words", "the red star", "--masks", "polygon"])
    assert ran.exit_code == 0, ran.output
    task = json.loads((out / "tasks.json").read_text())[0]
    work = read_request({"id": 1, **task}, parse_label_config((out / "label_config.xml").read_text()))
    assert len(work.frames) == count == len(list((out / "frames").iterdir()))
    assert [t.words for t in work.targets] == ["the red star"]
    assert work.frames[0] == "/data/local-files/?d=cut/frames/000000.jpg"
    for address, time_s in zip(work.frames, task["data"]["times_s"], strict=True):
        assert int(Path(address).stem) == round(time_s * 24)
