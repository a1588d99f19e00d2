"""Compare the engines that run SAM2's image model: seconds, and how far their outputs differ.

    make bench-sam2 SAM2=DIR ONNX=DIR DAVIS=DIR [ARGS="--frames 3 --threads 2"]

SAM2 is the image model for transformers, ONNX the files of `refam models pull sam2-tiny`, DAVIS clips in the layout of
DAVIS. The first frame of each of `--frames` clips is encoded by each engine in turn and prompted with a click, a box,
and a box with click and mask. Outputs are compared with torch in float32. J is that of the mask with the highest
predicted IoU, and for torch also that of SAM2's single-mask output.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import torch

from refam.segmenters.sam2 import preprocess, resize_logits
from refam.segmenters.sam2_engines import OnnxEngine, TorchEngine, bfloat16_autocast, mask_prompt_logits
from video import masks
from video.types import Prompt


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", required=True)
    parser.add_argument("--onnx", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def prompts_for(truth):
    click = {"points": np.array([masks.deepest_point(truth)]), "labels": np.array([1])}
    box, prior = masks.box_of(truth), np.roll(truth, 6, axis=1).astype(np.float32)
    return {"click": Prompt(**click), "box": Prompt(box=box), "all": Prompt(**click, box=box, prior=prior)}


def read_frames(root, most):
    for folder in sorted((root / "JPEGImages").iterdir())[:most]:
        image = cv2.imread(str(folder / "00000.jpg"))[..., ::-1]
        yield image, cv2.imread(str(root / "Annotations" / folder.name / "00000.png"), 0) > 127


def time_call(call):
    begin = time.perf_counter()
    return call(), time.perf_counter() - begin


def decode_single(engine, levels, prompt):
    """Return the logits of SAM2's single-mask output for unambiguous prompts."""
    inputs = {}
    if len(prompt.points):
        inputs["input_points"] = torch.tensor(prompt.points, dtype=torch.float32)[None, None] * engine.side_px
        inputs["input_labels"] = torch.tensor(prompt.labels, dtype=torch.int32)[None, None]
    if prompt.box is not None:
        inputs["input_boxes"] = torch.tensor([[prompt.box]]) * engine.side_px
    if prompt.prior is not None:
        height, width = engine.model.prompt_encoder.mask_input_size
        inputs["input_masks"] = mask_prompt_logits(prompt.prior, (width, height))
    with torch.inference_mode():
        return engine.model(image_embeddings=levels, multimask_output=False, **inputs).pred_masks[0, 0, 0]


def main():
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    slow, onnx = TorchEngine.load(args.torch, device="cpu"), OnnxEngine.load(args.onnx)
    engines = {"torch float32": slow, "onnxruntime": onnx}
    with bfloat16_autocast("cpu"):
        if torch.is_autocast_enabled("cpu"):
            engines["torch bfloat16"] = slow
    rows = {name: {"encode": [], "decode": [], "apart": [], "same": []} for name in engines}
    j = {(name, kind): [] for name in (*engines, "torch single") for kind in ("click", "box", "all")}
    for image, truth in read_frames(args.root, args.frames):
        size, pixels = (image.shape[1], image.shape[0]), preprocess(image, side=1024)
        base = {}
        for name, engine in engines.items():
            full = mock.patch("refam.segmenters.sam2_engines.bfloat16_autocast", return_value=contextlib.nullcontext())
            with full if name == "torch float32" else contextlib.nullcontext():
                levels, spent_s = time_call(lambda engine=engine, pixels=pixels: engine.encode(pixels))
            rows[name]["encode"].append(spent_s)
            base.setdefault("levels", levels)
            rows[name]["apart"].append(
                max(float((a - b).abs().max()) for a, b in zip(levels, base["levels"], strict=True))
            )
            for kind, prompt in prompts_for(truth).items():
                answers, spent_s = time_call(
                    lambda engine=engine, levels=levels, p=prompt: engine.decode(levels, [p])[0]
                )
                rows[name]["decode"].append(spent_s)
                base.setdefault(kind, answers)
                pairs = zip(answers, base[kind], strict=True)
                rows[name]["same"] += [masks.iou((a > 0).numpy(), (b > 0).numpy()) for (a, _), (b, _) in pairs]
                best = max(answers, key=lambda answer: answer[1])[0]
                j[name, kind].append(masks.iou(resize_logits(best, size) > 0, truth))
                if name == "torch float32":
                    alone = decode_single(engine, levels, prompt)
                    j["torch single", kind].append(masks.iou(resize_logits(alone, size) > 0, truth))
    print(
        f"{args.frames} pictures, {args.threads} threads. apart: greatest gap of a feature; same: least IoU of a mask"
    )
    print("engine          encode s  decode ms   apart   same   J click  J box  J all three")
    for name, row in rows.items():
        print(
            f"{name:15s} {np.median(row['encode']):8.2f} {1000 * np.median(row['decode']):10.0f} "
            f"{max(row['apart']):7.4f} {min(row['same']):6.4f}   "
            + "  ".join(f"{np.mean(j[name, kind]):7.3f}" for kind in ("click", "box", "all"))
        )
    means = "  ".join(f"{np.mean(j['torch single', kind]):7.3f}" for kind in ("click", "box", "all"))
    print(f"{'torch, the decode_single mask':44s}   {means}")


if __name__ == "__main__":
    main()
