"""`refam export`: write tracks for a trainer; `refam import`: make tasks of annotations."""

from __future__ import annotations

import functools
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli.console import err, exit_code, one_line_errors, require_file, steps
from backend.cli.console import out as stdout
from backend.cli.out_option import output_folder
from backend.cli.result_folder import hold_folder, refuse_overwriting, replace_results
from backend.cli.task_address import check_url
from backend.labelstudio.picture_tasks import MaskTag
from video.formats.registry import ExportFormat, ImportFormat, describe_lost_attributes, format_module, read_videos

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from backend.labelstudio.export_sources import LoadedVideo, VideoFolder
    from video.formats.base import AnnotatedVideo

_SPLITS = ("train", "val", "test")


def export(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE...",
            help="Folders of `refam label` (or one that holds several), or JSON exports of Label Studio.",
            show_default=False,
        ),
    ],
    *,
    form: Annotated[ExportFormat, typer.Option("--format", help="What to write.", show_default=False)],
    out: Annotated[
        Path, typer.Option(help="The folder to write to.", show_default=False, parser=output_folder, metavar="<path>")
    ],
    config: Annotated[
        Path | None, typer.Option(help="The project's label config (XML): needed for Label Studio's exports.")
    ] = None,
    videos: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the video files: needed for boxes from Label Studio, and for --images where a video is "
            "no longer where `refam label` found it."
        ),
    ] = None,
    every: Annotated[int | None, typer.Option(min=1, help="Every so many frames; all unless given.")] = None,
    fps: Annotated[float | None, typer.Option(help="So many frames a second, by presentation time.")] = None,
    split: Annotated[
        str | None, typer.Option(metavar="SHARES", help="As 0.8,0.1,0.1: train, val and test, by whole videos.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the split.")] = 0,
    images: Annotated[
        bool, typer.Option("--images", help="Write the frames as JPEG, where the format has them.")
    ] = False,
) -> None:
    """Write tracks, or what people corrected in Label Studio, for a trainer.

    Corrected keyframes are interpolated as the editor draws them and brought to the video's own frames by time. Boxes
    stay boxes: DAVIS and MOTS, which hold masks, refuse them.
    """
    if every is not None and fps is not None:
        raise typer.BadParameter("give --fps or --every, not both")
    shares = _parse_shares(split)
    module, options = format_module(form)
    if images and not hasattr(module, "image_path"):
        raise typer.BadParameter("CVAT takes the video itself: leave --images out")
    left_out: list[str] = []
    with one_line_errors(), steps() as step:
        from backend.labelstudio.export_sources import VideoFolder, rename_duplicates
        from video.errors import leave_out

        folder = VideoFolder(videos) if videos else None
        found: list[LoadedVideo] = []
        for source in sources:
            with leave_out(left_out):
                found += _load(source, config, folder, left_out)
        if images:
            found = _keep_readable(found, left_out)
        loaded = rename_duplicates(found)
        _print_notes(source.video for source in loaded)
        if left_out and not any(source.video.objects for source in loaded):
            raise typer.Exit(exit_code(left_out, done=0, of="videos"))
        sampled = [(source, _sample_frames(source.video, every, fps)) for source in loaded]
        parts = _split_origins([source for source, _ in sampled], shares, seed)
        by_split = {
            name: [video for source, video in sampled if source.origin in origins] for name, origins in parts.items()
        }
        chosen = {name: [pair for pair in sampled if pair[0].origin in origins] for name, origins in parts.items()}
        inputs = [path for path in (*sources, config) if path is not None and path.is_file()]
        inputs += [source.media for source, _ in sampled if source.media is not None]
        if images:  # before any is written
            refuse_overwriting(_image_paths(chosen, module, out), inputs)
        optional = getattr(module, "OPTIONAL_FILES", ())
        with hold_folder(out), replace_results(out, inputs=inputs, optional=optional) as part:
            module.write(by_split, part, **options)
            if (lost := describe_lost_attributes(form, (video for _, video in sampled))) is not None:
                err.print(f"note: {lost}", markup=False, soft_wrap=True)
            if images:
                for name, pairs in chosen.items():
                    _write_images(pairs, module, part, name, left_out, progress=lambda share: step("pictures", share))
    for name, videos_in_split in by_split.items():
        objects = sum(len(video.objects) for video in videos_in_split)
        n_frames = sum(len(video.frames) for video in videos_in_split)
        stdout.print(f"{name}: {len(videos_in_split)} videos, {objects} objects, {n_frames} frames", markup=False)
    stdout.print(f"{form} written to {out}", markup=False, soft_wrap=True)
    raise typer.Exit(exit_code(left_out, done=len(loaded), of="videos"))


def import_(
    form: Annotated[ImportFormat, typer.Argument(metavar="FORMAT", help="coco, youtube-vis, davis, mots or cvat.")],
    path: Annotated[Path, typer.Argument(help="The file or folder of annotations.", show_default=False)],
    *,
    out: Annotated[
        Path, typer.Option(help="The folder to write to.", show_default=False, parser=output_folder, metavar="<path>")
    ],
    url: Annotated[
        str, typer.Option(help="Address of the folder that the videos or pictures are served from.", callback=check_url)
    ] = "/data/local-files/?d=",
    videos: Annotated[
        Path | None, typer.Option(help="The folder of the video files: boxes on video. Without: masks on pictures.")
    ] = None,
    masks: Annotated[MaskTag, typer.Option(help="How the editor shall keep masks.")] = "brush",
) -> None:
    """Make Label Studio tasks with predictions of annotations: OUT/tasks.json and OUT/label_config.xml."""
    left_out: list[str] = []
    with one_line_errors():
        require_file(path)
        refuse_overwriting([out / "tasks.json", out / "label_config.xml"], [path])
        from backend.labelstudio.export_sources import VideoFolder
        from backend.labelstudio.import_tasks import describe_shared_pictures, picture_tasks, video_length, video_tasks
        from video.atomic_files import write_text
        from video.formats.base import write_json

        files = VideoFolder(videos) if videos is not None else None
        length_of = functools.partial(video_length, files=files) if files is not None else None
        annotated = read_videos(form, path, skipped=left_out, length_of=length_of)
        _print_notes(annotated)
        version = f"imported/{form}"
        if files is not None:
            tasks, xml = video_tasks(annotated, files, url=url, version=version, skipped=left_out)
        else:
            if (shared := describe_shared_pictures(annotated)) is not None:
                err.print(f"note: {shared}", markup=False, soft_wrap=True)
            tasks, xml = picture_tasks(annotated, url=url, version=version, shape=masks, skipped=left_out)
        if not tasks and left_out:
            raise typer.Exit(exit_code(left_out, done=0, of="videos"))
        with hold_folder(out), replace_results(out, inputs=[path]) as part:
            write_json(part / "tasks.json", tasks)
            write_text(part / "label_config.xml", xml)
    others = "; the others have no objects" if len(tasks) < len(annotated) and not left_out else ""
    stdout.print(f"{len(tasks)} tasks of {len(annotated)} videos{others}", markup=False)
    stdout.print(f"tasks to import   {out / 'tasks.json'}", markup=False, soft_wrap=True)
    stdout.print(f"their label config {out / 'label_config.xml'}", markup=False, soft_wrap=True)
    raise typer.Exit(exit_code(left_out, done=len(tasks), of="videos"))


def _print_notes(videos: Iterable[AnnotatedVideo]) -> None:
    """Print on stderr what was left out or contradictory in the videos that were read."""
    for video in videos:
        for note in video.notes:
            err.print(f"note: {note}", markup=False, soft_wrap=True)


def _load(source: Path, config: Path | None, videos: VideoFolder | None, left_out: list[str]) -> list[LoadedVideo]:
    from backend.labelstudio.export_reader import read_export
    from backend.labelstudio.export_sources import find_tracks_files, is_label_studio_export, read_tracks
    from backend.labelstudio.label_config import parse_label_config
    from video.errors import leave_out
    from video.formats.base import FormatError

    if not source.exists():
        raise FormatError(f"{source}: there is no such file")
    if not is_label_studio_export(source):
        loaded = []
        for path in find_tracks_files(source):
            with leave_out(left_out):
                loaded.append(read_tracks(path, videos=videos))
        return loaded
    if config is None:
        raise FormatError(f"{source} is an export of Label Studio: give its project's label config with --config")
    try:
        xml = config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"--config {config} cannot be read: {error}") from None
    return read_export(source, parse_label_config(xml), videos=videos, skipped=left_out)


def _keep_readable(loaded: Sequence[LoadedVideo], left_out: list[str]) -> list[LoadedVideo]:
    """Return the videos whose frames can be read from their files; of the others say why in `left_out`."""
    from video.errors import leave_out

    kept = []
    for source in loaded:
        with leave_out(left_out):
            _require_file(source)
            kept.append(source)
    return kept


def _require_file(source: LoadedVideo) -> None:
    """Check that a video's file is there and is the one that was annotated.

    Raises:
        FormatError: If it is not.
        ClipError: If it cannot be opened.
    """
    from video.formats.base import FormatError
    from video.io.folder import open_video

    name, video = source.video.name, source.video
    if source.media is None and video.pictures:
        raise FormatError(f"{name}: its frames are pictures already: leave --images out")
    if source.media is None:
        raise FormatError(f"{name}: --images needs the video file: give --videos FOLDER, with {source.origin} in it")
    clip = open_video(source.media, partial=True)
    if len(clip) != len(video.times) or clip.size != video.size:
        (w, h), (clip_w, clip_h) = video.size, clip.size
        raise FormatError(
            f"{name}: {source.media} is not the video that was annotated: it has {len(clip)} frames of "
            f"{clip_w}x{clip_h}, and {len(video.times)} of {w}x{h} are expected; give --videos FOLDER"
        )


def _sample_frames(video: AnnotatedVideo, every: int | None, fps: float | None) -> AnnotatedVideo:
    from video.formats import base as annotated
    from video.formats.base import FormatError

    try:
        if fps is not None:
            return video.select_frames(annotated.frames_at_rate(video.times, fps))
        return video.select_frames(annotated.every_nth_frame(video, every)) if every else video
    except ValueError as error:
        raise FormatError(str(error)) from None


def _split_origins(loaded: Sequence[LoadedVideo], shares: list[float] | None, seed: int) -> dict[str, set[str]]:
    """Assign the origins of the videos to splits."""
    from video.formats.base import FormatError, split_videos

    origins = sorted({source.origin for source in loaded})
    if not origins:
        raise FormatError("nothing is annotated: no task has an annotation that was submitted")
    if shares is None:
        return {"all": set(origins)}
    try:
        parts = split_videos(origins, shares, seed=seed)
    except ValueError as error:
        raise FormatError(f"--split: {error}") from None
    return {name: set(part) for name, part in zip(_SPLITS, parts, strict=False)}


def _parse_shares(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if not 2 <= len(shares) <= len(_SPLITS) or not all(0 < share < float("inf") for share in shares):
        raise typer.BadParameter(f"--split must be two or three positive shares such as 0.8,0.1,0.1, not {text!r}")
    return shares


def _image_paths(
    chosen: Mapping[str, Sequence[tuple[LoadedVideo, AnnotatedVideo]]], module: ModuleType, out: Path
) -> Iterator[Path]:
    """Yield where the picture of each frame belongs."""
    for split, pairs in chosen.items():
        for _, video in pairs:
            yield from (out / module.image_path(video, frame, split) for frame in video.frames.tolist())


def _write_images(
    chosen: Sequence[tuple[LoadedVideo, AnnotatedVideo]],
    module: ModuleType,
    out: Path,
    split: str,
    left_out: list[str],
    *,
    progress: Callable[[float], None],
) -> None:
    from backend.labelstudio.picture_tasks import encode_jpeg
    from video.errors import leave_out
    from video.io.folder import open_video

    for i, (source, video) in enumerate(chosen):
        assert source.media is not None  # of _keep_readable
        with leave_out(left_out):
            for indices, frames in open_video(source.media, partial=True).batches(video.frames):
                for frame, pixels in zip(indices.tolist(), frames, strict=True):
                    path = out / module.image_path(video, frame, split)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(encode_jpeg(pixels))
        progress((i + 1) / len(chosen))
