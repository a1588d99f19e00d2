"""The videos that a command is given: files, folders, globs, lists of them, and addresses."""

from __future__ import annotations

import glob
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from video.errors import UserError
from video.io.file_names import PICTURES, VIDEOS

if TYPE_CHECKING:
    from video.io.reader import Clip

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_PATH = re.compile(r"(~|\.{1,2}|[A-Za-z]:)?[\\/]\S*|\S*[\\/]\S*")  # without a space: "black/white dog" is words
_LISTS = (".txt", ".lst")


class VideoError(UserError):
    """A video of several cannot be had; the others can."""


@dataclass(frozen=True)
class VideoSource:
    """One video.

    Attributes:
        text: A path or an address, as it was given.
        error: Why it cannot be had, if that is known already.
    """

    text: str
    error: str = ""

    @property
    def is_address(self) -> bool:
        """Whether it is fetched."""
        return _ADDRESS.fullmatch(self.text) is not None

    @property
    def name(self) -> str:
        """The name of the file or folder."""
        path = unquote(urlsplit(self.text).path) if self.is_address else self.text
        return Path(path).name or Path(path).resolve().name or "video"

    @property
    def stem(self) -> str:
        """The name without its ending."""
        is_folder = not self.is_address and not self.error and Path(self.text).is_dir()
        return self.name if is_folder else Path(self.name).stem


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell videos from words. The first argument is a video; others are if they exist, or look like a path.

    Args:
        arguments: As they were given, such as `a.mp4 b.mp4 "the red star"`.

    Returns:
        The videos and the words.
    """
    videos: list[str] = []
    words: list[str] = []
    for argument in arguments:
        is_video = not videos or (argument not in videos and looks_like_a_video(argument))
        (videos if is_video else words).append(argument)
    return videos, words


def looks_like_a_video(argument: str) -> bool:
    """Return whether an argument is an address or a path, rather than words."""
    if not argument.strip():
        return False
    if _ADDRESS.fullmatch(argument) or _PATH.fullmatch(argument):
        return True
    try:
        path = Path(argument).expanduser()
        if path.is_dir():
            return any(_is_media(entry) for entry in path.iterdir())
        is_file = path.is_file()
    except (OSError, RuntimeError):  # longer than a name may be; ~ of nobody
        return False
    return is_file or path.suffix.lower() in VIDEOS or (glob.has_magic(argument) and any(glob.iglob(argument)))


def _is_media(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS | PICTURES and not path.name.startswith(".")


def find_videos(arguments: Sequence[str]) -> list[VideoSource]:
    """Find the videos that arguments name: globs, lists (.txt, one video a line) and folders of videos become several.

    A folder of pictures is one video. What cannot be had is in the list too, with its error.

    Args:
        arguments: Paths and addresses.

    Returns:
        The videos, each once.
    """
    found = [source for argument in arguments for source in _expand(argument, Path())]
    return list({source.text: source for source in found}.values())


def _expand(argument: str, base: Path) -> Iterator[VideoSource]:
    """base: the folder that a list is in, whose lines may be relative to it."""
    if _ADDRESS.fullmatch(argument):
        yield VideoSource(argument)
        return
    if not argument.strip():
        yield VideoSource(argument, "the name of the video is empty")
        return
    try:
        path = Path(argument).expanduser()
        near = base / path
        path = near if near.exists() or not path.exists() else path
    except (OSError, RuntimeError) as error:  # longer than a name may be; ~ of nobody
        yield VideoSource(argument, getattr(error, "strerror", None) or str(error))
        return
    if path.is_dir():
        yield from _expand_folder(path)
    elif path.is_file():
        yield from _read_list(path) if path.suffix.lower() in _LISTS else [VideoSource(str(path))]
    elif glob.has_magic(argument):
        matches = sorted(glob.iglob(str(near), recursive=True)) or sorted(glob.iglob(str(path), recursive=True))
        videos = [match for match in matches if _is_media(Path(match)) or Path(match).is_dir()]
        sources = [source for video in videos for source in _expand(video, Path())]
        yield from sources or [VideoSource(argument, "no video fits this pattern")]
    else:
        yield VideoSource(str(path), "there is no such file")


def _expand_folder(folder: Path) -> Iterator[VideoSource]:
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    if videos := [entry for entry in entries if entry.is_file() and entry.suffix.lower() in VIDEOS]:
        yield from (VideoSource(str(entry)) for entry in videos)
    elif any(entry.suffix.lower() in PICTURES for entry in entries):
        yield VideoSource(str(folder))
    else:
        inside = [e for e in entries if e.is_dir() and any(map(_is_media, e.iterdir()))]
        hint = f"; folders in it do: {folder}/*" if inside else ""
        yield VideoSource(str(folder), f"the folder holds neither videos nor pictures{hint}")


def _read_list(path: Path) -> Iterator[VideoSource]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        yield VideoSource(str(path), f"it cannot be read as a list of videos: {error}")
        return
    named = [line for line in lines if line and not line.startswith("#")]
    if not named:
        yield VideoSource(str(path), "the list names no video")
    for line in named:
        yield from _expand(line, path.parent)


def output_folders(sources: Sequence[VideoSource], out: Path | None) -> list[Path]:
    """Return the folder of each video's results: OUT for one video, OUT/NAME for several, found/NAME without OUT.

    Videos of one name get the name of their folder before it.
    """
    if out is not None and len(sources) == 1:
        return [out]
    names = [source.stem for source in sources]
    count = Counter(names)
    names = [
        f"{Path(source.text).absolute().parent.name}-{name}" if count[name] > 1 and not source.is_address else name
        for source, name in zip(sources, names, strict=True)
    ]
    seen: Counter[str] = Counter()
    folders = []
    for name in names:
        seen[name] += 1
        folders.append((out or Path("found")) / (name if seen[name] == 1 else f"{name}-{seen[name]}"))
    return folders


def find_one_video(argument: str) -> VideoSource:
    """Find the only video that an argument names: a file, an address, a folder of pictures or one with one video.

    Raises:
        VideoError: If there is none, or there are several.
    """
    found = find_videos([argument])
    if len(found) > 1:
        text = f"{argument} names {len(found)} videos, and one is looked at: give it, such as {found[0].text}"
        raise VideoError(text)
    if found[0].error:
        raise VideoError(f"{found[0].text or repr(argument)}: {found[0].error}")
    return found[0]


@contextmanager
def open_source(source: VideoSource, *, fps: float | None = None) -> Iterator[Clip]:
    """Open a video; an address is fetched into the media cache first, from whatever host the person named.

    Args:
        source: The video.
        fps: The frame rate of a folder of pictures.

    Raises:
        VideoError: If it was not found.
        MediaError: If it cannot be fetched.
        ClipError: If it cannot be read.
    """
    if source.error:
        raise VideoError(source.error)
    from video.io.folder import open_video
    from video.io.probe import PictureError
    from video.types import DEFAULT_FPS

    if not source.is_address:
        try:
            clip = open_video(source.text, partial=True, fps=fps or DEFAULT_FPS)
        except PictureError as error:
            if Path(source.text).suffix.lower() not in PICTURES:
                text = f"{source.text}: this is a picture, in spite of the ending of its name; give the video itself"
                raise VideoError(text) from error
            folder = shlex.quote(str(Path(source.text).parent))
            text = f"{source.text}: this is a picture, not a video; to take the pictures of its folder for one, give it"
            raise VideoError(f"{text}: {folder}") from error
        yield clip
        return
    from backend.media.store import MediaStore
    from backend.settings import load_settings

    host = urlsplit(source.text).hostname or ""
    settings = load_settings()
    settings = settings.model_copy(update={"allowed_hosts": (*settings.allowed_hosts, host.lower())})
    with MediaStore(settings).local_file(source.text) as path:
        yield open_video(path, partial=True)
