"""Which arguments are videos, which videos they name, and where the results go."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.cli.videos import VideoSource, find_videos, output_folders, split_arguments


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder, with videos, pictures and lists."""
    monkeypatch.chdir(tmp_path)
    for name in (
        *("a.mp4", "b.MOV", "clips/c.mp4", "clips/d.webm", "clips/tasks.json", "clips/deep/e.mkv", "odd.name"),
        *("bear/1.jpg", "bear/2.jpg", "camel/1.png", "empty/notes.txt", "both/f.mp4", "both/thumb.jpg", "[x]/g.mp4"),
    ):
        Path(name).parent.mkdir(exist_ok=True, parents=True)
        Path(name).touch()
    Path("list.txt").write_text("# mine\na.mp4\n\nclips/*.mp4\nhttps://host/v.mp4\ngone.mp4\n")
    Path("clips/near.txt").write_text("c.mp4\n")
    Path("none.txt").write_text("\n")


@pytest.mark.parametrize(
    ("arguments", "videos", "words"),
    [
        (["a.mp4", "the red star"], 1, ["the red star"]),
        (["a.mp4", "b.MOV", "the red star"], 2, ["the red star"]),
        (["a.mp4", "the red star", "b.MOV"], 2, ["the red star"]),
        (["a.mp4", "gone.mp4", "star"], 2, ["star"]),
        (["a.mp4", "odd.name", "star"], 2, ["star"]),
        (["a.mp4", "https://host/v", "star"], 2, ["star"]),
        (["a.mp4", "clips/*.mp4", "star"], 2, ["star"]),
        (["a.mp4", "./gone", "star"], 2, ["star"]),
        (["a.mp4", "gone/clip", "star"], 2, ["star"]),
        (["a.mp4", "clips", "bear", "star"], 3, ["star"]),
        (["bear", "bear"], 1, ["bear"]),  # the animal in the folder of its name
        (["bear", "camel", "the bear"], 2, ["the bear"]),
        (["a.mp4", "empty", "star"], 1, ["empty", "star"]),  # nothing to see in that folder
        (["a.mp4", "the [red] square", "what is it?"], 1, ["the [red] square", "what is it?"]),
        (["a.mp4", "the black/white dog", "Car: the red one", "x" * 5000], 1, ...),
        (["gone", "star"], 1, ["star"]),
        (["a.mp4", ""], 1, [""]),
    ],
)
def test_videos_are_told_from_words(arguments, videos, words):
    found = split_arguments(arguments)
    assert (len(found[0]), found[1]) == (videos, arguments[1:] if words is ... else words)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a.mp4"], ["a.mp4"]),
        (["a.mp4", "./a.mp4"], ["a.mp4"]),
        (["clips"], ["clips/c.mp4", "clips/d.webm"]),
        (["clips/"], ["clips/c.mp4", "clips/d.webm"]),
        (["clips/*"], ["clips/c.mp4", "clips/d.webm", "clips/deep/e.mkv"]),
        (["clips/**/*.mkv"], ["clips/deep/e.mkv"]),
        (["?.mp4", "*.MOV"], ["a.mp4", "b.MOV"]),
        (["[x]/g.mp4"], ["[x]/g.mp4"]),  # a name may look like a pattern
        (["bear"], ["bear"]),
        (["both"], ["both/f.mp4"]),
        (["list.txt"], ["a.mp4", "clips/c.mp4", "https://host/v.mp4", "gone.mp4"]),
        (["clips/near.txt"], ["clips/c.mp4"]),
    ],
)
def test_folders_globs_and_lists_are_expanded(arguments, expected):
    assert [source.text for source in find_videos(arguments)] == expected


@pytest.mark.parametrize(
    ("argument", "error"),
    [
        ("gone.mp4", "there is no such file"),
        ("gone/*.mp4", "no video fits this pattern"),
        ("empty", "holds neither videos nor pictures"),
        ("none.txt", "the list names no video"),
    ],
)
def test_what_cannot_be_had_says_why_and_costs_no_other(argument, error):
    first, second = find_videos([argument, "a.mp4"])
    assert error in first.error
    assert (second.text, second.error) == ("a.mp4", "")


def test_a_folder_of_folders_says_what_would_work():
    Path("sets/bear").mkdir(parents=True)
    Path("sets/bear/1.jpg").touch()
    (source,) = find_videos(["sets"])
    assert source.error.endswith("folders in it do: sets/*")
    assert [s.text for s in find_videos(["sets/*"])] == ["sets/bear"]


@pytest.mark.parametrize(
    ("texts", "out", "expected"),
    [
        (["a.mp4"], None, ["found/a"]),
        (["a.mp4"], "o", ["o"]),
        (["a.mp4", "b.MOV"], "o", ["o/a", "o/b"]),
        (["a.mp4", "b.MOV"], None, ["found/a", "found/b"]),
        (["x/clip.mp4", "y/clip.mp4", "z.mp4"], "o", ["o/x-clip", "o/y-clip", "o/z"]),
        (["x/clip.mp4", "x/clip.mov"], "o", ["o/x-clip", "o/x-clip-2"]),
        (["bear", "v1.5.mp4"], "o", ["o/bear", "o/v1.5"]),
        (["https://host/a%20b.mp4?token=1", "https://host/"], "o", ["o/a b", "o/video"]),
    ],
)
def test_each_video_has_a_folder_of_its_own(texts, out, expected):
    folders = output_folders([VideoSource(text) for text in texts], Path(out) if out else None)
    assert [folder.as_posix() for folder in folders] == expected
