"""Benchmarks, each in a small fixture of exactly its official layout, asked with the shipped model."""

from __future__ import annotations

import json
import pickle
import zipfile

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as pycoco
from typer.testing import CliRunner

from backend.cli.eval_datasets import questions_of
from backend.cli.main import app
from refam.evaluation.answers import AnswerScore
from refam.evaluation.questions import IndexedTruth
from refam.evaluation.refcoco import plain_pickle
from refam.evaluation.runs import table
from refam.evaluation.synthetic import BLUE, RED, red_star_and_blue_ring
from video import masks, metrics
from video.formats.base import FormatError

N, SIZE = 5, (192, 108)
ALL_FRAMES, ALL_TRUTH = red_star_and_blue_ring(30, size=SIZE)
FRAMES, TRUTH = ALL_FRAMES[:N], ALL_TRUTH[:, :N]
VOID = np.zeros(TRUTH.shape[2:], bool)
VOID[:6, :6] = True


def jpegs(folder, names):
    folder.mkdir(parents=True)
    for frame, name in zip(FRAMES, names, strict=True):
        cv2.imwrite(str(folder / f"{name}.jpg"), frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])


def pngs(folder, names, *, void=False):
    folder.mkdir(parents=True)
    for k, name in enumerate(names):
        picture = np.zeros(TRUTH.shape[2:], np.uint8)
        picture[TRUTH[0, k]], picture[TRUTH[1, k]] = 1, 2
        if void:
            picture[VOID] = 255
        image = Image.fromarray(picture, mode="P")
        image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0] + [192] * 759)
        image.save(folder / f"{name}.png")


def rle(mask):
    code = pycoco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": code["size"], "counts": code["counts"].decode()}


def expressions(path, names, told):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"videos": {"v1": {"frames": names, "expressions": told}}}))


NAMES = [f"{5 * k:05d}" for k in range(N)]


def refer_youtube_vos(root):
    jpegs(root / "train/JPEGImages/v1", NAMES)
    pngs(root / "train/Annotations/v1", NAMES)
    told = {"0": {"exp": RED, "obj_id": "1"}, "1": {"exp": BLUE, "obj_id": "2"}}
    expressions(root / "meta_expressions/train/meta_expressions.json", NAMES, told)
    jpegs(root / "valid/JPEGImages/v1", NAMES)
    expressions(root / "meta_expressions/valid/meta_expressions.json", NAMES, {"0": {"exp": RED}})


def ref_davis17(root):
    names = [f"{k:05d}" for k in range(N)]
    jpegs(root / "valid/JPEGImages/v1", names)
    pngs(root / "valid/Annotations/v1", names, void=True)
    told = {str(4 * o + a): {"exp": (RED, BLUE)[o], "obj_id": str(o + 1)} for o in range(2) for a in range(4)}
    expressions(root / "meta_expressions/valid/meta_expressions.json", names, told)


def mevis(root):
    jpegs(root / "valid_u/JPEGImages/v1", NAMES)
    told = {
        "0": {"exp": RED, "obj_id": [0], "anno_id": [7]},
        "1": {"exp": "both", "obj_id": [0, 1], "anno_id": [7, 9]},
    }
    expressions(root / "valid_u/meta_expressions.json", NAMES, told)
    rows = {"7": [rle(m) for m in TRUTH[0]], "9": [rle(m) if k else None for k, m in enumerate(TRUTH[1])]}
    (root / "valid_u/mask_dict.json").write_text(json.dumps(rows))


def davis(root):
    names = [f"{k:05d}" for k in range(N)]
    jpegs(root / "JPEGImages/480p/v1", names)
    pngs(root / "Annotations/480p/v1", names)
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("v1\n")
    (root / "davis_semantics.json").write_text(json.dumps({"v1": {"1": RED, "2": BLUE}}))


def refcoco(root, name="refcoco", partition="unc"):
    jpegs(root / "images/train2014", [f"COCO_train2014_{k:012d}" for k in range(N)])
    (root / name).mkdir()
    images = [
        {"id": k, "file_name": f"COCO_train2014_{k:012d}.jpg", "width": SIZE[0], "height": SIZE[1]} for k in range(N)
    ]
    polygon = [10.0, 10.0, 30.0, 10.0, 30.0, 30.0, 10.0, 30.0]
    annotations = [{"id": 50, "image_id": 0, "category_id": 1, "segmentation": rle(TRUTH[0, 0])}]
    annotations += [{"id": 51, "image_id": 1, "category_id": 1, "segmentation": [polygon]}]
    refs = [
        {
            "ref_id": i,
            "ann_id": 50 + i,
            "image_id": i,
            "category_id": 1,
            "split": split,
            "file_name": f"COCO_train2014_{i:012d}_{i}.jpg",
            "sent_ids": [2 * i, 2 * i + 1],
            "sentences": [
                {"sent_id": 2 * i + j, "raw": words, "sent": words, "tokens": words.split()}
                for j, words in enumerate((RED, "red star"))
            ],
        }
        for i, split in enumerate(("val", "testA"))
    ]
    (root / name / f"refs({partition}).p").write_bytes(pickle.dumps(refs, protocol=2))
    (root / name / "instances.json").write_text(json.dumps({"images": images, "annotations": annotations}))


LAYOUTS = {
    "refer-youtube-vos": (refer_youtube_vos, "train"),
    "ref-davis17": (ref_davis17, "valid"),
    "mevis": (mevis, "valid_u"),
    "davis": (davis, "val"),
    "refcoco": (refcoco, "val"),
}


def run(*args):
    return CliRunner().invoke(app, ["eval", *(str(a) for a in args)])


def asked(dataset, root, split):
    return {q.key: q for q in questions_of(dataset, root, split)}


# --- readers ---------------------------------------------------------------------------------------------------------


def test_refer_youtube_vos(tmp_path):
    refer_youtube_vos(tmp_path)
    found = asked("refer-youtube-vos", tmp_path, "train")
    assert {k: q.words for k, q in found.items()} == {"v1/0": RED, "v1/1": BLUE}
    for o, q in enumerate(found.values()):
        assert q.frames == tuple(NAMES)
        for k in range(N):
            np.testing.assert_array_equal(q.truth.mask(k), TRUTH[o, k])
            np.testing.assert_array_equal(q.truth.others(k)[0], TRUTH[1 - o, k])
            assert q.truth.void(k) is None
    assert asked("refer-youtube-vos", tmp_path, "valid")["v1/0"].truth is None


def test_the_server_does_not_want_the_videos_of_test(tmp_path):
    refer_youtube_vos(tmp_path)
    expressions(tmp_path / "meta_expressions/test/meta_expressions.json", NAMES, {"0": {"exp": "x"}})
    assert asked("refer-youtube-vos", tmp_path, "valid") == {}


def test_ref_davis17_has_four_expressions_an_object_and_void(tmp_path):
    ref_davis17(tmp_path)
    found = asked("ref-davis17", tmp_path, "valid")
    assert [q.words for q in found.values()] == [RED] * 4 + [BLUE] * 4
    q = found["v1/7"]
    np.testing.assert_array_equal(q.truth.mask(2), TRUTH[1, 2] & ~VOID)
    np.testing.assert_array_equal(q.truth.void(2), VOID)
    assert q.judged == tuple(range(N))


def test_ref_davis17_whose_pictures_stayed_in_davis(tmp_path):
    ref_davis17(tmp_path)
    (tmp_path / "DAVIS").mkdir()
    for old, new in {"JPEGImages": "JPEGImages", "Annotations": "Annotations_unsupervised"}.items():
        (tmp_path / "DAVIS" / new).mkdir()
        (tmp_path / "valid" / old).rename(tmp_path / "DAVIS" / new / "480p")
    assert len(asked("ref-davis17", tmp_path, "valid")) == 8


def test_mevis_means_the_union(tmp_path):
    mevis(tmp_path)
    found = asked("mevis", tmp_path, "valid_u")
    for k in range(N):
        np.testing.assert_array_equal(found["v1/0"].truth.mask(k), TRUTH[0, k])
        both = TRUTH[0, k] | TRUTH[1, k] if k else TRUTH[0, k]
        np.testing.assert_array_equal(found["v1/1"].truth.mask(k), both)


def test_davis_leaves_the_first_and_the_last_frame_out(tmp_path):
    davis(tmp_path)
    found = asked("davis", tmp_path, "val")
    assert {k: q.words for k, q in found.items()} == {"v1/1-0": RED, "v1/2-0": BLUE}
    assert found["v1/1-0"].judged == (1, 2, 3)


@pytest.mark.parametrize(("name", "partition"), [("refcoco", "unc"), ("refcoco+", "unc"), ("refcocog", "umd")])
def test_refcoco(tmp_path, name, partition):
    refcoco(tmp_path, name, partition)
    found = asked(name, tmp_path, "val")
    assert [q.words for q in found.values()] == [RED, "red star"]
    np.testing.assert_array_equal(next(iter(found.values())).truth.mask(0), TRUTH[0, 0])
    square = next(iter(asked(name, tmp_path, "testA").values())).truth.mask(0)
    assert square.sum() == 400
    assert square[10:30, 10:30].all()


class Bomb:
    def __reduce__(self):
        return print, ("it ran",)


def test_a_hostile_pickle_is_refused(tmp_path, capsys):
    file = tmp_path / "refs(unc).p"
    file.write_bytes(pickle.dumps([Bomb()]))
    with pytest.raises(FormatError, match=r"builtins.print"):
        plain_pickle(file)
    for content in (b"", b"garbage", pickle.dumps({}), pickle.dumps([1, 2])[:-4]):
        file.write_bytes(content)
        with pytest.raises(FormatError):
            plain_pickle(file)
    assert "it ran" not in capsys.readouterr().out


def spoil_frame(root):
    (root / "train/JPEGImages/v1/00010.jpg").unlink()


def spoil_truth(root):
    (root / "train/Annotations/v1/00010.png").unlink()


def spoil_number(root):
    told = {"0": {"exp": "x", "obj_id": "one"}}
    expressions(root / "meta_expressions/train/meta_expressions.json", NAMES, told)


def spoil_name(root):
    expressions(root / "meta_expressions/train/meta_expressions.json", ["../../x"], {"0": {"exp": "x"}})


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (spoil_frame, "00010.jpg is not there"),
        (spoil_truth, "00010.png is not there"),
        (spoil_number, "obj_id must be a number"),
        (spoil_name, "leads out of its folder"),
    ],
)
def test_what_is_missing_or_wrong_is_named(tmp_path, spoil, sentence):
    refer_youtube_vos(tmp_path)
    spoil(tmp_path)
    ran = run("refer-youtube-vos", tmp_path, "--split", "train")
    assert ran.exit_code == 1
    assert sentence in ran.output


@pytest.mark.parametrize("dataset", LAYOUTS)
def test_an_empty_folder_says_what_belongs_there(tmp_path, dataset):
    ran = run(dataset, tmp_path)
    assert ran.exit_code == 1
    assert "looked for" in ran.output


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", LAYOUTS)
def test_the_shipped_model_is_judged_end_to_end(tmp_path, dataset):
    make, split = LAYOUTS[dataset]
    make(tmp_path / "data")
    out = tmp_path / "out"
    ran = run(dataset, tmp_path / "data", "--split", split, "--limit", 1, "--out", out)
    assert ran.exit_code == 0, ran.output
    (record,) = [
        AnswerScore(**json.loads(line)) for line in (out / "as-it-ships/results.jsonl").read_text().splitlines()
    ]
    assert record.hit is True
    assert record.j > 0.8
    told = json.loads((out / "settings.json").read_text())
    assert told["settings"]["backbone"].startswith("tiny")
    assert told["versions"]["torch"]
    if dataset == "refcoco":
        assert "46.91" in ran.output
        return
    # What was written is what was judged: worked out anew from the submission.
    (question, *_) = questions_of(dataset, tmp_path / "data", split)
    with zipfile.ZipFile(out / "as-it-ships/submission.zip") as archive:
        names = sorted(archive.namelist())
        assert names == [f"Annotations/v1/{question.expression}/{f}.png" for f in question.frames]
        drawn = [cv2.imdecode(np.frombuffer(archive.read(n), np.uint8), cv2.IMREAD_UNCHANGED) for n in names]
    assert all(d.dtype == np.uint8 and set(np.unique(d)) <= {0, 255} for d in drawn)
    js = [
        metrics.region_similarity(drawn[k] == 255, question.truth.mask(k), void=question.truth.void(k))
        for k in question.judged
    ]
    assert np.mean(js) == pytest.approx(record.j, abs=1e-5)


def test_a_second_start_goes_on_and_asks_nothing_twice(tmp_path, monkeypatch):
    mevis(tmp_path / "data")
    out = tmp_path / "out"
    args = ("mevis", tmp_path / "data", "--out", out, "--start", "click")
    assert run(*args, "--limit", 1).exit_code == 0
    records = out / "as-it-ships/results.jsonl"
    first = records.read_text()
    records.write_text(first + '{"key": "v1/1", "wor')  # cut off while it was written
    ran = run(*args)
    assert ran.exit_code == 0, ran.output
    lines = records.read_text().splitlines()
    assert lines[0] + "\n" == first
    assert [json.loads(line)["key"] for line in lines] == ["v1/0", "v1/1"]
    assert (out / "table.md").read_text() in ran.output
    ran = run("mevis", tmp_path / "data", "--out", out, "--limit", 1)
    assert ran.exit_code == 1
    assert "results of other settings" in ran.output


def test_the_ablation_stands_beside_the_paper(tmp_path):
    ref_davis17(tmp_path / "data")
    ran = run("ref-davis17", tmp_path / "data", "--ablate", "--start", "paper", "--limit", 1)
    assert ran.exit_code == 0, ran.output
    rows = {line.split("|")[1].strip(): line for line in ran.output.splitlines() if line.startswith("|")}
    assert "57.6 | 54.5 | 60.6 | 68.9" in rows["AM + NP + SB, as published"]
    assert {"none", "NP", "NP + SB", "AM + NP", "AM + NP + SB", "as it ships"} <= rows.keys()


def test_without_truth_masks_are_written_and_nothing_is_judged(tmp_path):
    refer_youtube_vos(tmp_path / "data")
    ran = run("refer-youtube-vos", tmp_path / "data", "--out", tmp_path / "out")
    assert ran.exit_code == 0, ran.output
    assert "not published" in ran.output
    assert (tmp_path / "out/as-it-ships/submission.zip").is_file()
    ran = run("refer-youtube-vos", tmp_path / "data", "--start", "click")
    assert ran.exit_code == 1
    assert "nothing to click on" in ran.output


def test_words_that_mean_nothing_are_an_empty_answer_with_the_reason(tmp_path):
    mevis(tmp_path / "data")
    expressions(
        tmp_path / "data/valid_u/meta_expressions.json",
        NAMES,
        {"0": {"exp": "xyzzy plugh", "obj_id": [0], "anno_id": [7]}},
    )
    assert run("mevis", tmp_path / "data", "--out", tmp_path / "out").exit_code == 0
    record = json.loads((tmp_path / "out/as-it-ships/results.jsonl").read_text())
    assert record["j"] == 0
    assert record["hit"] is False
    assert record["why"]


def test_a_click_asks_each_object_once(tmp_path):
    ref_davis17(tmp_path / "data")
    out = tmp_path / "out"
    assert run("ref-davis17", tmp_path / "data", "--start", "click", "--out", out).exit_code == 0
    records = [json.loads(line) for line in (out / "as-it-ships/results.jsonl").read_text().splitlines()]
    assert [r["key"] for r in records] == ["v1/0", "v1/4"]
    assert all(r["j"] > 0.8 and r["hit"] is None for r in records)


def test_the_table_by_hand():
    verdicts = [
        AnswerScore("a/0", "w", 1, 1, 5, j=0.5, f=0.7, hit=True, inter=10, union=20, switches=1),
        AnswerScore("a/1", "w", 1, 1, 5, j=0.9, f=0.9, hit=None, inter=90, union=100, switches=0),
    ]
    row = table("mevis", "valid_u", {"as it ships": verdicts}).splitlines()[2]
    cells = [c.strip() for c in row.split("|")[1:-1]]
    assert cells[1] == "2"
    assert cells[2].startswith("75.0 (")
    assert cells[3].startswith("70.0 (")
    assert cells[4].startswith("80.0 (")
    assert cells[5].startswith("100.0 (")
    assert cells[6:] == ["83.3", "70.0", "100.0", "1"]


def test_a_track_that_goes_to_another_object_has_switched(tmp_path):
    ref_davis17(tmp_path)
    truth = asked("ref-davis17", tmp_path, "valid")["v1/0"].truth
    assert isinstance(truth, IndexedTruth)
    from dataclasses import replace

    from refam.evaluation.answers import judged
    from video.types import MaskTrack

    shapes = [TRUTH[0, 0], TRUTH[0, 1], TRUTH[1, 2], TRUTH[1, 3], TRUTH[0, 4]]
    track = MaskTrack(
        "x", SIZE, np.arange(N), tuple(masks.encode(m) for m in shapes), np.zeros((N, 4)), np.ones(N), np.ones(N, bool)
    )
    question = replace(asked("ref-davis17", tmp_path, "valid")["v1/0"])
    found = judged(AnswerScore("k", "w", 0, 1, N), question, track, SIZE, (0.5, 0.5), asked_by_click=False)
    assert found.switches == 2
    assert found.j == pytest.approx(3 / 5, abs=1e-6)
