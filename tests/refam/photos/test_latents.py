"""The projection finds a planted direction, and its latents are standardised."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from refam.photos.latents import NounData, Projection, fit_projection, project, rarity_of


@pytest.fixture(scope="module")
def planted():
    """Features of 300 pictures; noun 0 is a large value in one direction at a few positions, noun 1 in another."""
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(300, 10, 10, 24)).astype(np.float16)
    present = rng.random((300, 2)) < 0.5
    for row, column in np.argwhere(present):
        y, x = rng.integers(0, 7, 2)
        maps[row, y : y + 3, x : x + 3, column] += 6
    return NounData((maps,), present, np.ones((300, 2), np.float32))


def test_latents_keep_what_tells_nouns_apart(planted):
    torch.manual_seed(1)
    projection = fit_projection(planted, latents=6, steps=1500, rng=np.random.default_rng(1), log=lambda _: None)
    latents = project(planted.maps[0], projection, np.zeros((300, 10, 10, 6), np.float16)).astype(np.float32)
    assert latents.reshape(-1, 6).mean(0) == pytest.approx(0, abs=0.1)
    assert latents.reshape(-1, 6).std(0) == pytest.approx(1, abs=0.15)
    where = planted.maps[0][..., :2].astype(np.float32).reshape(-1, 2)
    design = np.c_[latents.reshape(-1, 6), np.ones(len(where))]
    fitted = design @ np.linalg.lstsq(design, where, rcond=None)[0]
    explained = 1 - ((where - fitted) ** 2).mean(0) / where.var(0)
    assert explained.min() > 0.8  # 6 of 24 directions, chosen at random, would explain a quarter


def test_the_probe_finds_each_noun_where_it_was_planted(planted):
    torch.manual_seed(1)
    projection = fit_projection(planted, latents=6, steps=900, rng=np.random.default_rng(1), log=lambda _: None)
    pictures = planted.maps[0].astype(np.float32)
    latents = torch.from_numpy(pictures).flatten(1, 2) @ projection.weight.T + projection.bias
    hits = []
    for row, column in np.argwhere(planted.present):
        at = projection.noun_log_odds(latents[row : row + 1], torch.tensor([column]))[0].argmax()
        hits.append(pictures[row].reshape(-1, 24)[at, column] > 3)
    assert np.mean(hits) > 0.95


def test_a_projection_is_read_back_as_it_was_written(planted, tmp_path):
    written = fit_projection(planted, latents=6, steps=2, rng=np.random.default_rng(1), log=lambda _: None)
    written.save(tmp_path / "projection.pt")
    read = Projection.load(tmp_path / "projection.pt")
    assert all(torch.equal(a, b) for a, b in zip(vars(written).values(), vars(read).values(), strict=True))


def test_rare_pictures_are_drawn_more_often():
    present = np.zeros((100, 2), bool)
    present[:99, 0] = present[99, 1] = True
    rarity = rarity_of(present)
    assert rarity[99] == pytest.approx(rarity[0] * 99**0.25)


def test_tokens_are_thinned_out_to_the_grid(planted):
    rows = np.array([3, 5])
    assert planted.tokens(rows, np.random.default_rng(0), 10).shape == (2, 10, 10, 24)
    five = planted.tokens(rows, np.random.default_rng(0), 5)
    assert five.shape == (2, 5, 5, 24)
    offsets = [(y, x) for y in (0, 1) for x in (0, 1)]
    source = torch.from_numpy(planted.maps[0][rows].astype(np.float32))
    sources = [source[:, y::2, x::2] for y, x in offsets]
    for row in range(2):  # each picture may be flipped
        assert any(torch.equal(five[row], s[row]) or torch.equal(five[row], s[row].flip(1)) for s in sources)
