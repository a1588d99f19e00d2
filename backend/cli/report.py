"""What `refam label` prints at its end: the objects, where the files are, what needs a look; as text or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from backend.cli.console import out, print_table

if TYPE_CHECKING:
    from backend.cli.outputs import Outputs
    from refam.pipeline.preview import PreviewResult
    from refam.pipeline.types import TrackResult
    from video.io.reader import Clip

_ALL_WELL = "nothing: no gap, low score, sudden change or doubt of the words"


def print_report(clip: Clip, results: Sequence[TrackResult], written: Outputs, *, version: str) -> None:
    """Print the scores, when each object is visible, and where the files are."""
    from backend.cli.outputs import visible_spans_s

    table = Table("object", "label", "score", "seen on", "seen from - to", box=None, pad_edge=False)
    for k, result in enumerate(results):
        spans_s = visible_spans_s(result.track, clip)
        when = ", ".join(f"{a:.2f}-{b:.2f} s" for a, b in spans_s) or "never"
        count = f"{int(result.track.visible.sum())} of {len(written.frames)}"
        table.add_row(str(k), Text(result.target.label), f"{result.score:.2f}", count, when)
    print_table(table)
    print_notes(results)
    print_line("masks", f"{written.masks}{_part_of(clip, written.frames)}")
    print_line("tracks", written.tracks)
    print_line("task to import", written.task)
    print_line("its label config", written.config)
    print_line("overlay", f"{written.overlay}{_part_of(clip, written.frames)}")
    never = ", ".join(f"object {k}" for k, result in enumerate(results) if not result.track.visible.any())
    print_line("needs a look", written.sheet if written.review else f"{never}: never seen" if never else _ALL_WELL)
    for item in written.review:
        what = f"{results[item.track].target.label}: " if len(results) > 1 else ""
        print_line("", f"frame {item.frame} ({clip.times[item.frame]:.2f} s): {what}{item.why}")
    print_line("made by", version)


def print_agreements(results: Sequence[PreviewResult]) -> None:
    """Print of each object that words found how well words, mask and frames agree, as its preview says."""
    for k, result in enumerate(results):
        if (agreement := _agreement(result)) is not None:
            text = f"object {k}: {result.target.label}: {agreement:.2f} (how well words, mask and frames agree)"
            out.print(text, markup=False, soft_wrap=True)


def _agreement(result: PreviewResult) -> float | None:
    """The number on a first mask, in [0, 1]; None where it is what a person drew, or none was found."""
    return float(result.first_mask.scores[0]) if result.first_mask is not None and result.is_of_words else None


def print_notes(results: Sequence[TrackResult]) -> None:
    """Print what is to be said of each object."""
    for k, result in enumerate(results):
        for sentence in result.notes:
            out.print(f"object {k}: {sentence}", markup=False, soft_wrap=True)


def print_line(name: str, text: str | Path) -> None:
    """Print one line of the report."""
    out.print(f"{name:<17}{text}", markup=False, soft_wrap=True)


def _part_of(clip: Clip, frames: range) -> str:
    return "" if len(frames) == len(clip) else f": frames {frames[0]} to {frames[-1]} of 0 to {len(clip) - 1}"


def report_json(clip: Clip, results: Sequence[TrackResult], written: Outputs, *, version: str) -> dict[str, Any]:
    """Return the report as JSON: paths, frames counted from 0, times in seconds, scores in [0, 1]."""
    from backend.cli.outputs import visible_spans_s

    return {
        "made_by": version,
        "frames": len(clip),
        "looked_at": [written.frames[0], written.frames[-1]],
        "objects": [
            {
                "object": k,
                "label": result.target.label,
                "words": result.target.words,
                "instance": result.instance,
                "score": round(result.score, 4),
                "seen_frames": int(result.track.visible.sum()),
                "seen_s": [[round(a, 6), round(b, 6)] for a, b in visible_spans_s(result.track, clip)],
                "keyframes": [key.frame for key in result.keyframes],
                "notes": list(result.notes),
            }
            for k, result in enumerate(results)
        ],
        "files": {
            "masks": str(written.masks),
            "tracks": str(written.tracks),
            "task": str(written.task),
            "label_config": str(written.config),
            "overlay": str(written.overlay),
            "review_sheet": str(written.sheet) if written.review else None,
            "preview": str(written.preview) if written.preview.exists() else None,
        },
        "needs_a_look": [
            {
                "frame": item.frame,
                "frames": [item.named[0], item.named[-1]],
                "time_s": round(float(clip.times[item.frame]), 6),
                "object": item.track,
                "why": item.why,
            }
            for item in written.review
        ],
    }


def preview_json(path: Path, results: Sequence[PreviewResult]) -> dict[str, Any]:
    """Return the report of --preview-only as JSON: boxes normalised xyxy, frames counted from 0.

    `agreement`, in [0, 1], says how well words, mask and frames agree.
    """
    return {
        "objects": [
            {
                "object": k,
                "label": result.target.label,
                "words": result.target.words,
                "instance": result.instance,
                "frame": result.anchor_frame if result.first_mask is not None else None,
                "agreement": None if (agreement := _agreement(result)) is None else round(agreement, 4),
                "box": [round(float(c), 6) for c in result.first_mask.boxes[0]] if result.first_mask else None,
                "notes": list(result.notes),
            }
            for k, result in enumerate(results)
        ],
        "files": {"preview": str(path)},
    }
