"""Score how well the tracker reports that an object is lost, and how well its scores are calibrated.

    make bench-lost DAVIS=DIR [SAM2=DIR] [ARGS="--features DIR --quality best --composed DIR"]

DAVIS holds JPEGImages/<clip>/*.jpg and Annotations/<clip>/*.png, at least two clips. The tracker that goes with the
segmenter (SAM2, or GrabCut without SAM2=) starts from a click on the first frame and sees every third frame (`--step`).

1. Lost objects, on clips into which another was cut, and clips in which a bar or another object passes in front. An
   object is hidden on a frame if less than 5 % of it is visible; frames with 5 % to 30 % are not scored. "lost" is
   correct on hidden frames; a mask is correct if its IoU with the visible part is at least 0.5.
2. Scores, on clips as they are, reversed, and with something in front, and on clips of `make compose` (`--composed`):
   the model of `video.tracking.expected_iou` that fits them, and its calibration error, also with all clips of an
   object judged by a fit without them.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from backend.benchmarks.davis_clips import (
    HIDDEN_SHARE,
    PARTIAL_SHARE,
    add_input_arguments,
    clip_names,
    first_mask,
    insert_other_clip,
    load_sam2,
    occlude_with_bar,
    occlude_with_object,
    read_clips,
)
from refam.evaluation.synthetic import ArrayClip
from refam.pipeline.quality import Quality
from refam.segmenters.grabcut import GrabCutSegmenter
from video import masks
from video.metrics import region_similarity
from video.tracking.expected_iou import DOUBTFUL_IOU, apply_logistic, iou_evidence
from video.tracking.propagate import propagate

SHORT_FRAMES = 11  # frames of a clip with something in front when scores are fitted
BINS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.001)


@dataclass(frozen=True, eq=False)
class TrackEvaluation:
    """The results of one tracker on one clip.

    Attributes:
        name: The clip's name.
        object: The name of the clip that its object is of.
        j: (N,) float, J of each frame.
        score: (N,) float, the tracker's score.
        evidence: (N, 2) float, see `iou_evidence`.
        visible: (N,) bool, whether the tracker calls the object visible.
        share: (N,) float, the share of the object that is visible.
    """

    name: str
    object: str
    j: np.ndarray
    score: np.ndarray
    evidence: np.ndarray
    visible: np.ndarray
    share: np.ndarray


def track_clip(clip, segmenter, schedule, *, names):
    """Track the object of a clip from a click on its first frame.

    Args:
        clip: The clip.
        segmenter: The segmenter.
        schedule: When to look.
        names: The clips whose objects others are composed of, or changed.

    Returns:
        The `TrackEvaluation`, with the tracker's own scores.
    """
    n, name = len(clip.frames), clip.name.split("+")[0].split("|")[0]
    source = next((one for one in names if name == one or name.endswith(f"-{one}")), name)
    mask = first_mask(segmenter, clip.frames[0], clip.truth[0], "click")
    if mask is None:
        nothing = np.zeros(n)
        return TrackEvaluation(clip.name, source, nothing, nothing, np.zeros((n, 2)), nothing > 0, clip.share)
    track = propagate(ArrayClip(clip.frames), 0, mask, segmenter, schedule=schedule)
    j = [region_similarity(masks.decode(rle), truth) for rle, truth in zip(track.rles, clip.truth, strict=True)]
    evidence = iou_evidence(track, known=[0])
    return TrackEvaluation(clip.name, source, np.array(j), track.scores, evidence, track.visible, clip.share)


def hidden_clips(clips):
    """Return clips with cuts, with a bar and with another object in front, by kind; each uses the next clip."""
    pairs = list(zip(clips, clips[1:] + clips[:1], strict=True))
    kinds = {"cut": insert_other_clip, "bar": occlude_with_bar, "object": occlude_with_object}
    return {kind: [build(clip, other) for clip, other in pairs] for kind, build in kinds.items()}


def scored_clips(clips, composed=()):
    """Return clips as they are and reversed, composed ones too, and short ones with something in front, by kind."""
    short = [
        replace(clip, **{key: getattr(clip, key)[:SHORT_FRAMES] for key in ("frames", "truth", "share")})
        for clip in clips
    ]
    whole = [*clips, *composed]
    backward = [
        replace(clip, **{key: getattr(clip, key)[::-1] for key in ("frames", "truth", "share")})
        for clip in whole
        if clip.truth[-1].any()
    ]
    hidden = hidden_clips(short)
    return {"whole": whole, "backward": backward, "bar": hidden["bar"], "object": hidden["object"]}


def print_lost_scores(title, rows):
    """Print how often "lost" is correct, and the reliability of the scores.

    Args:
        title: The segmenter and the tracker.
        rows: Kind of occlusion -> one `TrackEvaluation` per clip.
    """
    print(
        f"{title}\n  hidden by  frames hidden  lost  precision recall  wrong masks  back on it at the end", flush=True
    )
    for kind, results in rows.items():
        share, visible, j = (np.concatenate([getattr(s, k) for s in results]) for k in ("share", "visible", "j"))
        hidden, clear = share < HIDDEN_SHARE, share >= PARTIAL_SHARE
        lost = ~visible
        right, judged = (lost & hidden).sum(), (lost & (hidden | clear)).sum()
        wrong = (visible & (hidden | (clear & (j < 0.5)))).sum()
        back = sum(bool(s.visible[-1] and s.j[-1] >= 0.5) for s in results)
        print(
            f"  {kind:9s} {len(share):7d} {hidden.sum():6d} {lost.sum():5d}  {right / max(1, judged):9.2f}"
            f" {right / max(1, hidden.sum()):6.2f}  {wrong:11d}  {back} of {len(results)}"
        )
    print_reliability([s for results in rows.values() for s in results])


def print_score_fit(title, rows):
    """Print the model that fits the scores, and its calibration on objects that were held out of the fit.

    Args:
        title: The segmenter and the tracker.
        rows: Kind of clip -> one `TrackEvaluation` per clip, of at least two objects.
    """
    results = [s for of_kind in rows.values() for s in of_kind]
    score, ious = visible_frame_scores(results)
    evidence = np.concatenate([s.evidence[judged_frames(s)] for s in results])
    source = np.concatenate([[s.object] * judged_frames(s).sum() for s in results])
    model = fit_model(evidence, ious)
    held_out = np.empty_like(score)
    for name in set(source):
        others = source != name
        held_out[~others] = apply_logistic(evidence[~others], fit_model(evidence[others], ious[others]))
    fitted = apply_logistic(evidence, model)
    weights = ", ".join(f"{weight:.3f}" for weight in model[:-1])
    print(f"{title}: {len(score)} frames of {len(set(source))} objects; weights {weights}, bias {model[-1]:.3f}")
    print("  calibration error (expected, of IoU): ", end="")
    for name, values in (("raw", score), ("fitted", fitted), ("fitted, each object by a fit without it", held_out)):
        print(f"{name} {calibration_error(values, ious):.3f}", end="; ")
    for threshold in (0.5, 0.8, DOUBTFUL_IOU):
        low = held_out < threshold
        print(
            f"held-out score below {threshold}: {low.sum()} frames, {(low & (ious < 0.8)).sum()} of them under IoU 0.8",
            end="; ",
        )
    print(f"in all {(ious < 0.8).sum()} are under it", flush=True)


def fit_model(evidence, ious):
    """Return the logistic model (weights >= 0, then the bias) with the least cross entropy against the IoUs."""

    def loss(theta):
        p = np.clip(apply_logistic(evidence, theta), 1e-9, 1 - 1e-9)
        return -(ious * np.log(p) + (1 - ious) * np.log1p(-p)).mean()

    k = evidence.shape[1]
    return minimize(loss, np.zeros(k + 1), method="L-BFGS-B", bounds=[(0, None)] * k + [(None, None)]).x


def print_reliability(results):
    """Print the mean IoU of the frames in each bin of the score, and the calibration error."""
    score, ious = visible_frame_scores(results)
    print("  score     frames  mean score  mean IoU   (frames called visible)")
    for low, high in itertools.pairwise(BINS):
        in_bin = (score >= low) & (score < high)
        if in_bin.any():
            means = f"{score[in_bin].mean():10.2f}  {ious[in_bin].mean():8.2f}"
            print(f"  {low:.1f}-{min(high, 1):.1f}  {in_bin.sum():7d}  {means}")
    print(f"  calibration error (expected, of IoU): {calibration_error(score, ious):.3f}", flush=True)


def judged_frames(result):
    """Return (N,) bool: the frames that are called visible, without the first one, whose mask is given."""
    return result.visible & (np.arange(len(result.j)) > 0)


def visible_frame_scores(results):
    """Return (scores, IoUs) of all frames that are judged."""
    return (
        np.concatenate([s.score[judged_frames(s)] for s in results]),
        np.concatenate([np.where(s.share > 0, s.j, 0)[judged_frames(s)] for s in results]),
    )


def calibration_error(score, ious, bins=10):
    """Return the mean distance of mean score and mean IoU, over bins of equally many frames."""
    order = np.argsort(score, kind="stable")
    parts = [p for p in np.array_split(order, bins) if len(p)]
    return float(sum(len(p) * abs(score[p].mean() - ious[p].mean()) for p in parts) / max(1, len(order)))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_input_arguments(parser)
    parser.add_argument("--quality", choices=list(Quality), default=Quality.NORMAL, help="decides when SAM2 looks")
    parser.add_argument("--tables", nargs="+", choices=("lost", "scores"), default=("lost", "scores"))
    parser.add_argument("--clips", nargs="+", help="all by default")
    parser.add_argument(
        "--composed", type=Path, nargs="+", default=[], help="folders of `make compose`, for the scores"
    )
    parser.add_argument("--step", type=int, default=3, help="use every n-th frame of a clip")
    return parser.parse_args()


def main():
    args = parse_arguments()
    names = args.clips or clip_names(args.davis)
    clips = read_clips(args.davis, names, step=args.step)
    composed = [clip for root in args.composed for clip in read_clips(root, clip_names(root), step=args.step)]
    schedule = Quality(args.quality).options().schedule
    with tempfile.TemporaryDirectory() as temporary:
        segmenter = GrabCutSegmenter()
        if args.sam2:
            segmenter = load_sam2(args.sam2, args.features or Path(temporary))
        title = f"{segmenter.name}, {args.quality}, every {args.step}. frame"
        for table, build, show in (
            ("lost", hidden_clips, print_lost_scores),
            ("scores", lambda clips: scored_clips(clips, composed), print_score_fit),
        ):
            if table in args.tables:
                kinds = build(clips).items()
                show(
                    title,
                    {k: [track_clip(clip, segmenter, schedule, names=names) for clip in some] for k, some in kinds},
                )


if __name__ == "__main__":
    main()
