"""Words that the model does not know: what the command line says, and how soon."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from backend.cli.main import app
from backend.cli.prompts import plan_objects
from backend.cli.word_advice import note_several
from tests import media

PULL, CLICK = "refam models pull flux-schnell    # 34 GB", "--point 0.42,0.61@0"
PICK = "refam pick 'V'"


def refam(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return media.cfr(tmp_path_factory.mktemp("v") / "my clip.mp4", media.numbered_frames(4))


@pytest.mark.parametrize(
    ("arguments", "said", "advised", "not_advised"),
    [
        (
            ["label", "V", "the xyzzy"],
            "knows none of the words 'xyzzy'; it knows what `refam words` lists",
            [PULL, CLICK, PICK],
            [],
        ),
        (["label", "V", "the xyzzy", "a frob"], "a frob: the model", ["'the xyzzy' 'a frob' --backbone flux-s"], []),
        (["label", "V", "the xyzzy; a frob"], "a frob: the model", ["'the xyzzy' 'a frob' --backbone flux-s"], []),
        (["explain", "V", "the xyzzy", "--out", "OUT"], "'xyzzy'", ["refam explain 'V' 'the xyzzy' --back"], []),
        (
            ["label", "V", "the xyzzy", "--range", "2-3"],
            "'xyzzy'",
            ["'the xyzzy' --range 2-3 --backbone flux", "pick 'V' --range 2-3", "--range 2-3 --point 0.42,0.61@2  "],
            [CLICK],
        ),
        (
            ["label", "V", "the xyzzy", "--range", "0.1s-1s"],
            "'xyzzy'",
            ["'V' --range 0.1s-1s --point 0.42,0.61@0.2s    # a click: 42 % of the width", "the height, at 0.2 s"],
            [],
        ),
        (["label", "V", "the xyzzy", "--range", "0.1s-0.15s"], "'xyzzy'", ["--point 0.42,0.61@0.15s    # a click"], []),
        (["label", "V", "--", "-xyzzy"], "'xyzzy'", ["refam label 'V' --backbone flux-schnell -- -xyzzy"], []),
        (["label", "V", "the xyzzy", "--range", "4x-"], "'xyzzy'", ["pick 'V' --range 4x-", CLICK], []),
        (["label", "V", "on the left"], "add a noun", [], ["commands that help"]),
        (["label", "V", "the dog", "--backbone", "flux-schnell"], "refam models pull flux-", [CLICK], [PULL]),
        (["label", "V", "the xyzzy", "--backbone", "photos"], "it knows what `refam words` lists", [PULL, CLICK], []),
        (["label", "V", "the dog", "--backbone", "flax"], "'flax': give one of small (the default)", [CLICK], [PULL]),
    ],
)
def test_refused_words_come_with_commands_that_help(arguments, said, advised, not_advised, video, tmp_path):
    named = {"V": str(video), "OUT": str(tmp_path / "page.html")}
    given = [named.get(argument, argument) for argument in arguments]
    output = ["--out", tmp_path / "out"] if arguments[0] == "label" else []
    result = refam(given[0], *output, *given[1:])
    assert result.exit_code == 1
    assert said in result.stderr
    for text in advised:
        assert text.replace("'V'", f"'{video}'") in result.stderr
    for text in not_advised:
        assert text not in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (
            ["the dog, the woman"],
            'the dog; the woman: several things .*: refam label a.mp4 "the dog" "the woman"',
        ),
        (["Pet: the dog; the cat", "a car"], 'the dog; the cat: .*: refam label a.mp4 "the dog" "the cat" "a car"'),
        (["the $dog and the cat"], "refam label a.mp4 'the \\$dog' \"the cat\""),
        (["the dog", "the big, red car"], ""),
    ],
)
def test_several_things_in_one_expression_are_said_before_the_search(words, note, capsys):
    note_several("label", ["a.mp4"], plan_objects(words))
    said = capsys.readouterr().err
    assert re.search(note, said) if note else said == ""


def test_the_commands_for_several_things_keep_the_range(capsys):
    note_several("label", ["a.mp4"], plan_objects(["the dog, the woman"]), frame_range="4s-9s")
    assert capsys.readouterr().err.strip().endswith('refam label a.mp4 "the dog" "the woman" --range 4s-9s')
