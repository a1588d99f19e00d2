"""Small copies of the datasets' official layouts: two drawn objects in five frames."""

from __future__ import annotations

import json
import pickle

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as pycoco

from refam.evaluation.datasets import read_dataset
from refam.evaluation.synthetic import BLUE, RED, red_star_and_blue_ring

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


def write_expressions(path, names, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"videos": {"v1": {"frames": names, "expressions": content}}}))


NAMES = [f"{5 * k:05d}" for k in range(N)]


def write_refer_youtube_vos(root):
    jpegs(root / "train/JPEGImages/v1", NAMES)
    pngs(root / "train/Annotations/v1", NAMES)
    content = {"0": {"exp": RED, "obj_id": "1"}, "1": {"exp": BLUE, "obj_id": "2"}}
    write_expressions(root / "meta_expressions/train/meta_expressions.json", NAMES, content)
    jpegs(root / "valid/JPEGImages/v1", NAMES)
    write_expressions(root / "meta_expressions/valid/meta_expressions.json", NAMES, {"0": {"exp": RED}})


def write_ref_davis17(root):
    names = [f"{k:05d}" for k in range(N)]
    jpegs(root / "valid/JPEGImages/v1", names)
    pngs(root / "valid/Annotations/v1", names, void=True)
    content = {str(4 * o + a): {"exp": (RED, BLUE)[o], "obj_id": str(o + 1)} for o in range(2) for a in range(4)}
    write_expressions(root / "meta_expressions/valid/meta_expressions.json", names, content)


def write_mevis(root):
    jpegs(root / "valid_u/JPEGImages/v1", NAMES)
    content = {
        "0": {"exp": RED, "obj_id": [0], "anno_id": [7]},
        "1": {"exp": "both", "obj_id": [0, 1], "anno_id": [7, 9]},
    }
    write_expressions(root / "valid_u/meta_expressions.json", NAMES, content)
    rows = {"7": [rle(m) for m in TRUTH[0]], "9": [rle(m) if k else None for k, m in enumerate(TRUTH[1])]}
    (root / "valid_u/mask_dict.json").write_text(json.dumps(rows))


def write_davis(root):
    names = [f"{k:05d}" for k in range(N)]
    jpegs(root / "JPEGImages/480p/v1", names)
    pngs(root / "Annotations/480p/v1", names)
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("v1\n")
    (root / "davis_semantics.json").write_text(json.dumps({"v1": {"1": RED, "2": BLUE}}))


def write_refcoco(root, name="refcoco", partition="unc"):
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
    "refer-youtube-vos": (write_refer_youtube_vos, "train"),
    "ref-davis17": (write_ref_davis17, "valid"),
    "mevis": (write_mevis, "valid_u"),
    "davis": (write_davis, "val"),
    "refcoco": (write_refcoco, "val"),
}


def read_samples(dataset, root, split):
    return {q.key: q for q in read_dataset(dataset, root, split)}
