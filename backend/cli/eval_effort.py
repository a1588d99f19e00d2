"""`refam eval strokes` and `refam eval need`: what an answer is worth to a person, and whether its score says so."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli.console import one_line_errors, steps
from backend.cli.console import out as stdout
from backend.cli.options import Backbone, Device, Sam2

if TYPE_CHECKING:
    from refam.pipeline.pipeline import Pipeline


def add_loop(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(strokes)
    app.command()(need)


def strokes(
    root: Annotated[Path | None, typer.Argument(help="Clips laid out as DAVIS; drawn ones without it.")] = None,
    *,
    clips: Annotated[list[str] | None, typer.Option("--clip", help="Only these clips of ROOT.")] = None,
    step: Annotated[int, typer.Option(min=1, help="Every n-th frame of ROOT's clips.")] = 1,
    limit: Annotated[int, typer.Option(min=1, help="How many drawn objects.")] = 12,
    keyframe_iou: Annotated[
        list[float] | None,
        typer.Option(min=0.1, max=1.0, help="How closely keyframes keep the track; several compare."),
    ] = None,
    backbone: Backbone = "tiny",
    sam2: Sam2 = None,
    device: Device = "auto",
) -> None:
    """What correcting costs: a simulated annotator mends every answer until all frames are right (IoU 0.8).

    Beside the fewest keyframes that a person could set alone, and one box per frame. Drawn clips are asked for by their
    words; those of ROOT by one click, for the small model knows no photographs. Prints Markdown.
    """
    with one_line_errors(), steps() as step_:
        from backend.feedback.effort import Cost, cost, davis_cases, drawn_cases, table
        from backend.labelstudio.regions import KEYFRAME_IOU

        pipeline = _pipeline(backbone, sam2, device)
        found: dict[float, list[Cost]] = {iou: [] for iou in keyframe_iou or [KEYFRAME_IOU]}
        with tempfile.TemporaryDirectory() as memo:
            if root is not None:
                names = clips or sorted(p.name for p in (root / "JPEGImages").iterdir())
                cases, total = davis_cases(root, names, step=step), len(names)
            else:
                cases, total = drawn_cases(limit), limit
            for n, case in enumerate(cases):
                for iou, costs in found.items():
                    costs.append(cost(case, pipeline, memo=Path(memo), keyframe_iou=iou))
                step_("mend", (n + 1) / total)
        stdout.print(f"{pipeline.model_version}\n", markup=False, soft_wrap=True)
        for iou, costs in found.items():
            stdout.print(f"keyframes within IoU {iou}\n\n{table(costs)}\n", markup=False, soft_wrap=True)


def need(
    *,
    clips: Annotated[int, typer.Option(min=2, help="Held-out drawn clips of three objects each.")] = 60,
    fit: Annotated[
        int, typer.Option(min=0, help="First fit the score anew on so many other clips, and keep it in the package.")
    ] = 0,
    backbone: Backbone = "tiny",
    sam2: Sam2 = None,
    device: Device = "auto",
) -> None:
    """Whether the score tells which tracks a person must correct: AUROC on held-out drawn clips, and calibration."""
    with one_line_errors(), steps() as step:
        from backend.feedback import score_evaluation as unsure
        from refam.pipeline.confidence import SHIPPED, keep, need_for

        pipeline = _pipeline(backbone, sam2, device)
        if fit:
            some = unsure.answered(pipeline, fit, unsure.FIT_SEED, progress=lambda f: step("fit", f))
            made = unsure.fitted(some, made_with=pipeline.made_with, source=f"{fit} drawn clips")
            keep(made, SHIPPED)
            stdout.print(f"fitted on {len(some)} tracks of {fit} drawn clips: {SHIPPED}", markup=False, soft_wrap=True)
        judged = unsure.answered(pipeline, clips, unsure.JUDGE_SEED, progress=lambda f: step("judge", f))
        text = unsure.table(need_for(pipeline.made_with), judged)
        stdout.print(f"{pipeline.made_with}\n\n{text}", markup=False, soft_wrap=True)


def _pipeline(backbone: str, sam2: str | None, device: str) -> Pipeline:
    from backend.settings import weight_settings
    from refam.grounder import load_grounder
    from refam.pipeline.pipeline import Pipeline

    weights = weight_settings()
    grounder = load_grounder(backbone, device=device, loading=weights.loading())
    return Pipeline(weights.segmenter(sam2, device=device), grounder=lambda: grounder)
