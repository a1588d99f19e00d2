"""The judge itself is judged: a grounder that knows the truth, one that lies, and tables worked out by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from backend.cli.main import app
from refam.evaluation import (
    confidence_scores as scoring_confidence,
)
from refam.evaluation import (
    grounding_scores as scoring,
)
from refam.evaluation import (
    reading_scores as scoring_looks,
)
from refam.evaluation.grounding_scores import ABLATION, SHIPPED, GroundingScore
from refam.grounder import Grounder, load_grounder
from refam.grounding import GroundingTrace, TokenMaps
from refam.heatmaps import make_heatmap
from refam.segmenters.load import load_segmenter
from refam.tiny import DIRECTORY
from refam.tiny.heldout import CHOICE_SEED, Case, cases, clips

shipped = pytest.mark.skipif(not (DIRECTORY / "model_index.json").is_file(), reason="the small model is not here")


def some(count: int = 4) -> list[Case]:
    return list(cases(count, 123))


class Knowing:
    """A grounder for tests: it reads the truth; with magnets off it points at another thing."""

    def __init__(self, judged: list[Case]) -> None:
        self.by_text = {(c.referral.text, c.picture.tobytes()): c for c in judged}
        self.reads: list[object] = []

    def read(self, frames, expressions, *, indices, options) -> Iterator[list[tuple[Case, bool]]]:
        self.reads.append((indices[0], options.magnets))
        yield [(self.by_text[expressions[0], frames[0].tobytes()], options.magnets)]

    def weigh(self, maps, frame, *, options) -> GroundingTrace:
        case, magnets = maps
        other = (case.referral.target + 1) % len(case.masks)
        mask = case.truth if magnets else case.masks[other]
        grid = mask.astype(np.float32)
        heatmap = make_heatmap(0, grid, smooth_peak=2.0)
        return GroundingTrace(grid, grid, grid, heatmap, np.array([heatmap.confidence, 0, 0, 0, 0.0]))


def verdict(kind: str = "colour", hit: bool = True, j: float = 1.0, **changes: object) -> GroundingScore:
    return replace(GroundingScore(kind, hit, j, j, 5, 10, 0.5, (0.2, 0, 0, 0, 0)), **changes)  # type: ignore[arg-type]


# --- judging ---------------------------------------------------------------------------------------------------------


def test_who_knows_the_truth_is_right_and_who_points_elsewhere_is_wrong() -> None:
    judged = some()
    rows = {"knows": SHIPPED, "lies": replace(SHIPPED, magnets=False)}
    found = scoring.judge(Knowing(judged), judged, rows, load_segmenter(None))  # type: ignore[arg-type]
    assert all(v.hit and v.j > 0.8 and v.f > 0.8 for v in found["knows"])
    assert not any(v.hit or v.j > 0.2 for v in found["lies"])
    assert [v.kind for v in found["knows"]] == [c.referral.kind for c in judged]
    knows = found["knows"][0]
    assert knows.inter / knows.union == pytest.approx(knows.j)


def test_rows_share_the_forward_pass_that_they_have_in_common() -> None:
    judged = some(2)
    grounder = Knowing(judged)
    scoring.judge(grounder, judged, ABLATION, load_segmenter(None))  # type: ignore[arg-type]
    assert sorted(grounder.reads) == sorted((i, m) for i in range(2) for m in (True, False))


def test_a_flat_map_is_a_miss_with_no_mask() -> None:
    case = some(1)[0]
    flat = np.zeros(case.truth.shape, np.float32)
    found = scoring.verdict(
        case, GroundingTrace(flat, flat, flat, make_heatmap(0, flat), np.zeros(5)), load_segmenter(None)
    )
    assert (found.hit, found.j, found.f) == (False, 0.0, 0.0)


def test_the_ablation_begins_with_nothing_and_holds_what_ships() -> None:
    first = next(iter(ABLATION.values()))
    assert not any(value is True for value in vars(first).values()), "every switch is off"
    assert ABLATION["as it ships"] == SHIPPED
    assert len({repr(o) for o in ABLATION.values()}) == len(ABLATION), "no row twice"


# --- tables ----------------------------------------------------------------------------------------------------------


def test_the_table_by_kind_has_figures_worked_out_by_hand() -> None:
    verdicts = [verdict(), verdict(hit=False, j=0.0), verdict("shape", j=0.5), verdict("shape", j=0.5)]
    table = scoring.by_kind(verdicts)
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in table.splitlines() if line.startswith("|")}
    assert rows["all"][0].strip() == "4"
    assert rows["all"][1].strip() == "0.750 (0.301 - 0.954)", "Wilson's interval of 3 of 4"
    assert rows["colour is unique"][2].strip().startswith("0.500")
    assert rows["- shape"][1].strip() == "1.000 (0.342 - 1.000)"
    assert "place" not in rows, "no case, no row"
    assert table.endswith("J&F 0.500, oIoU 0.500, mIoU 0.500, P@0.5 0.750, P@0.7 0.250, P@0.9 0.250")


def test_an_ablation_compares_scene_by_scene() -> None:
    all_right = [verdict()] * 10
    half = [verdict(hit=i % 2 == 0) for i in range(10)]
    table = scoring.ablation({"as it ships": all_right, "less": half}, "as it ships")
    (line,) = (row for row in table.splitlines() if row.startswith("| less") and "to" in row)
    gain = re.search(r"([+-]\d\.\d+) \(([+-]\d\.\d+) to ([+-]\d\.\d+)\)", line)
    assert gain is not None
    assert [float(g) for g in gain.groups()] == pytest.approx([-0.5, -0.877, -0.123], abs=2e-3)
    assert "| less | 0.500 | 0.500 |" in table, "by kind"


# --- confidence ------------------------------------------------------------------------------------------------------


def test_the_calibration_error_of_known_figures() -> None:
    said = np.array([0.95, 0.95, 0.15, 0.15])
    assert scoring_confidence.expected_error(said, np.array([True, True, False, False])) == pytest.approx(0.1)
    assert scoring_confidence.expected_error(said, np.array([False, False, True, True])) == pytest.approx(0.9)
    assert scoring_confidence.expected_error(np.array([1.0, 0.0]), np.array([True, False])) == 0
    with pytest.raises(ValueError, match="got 0 and 0"):
        scoring_confidence.expected_error(np.zeros(0), np.zeros(0, bool))


def test_who_says_the_truth_has_no_error() -> None:
    rng = np.random.default_rng(0)
    said = rng.random(20_000)
    assert scoring_confidence.expected_error(said, rng.random(20_000) < said) < 0.015


def test_the_reliability_table_counts_every_heatmap_once() -> None:
    said = np.array([0.05, 0.95, 0.97, 1.0])
    table = scoring_confidence.reliability(said, np.array([False, True, True, False]))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert [row[:3] for row in rows] == [["0.0 - 0.1", "1", "0.050"], ["0.9 - 1.0", "3", "0.973"]]
    assert rows[1][3].startswith("0.667")


# --- looks -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny() -> Grounder:
    return load_grounder("tiny", device="cpu")


@shipped
def test_looks_are_averaged_and_leave_the_preset_alone(tiny: Grounder) -> None:
    grounder = tiny
    preset, case = grounder.backbone.preset, some(1)[0]
    one = scoring_looks.look(grounder, case, 3, scoring_looks.ReadingPlan((preset.noise,), 2))
    (maps,) = next(iter(_with(grounder, preset, 2).read([case.picture], [case.referral.text], indices=[3])))
    grounder.backbone.preset = preset
    assert isinstance(one, TokenMaps)
    np.testing.assert_allclose(one.maps, maps.maps, atol=1e-6)
    two = scoring_looks.look(grounder, case, 3, scoring_looks.ReadingPlan((0.5, 0.8)))
    assert len(two.draws) == 2
    np.testing.assert_allclose(two.maps, two.draws.mean(0), atol=1e-6)
    assert grounder.backbone.preset == preset


def _with(grounder, preset, draws):
    grounder.backbone.preset = replace(preset, draws=draws)
    return grounder


@shipped
def test_votes_and_looks_print_a_row_for_each_way(tiny: Grounder) -> None:
    told: list[float] = []
    clip = next(clips(1, CHOICE_SEED))
    short = replace(clip, frames=clip.frames[:5], masks=clip.masks[:, :5], planned=(0, 4))
    table = scoring_looks.votes(tiny, [short], progress=told.append)
    assert len(table.splitlines()) == 2 + 4
    assert told[-1] == 1.0
    table = scoring_looks.stills(tiny, some(1), load_segmenter(None), progress=told.append)
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]][:2] == ["1 draw at 0.7", "2 draws at 0.7"]


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


@shipped
def test_calibrating_writes_beside_the_model(tmp_path: Path) -> None:
    there = tmp_path / "model"
    there.mkdir()
    for part in DIRECTORY.iterdir():
        if part.name != "refam_calibration.json":
            (there / part.name).symlink_to(part)
    done = CliRunner().invoke(app, ["eval", "calibrate", "--backbone", str(there), "--like", "tiny", "--limit", "50"])
    assert done.exit_code == 0, done.output
    grounder = load_grounder(str(there), device="cpu", like="tiny")
    made = grounder.calibration()
    assert made is not None
    assert (made.scenes, made.seed) == (50, CHOICE_SEED)
    assert not (DIRECTORY / "refam_calibration.json").is_symlink()


def test_a_backbone_that_is_not_there_is_one_line() -> None:
    done = CliRunner().invoke(app, ["eval", "scenes", "--backbone", "nothing-of-the-kind"])
    assert done.exit_code == 1
    assert "there is no backbone 'nothing-of-the-kind'" in done.output
    assert "Traceback" not in done.output
