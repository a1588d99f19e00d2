"""`refam eval`: how well a backbone grounds scenes whose truth is known, and the calibration of its confidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli.console import one_line_errors, steps
from backend.cli.console import out as stdout
from backend.cli.eval_datasets import add_datasets
from backend.cli.eval_effort import add_loop

if TYPE_CHECKING:
    from refam.grounder import Grounder

eval_app = typer.Typer(help="Judge a backbone on scenes whose truth is known, and on benchmarks.", no_args_is_help=True)
add_datasets(eval_app)
add_loop(eval_app)
Backbone = Annotated[
    str, typer.Option(envvar="REFAM_BACKBONE", help="Preset name, pipeline folder or hub name that reads the words.")
]
Like = Annotated[
    str | None,
    typer.Option(help="Blocks, noise level and sizes of this preset, for a folder of the same kind, e.g. tiny."),
]
Device = Annotated[str, typer.Option(envvar="REFAM_DEVICE", help="auto, cpu, cuda, cuda:1 or mps.")]


@eval_app.command()
def scenes(
    *,
    backbone: Backbone = "tiny",
    like: Like = None,
    device: Device = "auto",
    limit: Annotated[int, typer.Option(min=2, max=1000, help="How many of the 1000 held-out scenes.")] = 1000,
    ablate: Annotated[bool, typer.Option("--ablate", help="What each part of the method is worth.")] = False,
    looks: Annotated[
        bool, typer.Option("--looks", help="What more draws, noise levels and frames that vote buy, and cost.")
    ] = False,
    calibration: Annotated[
        bool, typer.Option("--calibration", help="Whether its confidence means what it says.")
    ] = False,
    choose: Annotated[
        bool, typer.Option("--choose", help="Search blocks and noise level, on other scenes than the held-out ones.")
    ] = False,
) -> None:
    """Ground held-out scenes: point accuracy, J and F with 95 % intervals, for each kind of expression.

    The mask for J and F is what GrabCut, the segmenter that needs no weights, makes of the heatmap. Prints Markdown.
    """
    with one_line_errors(), steps() as step:
        from refam.evaluation import (
            confidence_scores as scoring_confidence,
        )
        from refam.evaluation import (
            grounding_scores as scoring,
        )
        from refam.evaluation import (
            reading_scores as scoring_looks,
        )
        from refam.segmenters.load import load_segmenter
        from refam.tiny import heldout

        grounder, segmenter = _grounder(backbone, like, device), load_segmenter(None)
        if choose:
            others = list(heldout.cases(limit, heldout.CHOICE_SEED))
            _print(scoring_looks.choose(grounder, others, progress=lambda f: step("ground", f)))
            return
        judged = list(heldout.cases(limit, heldout.HELD_OUT_SEED))
        if looks:
            _print(scoring_looks.stills(grounder, judged, segmenter, progress=lambda f: step("looks", f)))
            clips = list(heldout.clips(max(1, limit // 8), heldout.HELD_OUT_SEED))
            _print(f"\n{len(clips)} clips of 8 planned frames\n")
            _print(scoring_looks.votes(grounder, clips, progress=lambda f: step("votes", f)))
            return
        rows = scoring.ABLATION if ablate else {"as it ships": scoring.SHIPPED}
        found = scoring.judge(grounder, judged, rows, segmenter, progress=lambda f: step("ground", f))
        _print(scoring.ablation(found, "as it ships") if ablate else scoring.by_kind(found["as it ships"]))
        if calibration:
            _print("\n" + scoring_confidence.report(grounder, found["as it ships"]))


@eval_app.command()
def calibrate(
    *,
    backbone: Backbone = "tiny",
    like: Like = None,
    device: Device = "auto",
    limit: Annotated[int, typer.Option(min=50, help="How many scenes to fit on; none of them is held out.")] = 1000,
) -> None:
    """Fit what a backbone's confidence means, and keep it beside the model.

    Writes refam_calibration.json into the pipeline's folder, or, for a hub name, into ~/.cache/refam. It counts for
    these weights and settings alone, and for pictures like the drawn scenes.
    """
    with one_line_errors(), steps() as step:
        from refam.backbones import preset_for
        from refam.calibration import calibration_path
        from refam.evaluation import confidence_scores as scoring_confidence

        grounder = _grounder(backbone, like, device)
        made = scoring_confidence.calibrate(grounder, limit, progress=lambda f: step("ground", f))
        path = calibration_path(preset_for(backbone).source)
        made.save(path)
        _print(f"written to {path}; see `refam eval scenes --calibration`")


def _grounder(backbone: str, like: str | None, device: str) -> Grounder:
    """As it ships; says what is judged."""
    from backend.settings import weight_settings
    from refam.grounder import load_grounder

    grounder = load_grounder(backbone, device=device, like=like, loading=weight_settings().loading())
    preset = grounder.backbone.preset
    _print(f"{grounder.name}: blocks {preset.blocks}, noise {preset.noise}, draws {preset.draws}\n")
    return grounder


def _print(text: str) -> None:
    stdout.print(text, markup=False, soft_wrap=True)
