"""Find and track objects by words alone, in clips with true masks: J&F of each clip.

    make bench-words DAVIS=DIR [SAM2=DIR] ARGS="--words blackswan='the black swan' camel='the camel'"

DAVIS holds JPEGImages/<clip>/*.jpg and Annotations/<clip>/*.png, one object a clip. Every third frame is used, unless
`--step` says otherwise. The backbone is the default; `--backbone` names another. The segmenter is SAM2, or GrabCut
without SAM2=.
With `--candidates 0` tracking starts from the mask that fits best on one frame (`PipelineOptions.candidate_tracks`).

Prints, for each clip: J&F, the score, how likely the words' object is there, and what the result's notes say.
"""

from __future__ import annotations

import argparse

import numpy as np

from backend.benchmarks.davis_clips import VideoInMemory, add_input_arguments, read_clip
from backend.benchmarks.track import FPS, load_segmenter, score_masks
from refam.backbones.presets import DEFAULT_BACKBONE
from refam.grounder_loading import load_grounder_or_group
from refam.model import Model
from refam.pipeline.roi import RegionOfInterest
from refam.pipeline.tracks import join_tracks
from refam.pipeline.types import PipelineError, PipelineOptions, Target
from video import masks


def find_and_track(model, clip, words, *, fps):
    """Return the masks of what the words find, (N, H, W) bool, and the first result; without any, the reason."""
    video = VideoInMemory(clip.frames, name=clip.name, fps=fps)
    region = RegionOfInterest(max_side_px=model.quality.max_side_px)
    try:
        results = model.run(video, [Target(words, words)], region=region)
    except PipelineError as error:
        return np.zeros_like(clip.truth), str(error)
    together = join_tracks([result.track for result in results])
    return np.stack([masks.decode(rle) for rle in together.rles]), results[0]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_input_arguments(parser)
    parser.add_argument("--words", nargs="+", required=True, metavar="CLIP=WORDS")
    parser.add_argument("--backbone", default=DEFAULT_BACKBONE)
    parser.add_argument("--quality", default="normal")
    parser.add_argument(
        "--candidates", type=int, default=PipelineOptions().candidate_tracks, help="tracks compared for one expression"
    )
    parser.add_argument("--step", type=int, default=3, help="use every n-th frame of a clip")
    return parser.parse_args()


def main():
    args = parse_arguments()
    asked = dict(item.split("=", 1) for item in args.words)
    first = read_clip(args.davis, next(iter(asked)), step=1, max_frames=1).frames[0]
    segmenter = load_segmenter(args.sam2, args.features, first)
    options = PipelineOptions(candidate_tracks=args.candidates)
    model = Model(segmenter, lambda: load_grounder_or_group(args.backbone), quality=args.quality, options=options)
    width = max(map(len, asked.values()))
    print(f"{'clip':14s} {'words':{width}s}   J&F  score  there  notes")
    total = []
    for name, words in asked.items():
        clip = read_clip(args.davis, name, step=args.step)
        found, result = find_and_track(model, clip, words, fps=FPS / args.step)
        total.append(np.mean(score_masks(found, clip.truth)))
        if isinstance(result, str):
            said = f"{0:5.2f}  {0:5.2f}  {result}"
        else:
            said = f"{result.score:5.2f}  {result.features['presence']:5.2f}  {'; '.join(result.notes)}"
        print(f"{name:14s} {words:{width}s} {total[-1]:5.3f}  {said}", flush=True)
    print(f"{'mean':14s} {'':{width}s} {np.mean(total):5.3f}   {segmenter.name}, {model.model_version}")


if __name__ == "__main__":
    main()
