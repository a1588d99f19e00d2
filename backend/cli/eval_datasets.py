"""`refam eval DATASET`: judge the method on a public dataset; an expression that cannot be asked costs only itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from backend.cli.console import Device, exit_code, one_line_errors, require_file, steps
from backend.cli.console import out as stdout
from backend.cli.out_option import output_folder
from backend.cli.result_folder import hold_folder
from refam.backbones.presets import DEFAULT_BACKBONE
from video.errors import UserError

if TYPE_CHECKING:
    from refam.evaluation.benchmark import SampleScore, Start
    from refam.evaluation.samples import BenchmarkSample
    from refam.grounder import Grounder, GroundingOptions
    from refam.grounder_group import GrounderGroup


class Dataset(NamedTuple):
    """split: The part that is evaluated unless --split names another. about: What the dataset is, and its layout."""

    split: str
    about: str


DATASETS = {
    "ref-davis17": Dataset(
        "valid",
        "Ref-DAVIS17: DAVIS 2017's videos with four expressions an object, in Refer-YouTube-VOS's layout "
        "(meta_expressions), as ReferFormer converts them.",
    ),
    "refer-youtube-vos": Dataset(
        "valid", "Refer-YouTube-VOS: YouTube-VOS's videos with expressions; --out keeps what its server judges."
    ),
    "mevis": Dataset("valid_u", "MeViS: videos with expressions that tell objects apart by their motion."),
    "davis": Dataset(
        "val",
        "DAVIS 2016 or 2017: videos with masks (JPEGImages, Annotations) and no expressions. Use --start click, or "
        "give words in meta.json or davis_semantics.json. Your own clips fit in here.",
    ),
    "refcoco": Dataset("val", "RefCOCO: COCO's pictures with short expressions."),
    "refcoco+": Dataset("val", "RefCOCO+: COCO's pictures with short expressions that name no place."),
    "refcocog": Dataset("val", "RefCOCOg: COCO's pictures with long expressions."),
}


def dataset_command(dataset: str) -> Callable[..., None]:
    """Return the command `refam eval DATASET`."""

    def evaluate(
        root: Annotated[Path, typer.Argument(help="The dataset's folder.", show_default=False)],
        *,
        split: Annotated[str, typer.Option(help="Which part of it.")] = DATASETS[dataset].split,
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
            Path | None,
            typer.Option(
                help="Folder for records, masks and the table; a second start goes on there.",
                parser=output_folder,
                metavar="<path>",
            ),
        ] = None,
        backbone: Annotated[
            str, typer.Option(envvar="REFAM_BACKBONE", help="What reads the words.")
        ] = DEFAULT_BACKBONE,
        like: Annotated[
            str | None, typer.Option(help="Settings of this preset, for a folder of the same kind.")
        ] = None,
        sam2: Annotated[
            str | None,
            typer.Option(
                envvar="REFAM_SAM2",
                help="As in `refam label`; unless given, the best that is on this machine, or else GrabCut.",
            ),
        ] = None,
        device: Device = "auto",
        seed: Annotated[int, typer.Option(min=0, help="Of the noise that the words are read with.")] = 0,
    ) -> None:
        if ablate and start == "click":
            raise typer.BadParameter("--ablate is about words, and --start click has none")
        with one_line_errors(), ExitStack() as held, steps() as step:
            require_file(root)
            if out is not None:
                held.enter_context(hold_folder(out))
            code = _evaluate_dataset(
                dataset,
                root,
                split,
                start=start,
                ablate=ablate,
                limit=limit,
                out=out,
                seed=seed,
                load_models=partial(_load_models, backbone, like, sam2, device, seed),
                progress=lambda share: step("expressions", share),
            )
        raise typer.Exit(code)

    return evaluate


def _evaluate_dataset(
    dataset: str,
    root: Path,
    split: str,
    *,
    start: Start,
    ablate: bool,
    limit: int | None,
    out: Path | None,
    seed: int,
    load_models: Callable[[], tuple[Any, Callable[[GroundingOptions], Grounder | GrounderGroup]]],
    progress: Callable[[float], None],
) -> int:
    """Print and write the table, say what was left out, and return the exit code."""
    from refam.evaluation.benchmark import (
        ABLATION_ROWS,
        EvaluationRun,
        evaluate_sample,
        record_settings,
        results_table,
    )
    from refam.evaluation.datasets import STILL_DATASETS, read_dataset
    from refam.evaluation.samples import one_per_object
    from refam.pipeline.pipeline import Pipeline
    from video.atomic_files import write_text
    from video.formats.base import FormatError

    left_out: list[str] = []
    everything = read_dataset(dataset, root, split, skipped=left_out)
    samples: list[BenchmarkSample] = list(
        itertools.islice(one_per_object(everything) if start == "click" else everything, limit)
    )
    if not samples and left_out:
        return exit_code(left_out, done=0, of="expressions")
    if not samples:
        raise FormatError(f"{root} has no expressions in the split {split!r}")
    segmenter, make_grounder = load_models()
    rows = ABLATION_ROWS if ablate else {"as it ships": ABLATION_ROWS["as it ships"]}
    scores: dict[str, list[SampleScore]] = {name: [] for name in rows}
    asked = 0
    for name, grounding_options in rows.items():
        grounder = lru_cache(maxsize=1)(partial(make_grounder, grounding_options))
        reads = "-" if start == "click" else grounder().name  # a model that cannot be loaded ends the whole run
        pipeline = Pipeline(segmenter, grounder=grounder)
        if out is not None and name == next(iter(rows)):
            settings = {"dataset": dataset, "split": split, "start": start, "rows": list(rows), "seed": seed}
            settings |= {"backbone": reads, "segmenter": pipeline.model_version.split("/", 2)[2]}
            record_settings(out, settings, package="refam-label-studio")
        run = None if out is None else EvaluationRun(out, name, masks=dataset not in STILL_DATASETS)
        judged: list[BenchmarkSample] = []
        for sample in samples:
            if run is not None and sample.key in run.scores:
                judged.append(sample)
                scores[name].append(run.scores[sample.key])
            else:
                with _leave_out(sample, left_out):
                    scored = evaluate_sample(sample, pipeline, grounder, start)
                    judged.append(sample)
                    scores[name].append(scored.score)
                    if run is not None:
                        run.add(sample, scored)
            asked += 1
            progress(asked / (len(rows) * len(samples)))
        if run is not None and judged and (submission := run.write_submission(judged)):
            _print(f"masks are in {submission}")
    done = min(len(of_row) for of_row in scores.values())
    if not done:
        return exit_code(left_out, done=0, of="expressions")
    table = results_table(dataset, split, scores)
    if out is not None:
        write_text(out / "table.md", table + "\n")
    _print(table)
    return exit_code(left_out, done=done, of="expressions")


@contextmanager
def _leave_out(sample: BenchmarkSample, left_out: list[str]) -> Iterator[None]:
    """Note an error about one expression, with its name and once for all rows, and go on behind the block."""
    try:
        yield
    except UserError as error:
        text = " ".join(str(error).split())
        text = text if text.startswith(sample.key) else f"{sample.key}: {text}"
        if text not in left_out:
            left_out.append(text)


def _load_models(
    backbone: str, like: str | None, sam2: str | None, device: str, seed: int
) -> tuple[Any, Callable[[GroundingOptions], Grounder | GrounderGroup]]:
    """Return the segmenter and a function that makes a grounder; the backbone loads once, when words first need it."""
    from dataclasses import replace

    from backend.settings import weight_settings

    weights = weight_settings()

    @lru_cache(maxsize=1)
    def load() -> Grounder | GrounderGroup:
        from refam.grounder_loading import load_grounder_or_group

        return load_grounder_or_group(backbone, device=device, settings_from=like, loading=weights.loading())

    def make_grounder(grounding_options: GroundingOptions) -> Grounder | GrounderGroup:
        return load().with_options(replace(grounding_options, seed=seed, reading=weights.reading_options()))

    return weights.segmenter(sam2, device=device), make_grounder


def _print(text: str) -> None:
    stdout.print(text, markup=False, soft_wrap=True)
