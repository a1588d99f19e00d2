"""Readings beside each other: the table's figures, its cases, and whole runs on small random models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from backend.cli.main import app
from refam.backbones import Backbone, FluxBackbone
from refam.evaluation import reading_choice
from refam.evaluation.photos import OutlinedPicture
from refam.evaluation.reading_choice import (
    TODAY,
    ReadingCase,
    ReadingScore,
    clip_cases,
    compare_readings,
    count_photo_cases,
    photo_cases,
    reading_table,
    readings_to_compare,
    scene_cases,
)
from refam.grounder import Grounder
from refam.tiny import TINY_DIRECTORY
from refam.tiny.heldout import CHOICE_SEED, held_out_clips, held_out_scenes
from video.errors import UserError
from video.types import Candidate

STILL = [
    TODAY,
    "contrast: the background",
    "contrast: the background and the scene's other nouns",
    "heads weighted by their peak",
    "prototypes, 5% of the tokens as seeds",
]
MOVING = ["each frame alone", "clip and frame averaged"]


class LeftHalf:
    """Outlines the left half, whatever it is asked; counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def segment(self, image, prompt, *, frame=0):
        self.calls += 1
        mask = np.zeros(image.shape[:2], bool)
        mask[:, : image.shape[1] // 2] = True
        return [Candidate(frame, mask, 0.9)]


def random_case(frames: int, seed: int = 0) -> ReadingCase:
    rng = np.random.default_rng(seed)
    pictures = tuple(rng.integers(0, 255, (48, 72, 3), dtype=np.uint8) for _ in range(frames))
    left, right = np.zeros((2, 48, 72), bool)
    left[:, :36] = right[:, 36:] = True
    return ReadingCase(pictures, tuple(range(frames)), "the red star", ((left, right),) * frames, ("the blue ring",))


def rows_of(table: str) -> list[list[str]]:
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_gains_are_paired_with_the_first_reading() -> None:
    first = [ReadingScore(hit, j, 0.1) for hit, j in ((1, 0.8), (0, 0.2), (1, 0.6), (0, 0.4))]
    second = [ReadingScore(hit, j + 0.1, s) for hit, j, s in ((1, 0.8, 1), (1, 0.2, 3), (1, 0.6, 0.2), (0, 0.4, 0.3))]
    table = reading_table({"a": first, "b": second})
    a, b = rows_of(table)
    assert a[0] == "a"
    assert a[1].startswith("0.500 (")
    assert a[2] == a[4] == ""
    assert a[3].startswith("0.500 (")
    assert b[1].startswith("0.750 (")
    # Differences 0, 1, 0, 0: mean .25, standard error .25, Student's t of 3 degrees of freedom 3.182.
    assert b[2] == "+0.250 (-0.546 to +1.046)"
    assert b[4] == "+0.100 (+0.100 to +0.100)"
    assert (a[5], b[5]) == ("0.100", "0.650")


def test_shares_of_frames_of_clips_are_means() -> None:
    clips = [ReadingScore(hit, 0.5, 0.1) for hit in (0.25, 0.75)]
    assert rows_of(reading_table({"a": clips}))[0][1].startswith("0.500 (0.000 - 1.000)")


@pytest.mark.parametrize("is_video", [False, True])
def test_video_models_are_also_read_by_frames(is_video: bool) -> None:
    readings = readings_to_compare(is_video=is_video)
    assert list(readings) == STILL + MOVING * is_video
    case = random_case(1)
    assert not readings[TODAY](case).settings()
    assert readings[STILL[2]](case).contrast_texts == ("the background", "the blue ring")
    assert len({make(case) for make in readings.values()}) == len(readings)


def test_drawn_scenes_name_their_other_objects() -> None:
    scenes = list(held_out_scenes(30, CHOICE_SEED))
    cases = list(scene_cases(scenes))
    assert [case.indices for case in cases] == [(i,) for i in range(30)]
    for case, scene in zip(cases, scenes, strict=True):
        assert case.words == scene.referral.text
        assert (case.objects[0][0] == scene.masks[scene.referral.target]).all()
        assert len(case.others) < len(scene.masks)
        assert not {w for other in case.others for w in other.split()[1:]} & set(case.words.split())
    assert sum(len(case.others) for case in cases) > 30


def test_drawn_clips_are_read_on_their_planned_frames() -> None:
    (clip,) = held_out_clips(1, CHOICE_SEED)
    (case,) = clip_cases([clip])
    assert case.indices == clip.planned
    assert all((f == clip.frames[i]).all() for f, i in zip(case.frames, clip.planned, strict=True))
    assert (case.objects[-1][0] == clip.masks[clip.referral.target, clip.planned[-1]]).all()


def test_photographs_are_asked_for_the_nouns_that_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_choice, "read_picture", lambda _: np.zeros((8, 8, 3), np.uint8))
    half, speck = np.zeros((2, 20, 20), bool)
    half[:, :10] = speck[0, 0] = True
    nouns = {"dog": [half], "cat": [half, ~half], "gnu": [half], "ant": [speck]}
    pictures = [OutlinedPicture(tmp_path / "a", {"gnu": [half]}), OutlinedPicture(tmp_path / "b", nouns)]
    cases = list(photo_cases(pictures, lambda noun: noun != "gnu"))
    assert [(c.words, c.indices, c.others) for c in cases] == [
        ("the dog", (1,), ("the cat", "the ant")),
        ("the cat", (1,), ("the dog", "the ant")),
    ]
    assert [len(c.objects[0]) for c in cases] == [1, 2]
    assert count_photo_cases(pictures, lambda noun: noun != "gnu") == 2


@pytest.mark.parametrize(("name", "frames"), [("FLUX.1", 1), ("SD3", 1), ("Wan", 2)])
def test_every_family_gets_the_same_table(loaded: Callable[[str], Backbone], name: str, frames: int) -> None:
    shares: list[float] = []
    grounder, segmenter = Grounder(loaded(name)), LeftHalf()
    cases = [random_case(frames, seed) for seed in range(2)]
    table = compare_readings(grounder, cases, segmenter, count=2, progress=shares.append)
    rows = rows_of(table)
    assert [row[0] for row in rows] == STILL + MOVING * (frames > 1)
    assert table.startswith("2 expressions" if frames == 1 else "2 clips, 4 frames")
    assert {row[1] for row in rows} == {rows[0][1]}, "a peak is always in the left or the right half"
    assert all(row[3].startswith("1.000") for row in rows), "the mask of the left half is one of the objects"
    assert shares == [0.5, 1.0]
    assert not grounder.options.reading.settings()


def test_equal_heatmaps_are_outlined_once(loaded: Callable[[str], Backbone]) -> None:
    segmenter = LeftHalf()
    case = random_case(1)
    plain = ReadingCase((np.full((48, 72, 3), 9, np.uint8),), case.indices, case.words, case.objects, ())
    compare_readings(Grounder(loaded("SD3")), [plain], segmenter, count=1)
    assert segmenter.calls == 0, "a frame of one colour has no peak"
    compare_readings(Grounder(loaded("SD3")), [ReadingCase(case.frames, (0,), case.words, case.objects, ())], segmenter,
                     count=1)  # fmt: skip
    assert segmenter.calls == 4, "without other nouns the two contrasts are one"


def test_a_model_without_the_word_is_read_without_contrast(
    random_backbone: FluxBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_choice, "BACKGROUND", "the zebra")
    table = compare_readings(Grounder(random_backbone), [random_case(1)], LeftHalf(), count=1)
    assert len(rows_of(table)) == 5  # contrast with what a reading names by default is known
    monkeypatch.setattr(reading_choice, "_can_contrast", lambda _: False)
    monkeypatch.setattr(reading_choice, "BACKGROUND", "the background")
    table = compare_readings(Grounder(random_backbone), [random_case(1)], LeftHalf(), count=1)
    assert [row[0] for row in rows_of(table)] == [STILL[0], *STILL[3:]]
    assert table.endswith("Without contrast: the model does not know 'the background'.")


def test_without_cases_there_is_an_error(random_backbone: FluxBackbone) -> None:
    with pytest.raises(UserError, match="nothing to read"):
        compare_readings(Grounder(random_backbone), [], LeftHalf(), count=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scenes", "--ablate"], "a table of its own"),
        (["scenes", "--choose"], "a table of its own"),
        (["photos", "{root}", "--masks"], "give it without --choose, --masks"),
        (["photos", "{root}", "--places"], "give it without --choose, --masks"),
    ],
)
def test_the_table_stands_alone(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["eval", *(a.format(root=tmp_path) for a in arguments), "--reading"])
    assert done.exit_code == 1
    assert message in " ".join(done.output.split())


def test_one_command_measures_a_folder(random_flux: Path) -> None:
    arguments = ["eval", "scenes", "--reading", "--backbone", str(random_flux), "--like", "tiny", "--limit", "2"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert [row[0] for row in rows_of(done.output)] == STILL
    assert "2 expressions" in done.output


@pytest.mark.slow
@pytest.mark.skipif(not (TINY_DIRECTORY / "model_index.json").is_file(), reason="the small model is not here")
def test_photographs_are_measured_by_one_command(tmp_path: Path) -> None:
    import cv2

    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures" / "a.png"), np.random.default_rng(0).integers(0, 255, (120, 160, 3)))
    line = '{"file": "a.png", "objects": [{"name": "dog", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]]}]}'
    (tmp_path / "objects.jsonl").write_text(line)
    done = CliRunner().invoke(app, ["eval", "photos", str(tmp_path), "--reading", "--sam2", "grabcut"])
    assert done.exit_code == 0, done.output
    assert all(row[1].startswith("1.000") for row in rows_of(done.output)), "the dog is everywhere"
