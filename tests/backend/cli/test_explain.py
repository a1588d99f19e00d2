"""`refam explain`: the videos that it takes, and what it refuses before a model is loaded."""

from __future__ import annotations

import pytest
from PIL import Image
from typer.testing import CliRunner

from backend.cli.main import app
from refam.evaluation.synthetic import RED, red_star_and_blue_ring
from tests.loopback_files import serve_files
from tests.media import cfr

N = 4


def explain(*arguments):
    options = ["--backbone", "tiny", "--sam2", "grabcut", "--device", "cpu"]
    return CliRunner().invoke(app, ["explain", *map(str, arguments), *options])


@pytest.fixture(scope="module")
def drawn():
    return red_star_and_blue_ring(N, size=(160, 90))[0]


def test_a_folder_of_pictures_is_explained(drawn, tmp_path):
    (tmp_path / "p").mkdir()
    for i, frame in enumerate(drawn):
        Image.fromarray(frame).save(tmp_path / "p" / f"{i}.png")
    ran = explain(tmp_path / "p", RED, "--frame", 2, "--out", tmp_path / "why.html")
    assert ran.exit_code == 0, ran.output
    assert "data:image" in (tmp_path / "why.html").read_text()


def test_an_address_is_explained(drawn, tmp_path):
    cfr(tmp_path / "a.mp4", drawn)
    with serve_files({"/a.mp4": (tmp_path / "a.mp4").read_bytes()}) as server:
        ran = explain(f"{server.url}/a.mp4", RED, "--frame", 0, "--out", tmp_path / "why.html")
    assert ran.exit_code == 0, ran.output
    assert "a.mp4" in (tmp_path / "why.html").read_text()


def test_a_frame_that_is_not_there_is_refused_before_a_model_is_loaded(drawn, tmp_path, monkeypatch):
    def load(*_, **__):
        raise AssertionError("a model is loaded")

    monkeypatch.setattr("refam.grounder_loading.load_grounder_or_group", load)
    cfr(tmp_path / "a.mp4", drawn)
    ran = explain(tmp_path / "a.mp4", RED, "--frame", N, "--out", tmp_path / "why.html")
    assert ran.exit_code == 1
    assert f"there is no frame {N}; a.mp4 has frames 0 to {N - 1}" in ran.output


@pytest.mark.parametrize(
    ("words", "code", "written", "said"),
    [
        ("the red star; Ring: the blue ring;", 0, {1: "the red star", 2: "the blue ring"}, ""),
        ("the red star; the xyzzy", 3, {1: "the red star"}, "refam: the xyzzy: "),
    ],
)
def test_expressions_with_a_semicolon_between_them_get_a_page_each(words, code, written, said, drawn, tmp_path):
    cfr(tmp_path / "a.mp4", drawn)
    ran = explain(tmp_path / "a.mp4", words, "--frame", 0, "--out", tmp_path / "why.html")
    assert ran.exit_code == code, ran.output
    pages = {tmp_path / f"why-{i}.html": text for i, text in written.items()}
    assert ran.stdout.splitlines() == [f"written to {page}: {text}" for page, text in pages.items()]
    assert set(tmp_path.glob("*.html")) == set(pages)
    assert all(text in page.read_text() for page, text in pages.items())
    assert said in ran.stderr


def test_a_page_that_cannot_be_written_costs_no_other(drawn, tmp_path):
    cfr(tmp_path / "a.mp4", drawn)
    (tmp_path / "why-1.html").mkdir()
    ran = explain(tmp_path / "a.mp4", "the red star; the blue ring", "--frame", 0, "--out", tmp_path / "why.html")
    assert ran.exit_code == 3
    assert "refam: the red star: " in ran.stderr
    assert "the blue ring" in (tmp_path / "why-2.html").read_text()
