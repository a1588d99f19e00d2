"""The scores are checked with a grounder that knows the truth and with tables worked out by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from backend.cli.main import app
from refam.evaluation import grounding_scores
from refam.evaluation.grounding_scores import (
    ABLATION,
    SHIPPED,
    GroundingScore,
    ablation_table,
    expected_calibration_error,
    kind_table,
    reliability_table,
    score_cases,
    score_heatmap,
)
from refam.grounder_loading import load_grounder
from refam.grounding import GroundingTrace
from refam.heatmaps import make_heatmap
from refam.segmenters.load import load_segmenter
from refam.tiny import TINY_DIRECTORY
from refam.tiny.heldout import CHOICE_SEED, HeldOutScene, held_out_scenes

shipped = pytest.mark.skipif(not (TINY_DIRECTORY / "model_index.json").is_file(), reason="the small model is not here")


def draw_cases(count: int = 4) -> list[HeldOutScene]:
    return list(held_out_scenes(count, 123))


class OracleGrounder:
    """A grounder that reads the truth; with magnets off it points at another object."""

    def __init__(self, scenes: list[HeldOutScene]) -> None:
        self.by_text = {(c.referral.text, c.picture.tobytes()): c for c in scenes}
        self.reads: list[object] = []

    def read_token_maps(self, frames, expressions, *, indices, options) -> Iterator[list[tuple[HeldOutScene, bool]]]:
        self.reads.append((indices[0], options.magnets))
        yield [(self.by_text[expressions[0], frames[0].tobytes()], options.magnets)]

    def compute_heatmap(self, maps, frame, *, options) -> GroundingTrace:
        case, magnets = maps
        other = (case.referral.target + 1) % len(case.masks)
        mask = case.truth if magnets else case.masks[other]
        grid = mask.astype(np.float32)
        heatmap = make_heatmap(0, grid, smooth_peak=2.0)
        return GroundingTrace(grid, grid, grid, heatmap, np.array([heatmap.confidence, 0, 0, 0, 0.0]))


def make_score(kind: str = "colour", hit: bool = True, j: float = 1.0, **changes: object) -> GroundingScore:
    return replace(GroundingScore(kind, hit, j, j, 5, 10, 0.5, (0.2, 0, 0, 0, 0)), **changes)  # type: ignore[arg-type]


# --- scoring ---------------------------------------------------------------------------------------------------------


def test_a_grounder_that_knows_the_truth_scores_and_one_that_points_elsewhere_does_not() -> None:
    scenes = draw_cases()
    rows = {"right": SHIPPED, "wrong": replace(SHIPPED, magnets=False)}
    scores = score_cases(OracleGrounder(scenes), scenes, rows, load_segmenter(None))  # type: ignore[arg-type]
    assert all(v.hit and v.j > 0.8 and v.f > 0.8 for v in scores["right"])
    assert not any(v.hit or v.j > 0.2 for v in scores["wrong"])
    assert [v.kind for v in scores["right"]] == [c.referral.kind for c in scenes]
    first = scores["right"][0]
    assert first.inter / first.union == pytest.approx(first.j)


def test_rows_share_the_forward_pass_that_they_have_in_common() -> None:
    scenes = draw_cases(2)
    grounder = OracleGrounder(scenes)
    score_cases(grounder, scenes, ABLATION, load_segmenter(None))  # type: ignore[arg-type]
    assert sorted(grounder.reads) == sorted((i, m) for i in range(2) for m in (True, False))


def test_a_flat_map_is_a_miss_with_no_mask() -> None:
    case = draw_cases(1)[0]
    flat = np.zeros(case.truth.shape, np.float32)
    scores = score_heatmap(
        case, GroundingTrace(flat, flat, flat, make_heatmap(0, flat), np.zeros(5)), load_segmenter(None)
    )
    assert (scores.hit, scores.j, scores.f) == (False, 0.0, 0.0)


def test_the_ablation_begins_with_nothing_and_holds_what_ships() -> None:
    first = next(iter(ABLATION.values()))
    assert not any(value is True for value in vars(first).values()), "every switch is off"
    assert ABLATION["as it ships"] == SHIPPED
    assert len({repr(o) for o in ABLATION.values()}) == len(ABLATION), "no row twice"


# --- tables ----------------------------------------------------------------------------------------------------------


def test_the_table_by_kind_has_figures_worked_out_by_hand() -> None:
    scores = [make_score(), make_score(hit=False, j=0.0), make_score("shape", j=0.5), make_score("shape", j=0.5)]
    table = kind_table(scores)
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in table.splitlines() if line.startswith("|")}
    assert rows["all"][0].strip() == "4"
    assert rows["all"][1].strip() == "0.750 (0.301 - 0.954)", "Wilson's interval of 3 of 4"
    assert rows["colour is unique"][2].strip().startswith("0.500")
    assert rows["- shape"][1].strip() == "1.000 (0.342 - 1.000)"
    assert "place" not in rows, "no case, no row"
    assert table.endswith("J&F 0.500, oIoU 0.500, mIoU 0.500, P@0.5 0.750, P@0.7 0.250, P@0.9 0.250")


def test_an_ablation_compares_scene_by_scene() -> None:
    all_right = [make_score()] * 10
    half = [make_score(hit=i % 2 == 0) for i in range(10)]
    table = ablation_table({"as it ships": all_right, "less": half}, "as it ships")
    (line,) = (row for row in table.splitlines() if row.startswith("| less") and "to" in row)
    gain = re.search(r"([+-]\d\.\d+) \(([+-]\d\.\d+) to ([+-]\d\.\d+)\)", line)
    assert gain is not None
    assert [float(g) for g in gain.groups()] == pytest.approx([-0.5, -0.877, -0.123], abs=2e-3)
    assert "| less | 0.500 | 0.500 |" in table, "by kind"


# --- confidence ------------------------------------------------------------------------------------------------------


def test_the_calibration_error_of_known_figures() -> None:
    confidences = np.array([0.95, 0.95, 0.15, 0.15])
    assert expected_calibration_error(confidences, np.array([True, True, False, False])) == pytest.approx(0.1)
    assert expected_calibration_error(confidences, np.array([False, False, True, True])) == pytest.approx(0.9)
    assert expected_calibration_error(np.array([1.0, 0.0]), np.array([True, False])) == 0
    with pytest.raises(ValueError, match="got 0 and 0"):
        expected_calibration_error(np.zeros(0), np.zeros(0, bool))


def test_calibrated_confidences_have_almost_no_error() -> None:
    rng = np.random.default_rng(0)
    confidences = rng.random(20_000)
    assert expected_calibration_error(confidences, rng.random(20_000) < confidences) < 0.015


def test_the_reliability_table_counts_every_heatmap_once() -> None:
    confidences = np.array([0.05, 0.95, 0.97, 1.0])
    table = reliability_table(confidences, np.array([False, True, True, False]))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert [row[:3] for row in rows] == [["0.0 - 0.1", "1", "0.050"], ["0.9 - 1.0", "3", "0.973"]]
    assert rows[1][3].startswith("0.667")


# --- the command -----------------------------------------------------------------------------------------------------


@shipped
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["| all | 2 |", "J&F", "oIoU"]),
        (["--ablate"], ["| as it ships |", "| - without magnets |", "colour is unique"]),
        (["--calibration"], ["| all | 2 |", "expected calibration error, raw contrast", "| confidence | heatmaps |"]),
    ],
)
def test_the_command_prints_tables(options: list[str], expected: list[str]) -> None:
    done = CliRunner().invoke(app, ["eval", "scenes", "--limit", "2", *options])
    assert done.exit_code == 0, done.output
    assert "blocks (2, 3), noise 0.7" in done.output
    for text in expected:
        assert text in done.output


def _every_other_scene_is_empty(count: int, seed: int) -> Iterator[HeldOutScene]:
    """So that half of the heatmaps are misses."""
    for i, case in enumerate(held_out_scenes(count, seed)):
        yield replace(case, picture=np.full_like(case.picture, 128)) if i % 2 else case


@shipped
@pytest.mark.slow
def test_calibrating_writes_beside_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grounding_scores, "held_out_scenes", _every_other_scene_is_empty)
    there = tmp_path / "model"
    there.mkdir()
    for part in TINY_DIRECTORY.iterdir():
        if part.name != "refam_calibration.json":
            (there / part.name).symlink_to(part)
    done = CliRunner().invoke(app, ["eval", "calibrate", "--backbone", str(there), "--like", "tiny", "--limit", "20"])
    assert done.exit_code == 0, done.output
    grounder = load_grounder(str(there), device="cpu", settings_from="tiny")
    made = grounder.valid_calibration()
    assert made is not None
    assert (made.scenes, made.seed) == (20, CHOICE_SEED)
    assert not (TINY_DIRECTORY / "refam_calibration.json").is_symlink()


@shipped
def test_a_fit_on_too_few_scenes_leaves_the_old_file(tmp_path: Path) -> None:
    there = tmp_path / "model"
    there.mkdir()
    for part in TINY_DIRECTORY.iterdir():
        (there / part.name).symlink_to(part)
    done = CliRunner().invoke(app, ["eval", "calibrate", "--backbone", str(there), "--like", "tiny", "--limit", "10"])
    assert done.exit_code == 1
    assert "9 heatmaps whose peak is on the object and 1" in done.output
    assert all((there / part.name).is_symlink() for part in TINY_DIRECTORY.iterdir())


def test_a_backbone_that_is_not_there_is_one_line() -> None:
    done = CliRunner().invoke(app, ["eval", "scenes", "--backbone", "nothing-of-the-kind"])
    assert done.exit_code == 1
    assert "there is no backbone 'nothing-of-the-kind'" in done.output
    assert "Traceback" not in done.output
