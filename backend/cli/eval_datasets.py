"""`refam eval DATASET ROOT`: a benchmark in its official layout, judged beside what the paper reports."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from backend.cli.console import one_line_errors, steps
from backend.cli.console import out as stdout

if TYPE_CHECKING:
    from refam.evaluation.answers import Start
    from refam.evaluation.questions import Question
    from refam.grounder import Grounder, GroundingOptions

SPLITS = {
    "ref-davis17": "valid",
    "refer-youtube-vos": "valid",
    "mevis": "valid_u",
    "davis": "val",
    "refcoco": "val",
    "refcoco+": "val",
    "refcocog": "val",
}
"""The datasets, and the split that is taken unless another is named."""

_PICTURES = ("refcoco", "refcoco+", "refcocog")


def add_datasets(app: typer.Typer) -> None:
    """One command for each dataset."""
    for name in SPLITS:
        app.command(name, help=f"Judge on {name}, in its official layout below ROOT.")(_command(name))


def _command(dataset: str) -> Callable[..., None]:
    def judge(
        root: Annotated[Path, typer.Argument(help="The dataset's folder.", show_default=False)],
        *,
        split: Annotated[str, typer.Option(help="Which part of it.")] = SPLITS[dataset],
        start: Annotated[
            Literal["words", "paper", "click"],
            typer.Option(
                help="words: the whole pipeline. paper: as RefAM, a click at the strongest place of the first "
                "frame's heatmap. click: no words, a click on the truth."
            ),
        ] = "words",
        ablate: Annotated[bool, typer.Option("--ablate", help="The rows of the paper's ablation.")] = False,
        limit: Annotated[int | None, typer.Option(min=1, help="How many expressions; all unless given.")] = None,
        out: Annotated[
            Path | None, typer.Option(help="Folder for records, masks and the table; a second start goes on there.")
        ] = None,
        backbone: Annotated[str, typer.Option(envvar="REFAM_BACKBONE", help="What reads the words.")] = "tiny",
        like: Annotated[
            str | None, typer.Option(help="Settings of this preset, for a folder of the same kind.")
        ] = None,
        sam2: Annotated[
            str | None, typer.Option(envvar="REFAM_SAM2", help="SAM2 folder or hub name; without it GrabCut.")
        ] = None,
        device: Annotated[str, typer.Option(envvar="REFAM_DEVICE", help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
        seed: Annotated[int, typer.Option(min=0, help="Of the noise that the words are read with.")] = 0,
    ) -> None:
        if ablate and start == "click":
            raise typer.BadParameter("--ablate is about words, and --start click has none")
        with one_line_errors(), steps() as step:
            _judge(
                dataset,
                root,
                split,
                start=start,
                ablate=ablate,
                limit=limit,
                out=out,
                seed=seed,
                models=partial(_models, backbone, like, sam2, device, seed),
                progress=lambda share: step("expressions", share),
            )

    return judge


def questions_of(dataset: str, root: Path, split: str) -> Iterator[Question]:
    """The expressions of a dataset. Raises FormatError."""
    from refam.evaluation.davis import davis
    from refam.evaluation.expressions import mevis, ref_davis17, refer_youtube_vos
    from refam.evaluation.refcoco import refcoco

    readers: dict[str, Callable[[Path, str], Iterator[Question]]] = {
        "ref-davis17": ref_davis17,
        "refer-youtube-vos": refer_youtube_vos,
        "mevis": mevis,
        "davis": davis,
        **{name: partial(refcoco, name=name) for name in _PICTURES},
    }
    return readers[dataset](root, split)


def _judge(
    dataset: str,
    root: Path,
    split: str,
    *,
    start: Start,
    ablate: bool,
    limit: int | None,
    out: Path | None,
    seed: int,
    models: Callable[[], tuple[Any, Callable[[GroundingOptions], Grounder]]],
    progress: Callable[[float], None],
) -> None:
    from refam.evaluation.answers import answer
    from refam.evaluation.published import ROWS
    from refam.evaluation.questions import objects
    from refam.evaluation.runs import EvaluationRun, record_settings, table
    from refam.pipeline.pipeline import Pipeline
    from video.formats.base import FormatError, write_text

    everything = questions_of(dataset, root, split)
    asked = list(itertools.islice(objects(everything) if start == "click" else everything, limit))
    if not asked:
        raise FormatError(f"{root} has no expressions in the split {split!r}")
    segmenter, grounder_of = models()
    rows = ROWS if ablate else {"as it ships": ROWS["as it ships"]}
    found: dict[str, list[Any]] = {name: [] for name in rows}
    done = 0
    for name, options in rows.items():
        grounder = lru_cache(maxsize=1)(partial(grounder_of, options))
        pipeline = Pipeline(segmenter, grounder=grounder)
        if out is not None and name == next(iter(rows)):
            reads = "-" if start == "click" else grounder().name
            settings = {"dataset": dataset, "split": split, "start": start, "rows": list(rows), "seed": seed}
            settings |= {"backbone": reads, "segmenter": pipeline.model_version.split("/", 2)[2]}
            record_settings(out, settings, package="refam-label-studio")
        run = None if out is None else EvaluationRun(out, name, masks=dataset not in _PICTURES)
        for question in asked:
            if run is None or question.key not in run.verdicts:
                result = answer(question, pipeline, grounder, start)
                found[name].append(result.verdict)
                if run is not None:
                    run.add(question, result)
            else:
                found[name].append(run.verdicts[question.key])
            done += 1
            progress(done / (len(rows) * len(asked)))
        if run is not None and (packed := run.pack(asked)):
            stdout.print(f"masks are in {packed}", markup=False, soft_wrap=True)
    text = table(dataset, split, found)
    if out is not None:
        write_text(out / "table.md", text + "\n")
    stdout.print(text, markup=False, soft_wrap=True)


def _models(
    backbone: str, like: str | None, sam2: str | None, device: str, seed: int
) -> tuple[Any, Callable[[GroundingOptions], Grounder]]:
    """The segmenter, and what makes a grounder with options; the backbone is loaded once, when words need it."""
    from dataclasses import replace

    from refam.segmenters.load import load_segmenter

    @lru_cache(maxsize=1)
    def loaded() -> Grounder:
        from backend.settings import weight_settings
        from refam.grounder import load_grounder

        return load_grounder(backbone, device=device, like=like, loading=weight_settings().loading())

    def grounder_of(options: GroundingOptions) -> Grounder:
        from refam.backbones import preset_for
        from refam.calibration import calibration_path, load_calibration
        from refam.grounder import Grounder

        calibration = load_calibration(calibration_path(preset_for(backbone).source))
        return Grounder(loaded().backbone, replace(options, seed=seed), calibration=calibration)

    return load_segmenter(sam2, device=device), grounder_of
