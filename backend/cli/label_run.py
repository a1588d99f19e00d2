"""The work of `refam label`: each video in turn, with models that are loaded once; a bad video costs only itself."""

from __future__ import annotations

import functools
import re
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import refam
from backend.cli.console import DONE, NOTHING_DONE, SOME_DONE, describe_error, err, fetch_segmenter, print_json, steps
from backend.cli.outputs import (
    Outputs,
    TaskAddress,
    check_outputs,
    delete_stages,
    other_results,
    output_paths,
    preview_folder,
    stage_cache,
    write_outputs,
)
from backend.cli.prompts import ObjectPlan
from backend.cli.report import preview_json, print_agreements, print_line, print_notes, print_report, report_json
from backend.cli.result_folder import hold_folder
from backend.cli.targets import make_targets
from backend.cli.task_address import note_outside
from backend.cli.videos import VideoSource, open_source
from backend.cli.word_advice import print_commands_to_draw
from backend.labelstudio.addresses import address_in, local_file_address
from backend.labelstudio.timeline import rate_for_task
from backend.settings import WeightSettings, weight_settings
from refam.pipeline.errors import NotFoundError, PipelineError
from refam.pipeline.preview import Preview, PreviewResult
from refam.pipeline.roi import RegionOfInterest
from refam.pipeline.types import TrackResult
from video.errors import shorten
from video.io.reader import Clip

if TYPE_CHECKING:
    from backend.cli.progress import Steps
    from refam.model import Model
    from refam.pipeline.quality import Quality
    from refam.text.magnets import Magnets


class _PreviewOnlyError(Exception):
    """Ends a run after its preview; `results` are what was previewed."""

    def __init__(self, results: Sequence[PreviewResult]) -> None:
        super().__init__("only a preview was asked for")
        self.results = results


@dataclass(frozen=True)
class ModelOptions:
    """The options of `refam label` that say which models are used and how."""

    backbone: str
    sam2: str | None
    magnets: Magnets
    device: str
    seed: int
    quality: Quality
    cache: Path | None
    download: bool
    offline: bool


class LabelRun:
    """Labels videos.

    Args:
        plans: The objects to find in each.
        options: The models.
        region: The frames to look at.
        rate: The editor's frame rate; None for each video's own.
        url: The video's address in the task, or that of the videos' folder; None for local files.
        again: Whether to begin anew.
        preview: Whether to write a picture of the first masks before anything is tracked.
        preview_only: Whether to stop there.
        as_json: Whether the report is JSON.
        show: Whether to open the overlays.
    """

    def __init__(
        self,
        plans: Sequence[ObjectPlan],
        options: ModelOptions,
        *,
        region: RegionOfInterest,
        rate: float | None = None,
        url: str | None = None,
        again: bool = False,
        preview: bool = False,
        preview_only: bool = False,
        as_json: bool = False,
        show: bool = False,
    ) -> None:
        self._plans, self._options, self._region = plans, options, region
        self._rate, self._url, self._again, self._as_json, self._show = rate, url, again, as_json, show
        self._preview, self._preview_only = preview or preview_only, preview_only
        self._why_no_weights: str | None = None

    def __call__(self, videos: Sequence[tuple[VideoSource, Path]]) -> int:
        """Label each video into its folder, print the reports, and return the exit code."""
        reports: list[dict[str, Any]] = []
        failures: list[str] = []
        several = len(videos) > 1
        # Where words alone did not find an object, with the place that they point at.
        by_words: list[tuple[VideoSource, tuple[float, float, int] | None]] = []
        done = 0
        labelled: list[Path] = []  # local files that a task names
        for i, (source, out) in enumerate(videos):
            if several and not self._as_json:
                print_line(f"video {i + 1} of {len(videos)}", source.text)
            try:
                clip, results, written, version = self._label(source, out, several=several)
            except _PreviewOnlyError as stopped:
                done += 1
                maskless = [r for r in stopped.results if r.first_mask is None]
                failures += _not_found(source, maskless)
                by_words += [(source, None) for result in maskless if not result.target.prompts]
                reports.append(
                    {"video": source.text, "out": str(out), **preview_json(output_paths(out).preview, stopped.results)}
                )
                if self._show:
                    open_file(output_paths(out).preview)
                continue
            except Exception as error:
                text = describe_error(error)
                if text is None:
                    if not several:
                        raise
                    traceback.print_exc()
                    text = f"unexpected {type(error).__name__}: {error}"
                is_named = re.search(rf"(?<!\w){re.escape(source.name)}(?!\w)", text) is not None
                if isinstance(error, NotFoundError) and not all(plan.drawings for plan in self._plans):
                    by_words.append((source, error.guess))
                text = text if is_named or not (several or source.error) else f"{source.text}: {text}"
                failures.append(text)
                reports.append({"video": source.text, "error": text})
                err.print(f"refam: {text}", markup=False, soft_wrap=True)
                continue
            done += 1
            labelled += [] if source.is_address else [Path(source.text)]
            absent = [result for result in results if not result.track.visible.any()]
            failures += _not_found(source, absent)
            by_words += [(source, None) for result in absent if not result.target.prompts]
            reports.append(
                {"video": source.text, "out": str(out), **report_json(clip, results, written, version=version)}
            )
            if written.replaced:
                err.print(
                    f"note: {out} held other results ({written.replaced}); they are replaced",
                    markup=False,
                    soft_wrap=True,
                )
            if not self._as_json:
                print_report(clip, results, written, version=version)
                self._print_segmenter()
            if self._show:
                open_file(written.overlay)
        note_outside(labelled, self._url)
        if self._as_json:
            print_json(reports if several else reports[0])
        code = self._sum_up(failures, done=done, count=len(videos))
        if by_words:
            source, guess = by_words[0]
            print_commands_to_draw(source.text, guess, frame_range=self._region.frame_range)
        return code

    def _sum_up(self, failures: Sequence[str], *, done: int, count: int) -> int:
        """Say what failed, where that is far above by now, and return the exit code."""
        if not failures:
            return DONE
        if count > 1 or done:
            err.print(f"{done} of {count} videos done; not done or not found:", markup=False, soft_wrap=True)
            for failure in failures:
                err.print(f"  {failure}", markup=False, soft_wrap=True)
        return SOME_DONE if done else NOTHING_DONE

    def _label(self, source: VideoSource, out: Path, *, several: bool) -> tuple[Clip, list[TrackResult], Outputs, str]:
        with steps() as step:
            step("open", 0.0)
            inputs = [path for plan in self._plans for path in plan.files]
            if not source.is_address:
                inputs.append(Path(source.text))
            check_outputs(out, inputs)  # raises before hours of work, not after
            with hold_folder(out), open_source(source, fps=self._rate) as clip:
                step("open", 1.0)
                targets = make_targets(self._plans, clip)
                view = self._region.view(clip, targets)  # raises before the models are loaded
                options, read = self._options, (self._weights.reading_options(), self._weights.blocks)
                key = (options.backbone, options.seed, str(options.magnets), read, self._region, options.quality)
                stages = stage_cache(out, clip, key, again=self._again)
                model = self._model(step)
                show_first = self._preview_writer(source, clip, out, inputs) if self._preview else None
                try:
                    results = model.run(
                        clip, targets, region=self._region, progress=step, cache=stages, preview=show_first
                    )
                except PipelineError:  # it would end the same way again
                    delete_stages(out)
                    raise
                # A later run may be able to read what this one could not.
                is_complete = not any(result.read_errors for result in results)
                if is_complete and not any(result.track.visible.any() for result in results):
                    delete_stages(out)
                written = write_outputs(
                    out,
                    clip,
                    results,
                    model_version=model.model_version,
                    address=self._address(source, clip, several=several),
                    frames=range(int(view.frames[0]), int(view.frames[-1]) + 1),
                    progress=step,
                    inputs=inputs,
                    keep_preview=self._preview,
                )
                if is_complete:
                    delete_stages(out)
                return clip, results, written, model.model_version

    def _preview_writer(self, source: VideoSource, clip: Clip, out: Path, inputs: Sequence[Path]) -> Preview:
        """Return what writes the first masks and says so; with --preview-only it raises _PreviewOnlyError."""

        def write(results: list[PreviewResult]) -> None:
            from backend.cli.preview_file import write_preview

            path = output_paths(out).preview
            with preview_folder(out, inputs) as part:
                frames = write_preview(clip, results, output_paths(part).preview)
            where = ", ".join(f"frame {frame} ({clip.times[frame]:.2f} s)" for frame in frames)
            if self._as_json:
                err.print(f"first mask: {path}", markup=False, soft_wrap=True)
            else:
                print_line("first mask", f"{path}: {where}")
                print_agreements(results)
            if self._preview_only:
                if held := other_results(out, clip, results, name=source.name, fetched=source.is_address):
                    note = f"note: {out} holds other results ({held}); {path.name} alone is of what was asked now"
                    err.print(note, markup=False, soft_wrap=True)
                if not self._as_json:
                    print_notes(results)
                raise _PreviewOnlyError(results)

        return write

    def _address(self, source: VideoSource, clip: Clip, *, several: bool) -> TaskAddress:
        if self._url is None:
            address = source.text if source.is_address else local_file_address(Path(source.text))
        else:
            is_folder = several or self._url.endswith(("/", "?d="))
            address = address_in(self._url, source.name) if is_folder else self._url
        rate = self._rate or rate_for_task(clip)
        return TaskAddress(source.name, address, rate, fetched=source.is_address)

    # --- models -------------------------------------------------------------------------------------------------------

    @functools.cached_property
    def _weights(self) -> WeightSettings:
        return weight_settings(download=self._options.download, offline=self._options.offline)

    def _model(self, step: Steps) -> Model:
        """Return the model; the first call fetches and loads it."""
        if "_loaded" not in self.__dict__:
            self._why_no_weights = fetch_segmenter(self._weights, self._options.sam2, step=step)
        return self._loaded

    @functools.cached_property
    def _loaded(self) -> Model:
        options, weights = self._options, self._weights
        return refam.load(
            options.backbone,
            options.sam2,
            device=options.device,
            quality=options.quality,
            tracker=weights.tracker,
            magnets=options.magnets,
            reading=weights.reading_options(),
            blocks=weights.blocks,
            seed=options.seed,
            dtype=weights.dtype,
            offload=weights.offload,
            quantise=weights.quantise,
            free_text=weights.free_text,
            download=weights.download,
            offline=weights.offline or self._why_no_weights is not None,  # what cannot be fetched is not tried twice
            models_dir=weights.models_dir,
            feature_cache=options.cache or weights.data_dir / "features",
            feature_cache_mb=weights.features_mb,
        )

    def _print_segmenter(self) -> None:
        """Say which segmenter was used, where none was named."""
        if self._options.sam2 is None:
            choice = self._weights.segmenter_choice(
                None, device=self._options.device, why_no_weights=self._why_no_weights
            )
            print_line("masks by", f"{choice.version}: {choice.why}")


def _not_found(source: VideoSource, results: Sequence[TrackResult]) -> list[str]:
    return [f"{source.name}: {shorten(r.target.label)} was not found: {' '.join(r.notes[:1])}" for r in results]


def open_file(path: Path) -> None:
    """Open a file with the program that the desktop has for it; say so where there is none."""
    import typer

    if typer.launch(str(path)) != 0:
        err.print(f"{path} could not be opened here; open it yourself", markup=False, soft_wrap=True)
