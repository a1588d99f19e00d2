"""Scores of what is there and what is not: tables by hand, a grounder that knows the truth, the command itself."""

from __future__ import annotations

import re

import numpy as np
import pytest
from typer.testing import CliRunner

from backend.cli.main import app
from refam.evaluation.presence_scores import StatementScore, calibrate_presence, presence_table, score_pictures
from refam.grounder_loading import load_grounder
from refam.presence import FILE_NAME
from refam.tiny import TINY_DIRECTORY
from refam.tiny.statements import PRESENT, Statement, stated_scenes
from video.types import Heatmap, Presence

shipped = pytest.mark.skipif(not (TINY_DIRECTORY / FILE_NAME).is_file(), reason="the small model is not here")


class OracleGrounder:
    """A grounder that knows which statements are true; of pictures without a presence model it has a confidence."""

    def __init__(self, count: int, seed: int, *, judged: bool) -> None:
        pictures = stated_scenes(count, seed)
        self.truth = {(s.text, p.picture.tobytes()): s.is_present for p in pictures for s in p.statements}
        self.judged = judged

    def ground(self, frames, expressions, *, indices):
        return [[self._heatmap(text, frames[0], indices[0])] for text in expressions]

    def _heatmap(self, text, frame, index):
        p = 0.9 if self.truth[text, frame.tobytes()] else 0.02
        presence = Presence(p, text.split()[-1]) if self.judged else None
        return Heatmap(index, np.ones((2, 2), np.float32), (0.5, 0.5), p, presence)


@pytest.mark.parametrize("judged", [True, False])
def test_a_grounder_that_knows_the_truth_tells_all_apart(judged: bool) -> None:
    grounder = OracleGrounder(6, 3, judged=judged)
    scores = score_pictures(grounder, 6, 3, least=0.1, progress=lambda share: None)  # type: ignore[arg-type]
    assert all(s.found == (s.statement.is_present or not judged) for s in scores)
    absent = sum(not s.statement.is_present for s in scores)
    assert f"| all of these | {absent} | 1.000" in presence_table(scores)


def test_the_table_has_figures_worked_out_by_hand() -> None:
    def score(kind: str, value: float, found: bool) -> StatementScore:
        return StatementScore(Statement("the red star", kind, (0,) if kind == PRESENT else ()), value, found)

    scores = [score(PRESENT, 0.9, True), score(PRESENT, 0.5, True), score(PRESENT, 0.1, False)]
    scores += [score("colour", 0.3, True), score("shape", 0.0, False)]
    rows = {
        line.split("|")[1].strip(): line.split("|")[2:-1] for line in presence_table(scores).splitlines() if "|" in line
    }
    assert rows["all of these"][1].strip().startswith("0.833"), "5 of 6 pairs in order"
    assert rows["a colour that nothing has"][1].strip().startswith("0.667")
    assert rows["a shape that nothing has"][1].strip().startswith("1.000")
    assert rows["all of these"][2].strip().startswith("0.500")
    assert "found where it is there: 0.667" in presence_table(scores)
    with pytest.raises(ValueError, match="both kinds"):
        presence_table(scores[:3])


@pytest.mark.slow
@shipped
def test_the_shipped_model_tells_what_is_not_there_on_pictures_that_nothing_was_fitted_on() -> None:
    ran = CliRunner().invoke(app, ["eval", "absent", "--pictures", "16", "--clips", "0"])
    assert ran.exit_code == 0, ran.output
    found = re.search(r"all of these \| \d+ \| ([\d.]+)", ran.output)
    assert found is not None
    assert float(found[1]) > 0.93


@shipped
def test_a_fit_on_few_pictures_separates_already() -> None:
    model = calibrate_presence(load_grounder("tiny", device="cpu"), 6, progress=lambda share: None)
    assert model.scenes > 40
    assert max(model.weights) > 1
