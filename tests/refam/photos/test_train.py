"""Training on a handful of drawn pictures: it runs, goes on from its checkpoint, and refuses other data."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from refam.grounder_loading import load_grounder
from refam.photos import train
from refam.photos.features import extract_features, read_square
from refam.photos.train import PhotoTraining, train_photos
from tests.refam.photos.small_data import write_pictures
from video.errors import UserError

SETTINGS = PhotoTraining(steps=8, projection_steps=20, latent_channels=4, heads=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("train")
    lines: list[str] = []
    model = train_photos([write_pictures(folder / "data")], folder / "run", SETTINGS, log=lines.append)
    return folder, model, lines


def test_the_model_grounds_the_nouns_it_was_trained_on(trained):
    folder, model, lines = trained
    grounder = load_grounder(str(model), device="cpu")
    nouns = json.loads((folder / "run" / "counts.json").read_text())["kept"]
    assert nouns == ["animal", "dog", "vehicle", "car"]
    frame = read_square(folder / "data" / "pictures" / "0.png", 160)
    (row,) = grounder.ground([frame], ["the dog"])
    assert row[0].grid.max() == 1.0
    assert any("word loss" in line for line in lines)


def test_a_second_start_goes_on(trained):
    folder, _, _ = trained
    lines: list[str] = []
    train_photos([folder / "data"], folder / "run", replace(SETTINGS, steps=10), log=lines.append)
    assert any("going on from step 8" in line for line in lines)
    assert torch.load(folder / "run" / "checkpoint.pt", weights_only=True)["step"] == 10


def test_other_pictures_in_the_same_folder_are_refused(trained, tmp_path):
    folder, _, _ = trained
    with pytest.raises(UserError, match="features of other pictures"):
        train_photos([write_pictures(tmp_path / "other")], folder / "run", SETTINGS, log=lambda _: None)


def test_another_width_in_the_same_folder_is_refused(trained):
    folder, _, _ = trained
    with pytest.raises(UserError, match="of an earlier start with 4 latent channels, not 5; give those, or another"):
        train_photos([folder / "data"], folder / "run", replace(SETTINGS, latent_channels=5), log=lambda _: None)


@pytest.mark.parametrize(("setting", "value"), [("seed", 5), ("heads", 2)])
def test_another_seed_or_number_of_heads_in_the_same_folder_is_refused(trained, setting, value):
    folder, _, _ = trained
    before = getattr(SETTINGS, setting)
    with pytest.raises(UserError, match=f"of a start with {setting} {before}, not {value}; give that, or another"):
        train_photos([folder / "data"], folder / "run", replace(SETTINGS, **{setting: value}), log=lambda _: None)


def test_more_latents_than_features_are_refused_before_any_work(tmp_path):
    data, lines = write_pictures(tmp_path / "data"), []
    with pytest.raises(UserError, match="latent channels must be at most 108, not 109: lite0 has 432 features"):
        train_photos([data], tmp_path / "run", replace(SETTINGS, latent_channels=109), log=lines.append)
    assert not lines
    assert not (tmp_path / "run").exists()


def test_features_of_an_interrupted_call_are_not_computed_again(tmp_path, monkeypatch):
    data = write_pictures(tmp_path / "data")
    files = sorted((data / "pictures").iterdir())
    whole = extract_features(files, tmp_path / "features", side=64, log=lambda _: None)
    (tmp_path / "features" / "done.txt").write_text("8")
    read: list[str] = []
    monkeypatch.setattr(
        "refam.photos.features.read_square", lambda file, side: read.append(file.name) or read_square(file, side)
    )
    again = extract_features(files, tmp_path / "features", side=64, log=lambda _: None)
    assert len(read) == 4
    assert (again.maps == whole.maps).all()


@pytest.mark.parametrize(
    "field", ["minutes", "projection_steps", "checkpoint_minutes", "latent_channels", "heads", "rate"]
)
def test_numbers_that_make_no_sense_are_refused(field):
    with pytest.raises(UserError, match=field):
        PhotoTraining(**{field: 0})


def test_a_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "a.jpg").write_text("no picture")
    with pytest.raises(UserError, match=r"a\.jpg cannot be read as a picture"):
        read_square(tmp_path / "a.jpg", 64)


def test_small_pictures_are_read_at_half_the_side(tmp_path):
    small = sorted((write_pictures(tmp_path / "small", side=64) / "pictures").iterdir())
    large = sorted((write_pictures(tmp_path / "large", side=120) / "pictures").iterdir())
    assert (train._side_for(small), train._side_for(large)) == (160, 320)


@pytest.mark.parametrize("count", [1, 3])
def test_too_few_pictures_are_refused_before_any_work(tmp_path, count):
    lines = []
    data = [write_pictures(tmp_path / "data", count=count)]
    with pytest.raises(UserError, match=f"^no noun can be learnt from {count} pictures: each needs 4; list more$"):
        train_photos(data, tmp_path / "run", SETTINGS, log=lines.append)
    assert not lines
    assert not (tmp_path / "run" / "features").exists()


def test_pictures_with_too_few_labels_are_refused_before_the_training(tmp_path):
    data = write_pictures(tmp_path / "data", count=10)  # each noun is in five
    listing = data / "photos.jsonl"
    rows = [json.loads(line) for line in listing.read_text().splitlines()]
    nouns = ("dog", "car", "chair", "banana")
    listing.write_text("\n".join(json.dumps(r | {"labels": [nouns[i % 4]]}) for i, r in enumerate(rows)))
    with pytest.raises(UserError, match=r"^none of the nouns can be learnt from 10 pictures: each needs 4 with it"):
        train_photos([data], tmp_path / "run", SETTINGS, log=lambda _: None)
    assert not (tmp_path / "run" / "model").exists()
