"""Embeddings on disk: bounded, by model and content, and never in the way of an answer."""

from __future__ import annotations

import os

import pytest
import torch

from refam.segmenters.feature_cache import FeatureCache, weights_id

SIZE = 64 * 1024  # of one embedding below, at half precision


def levels(value):
    return [torch.full((SIZE // 2,), float(value))]


def used(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_limit_holds_and_evicts_what_was_unused_longest(tmp_path):
    store = FeatureCache(tmp_path, model="a", max_bytes=4 * SIZE)
    for n in range(3):
        store.save(str(n), levels(n))
        os.utime(tmp_path / "a" / f"{n}.pt", (n, n))
    assert store.load("0")[0][0] == 0  # used: now the youngest
    store.save("3", levels(3))
    assert used(tmp_path) <= 4 * SIZE
    assert store.load("1") is None
    assert [store.load(key)[0][0].item() for key in ("0", "2", "3")] == [0, 2, 3]


def test_the_limit_is_for_all_models_together(tmp_path):
    a, b = (FeatureCache(tmp_path, model=name, max_bytes=3 * SIZE) for name in "ab")
    a.save("same", levels(1))
    os.utime(tmp_path / "a" / "same.pt", (1, 1))
    assert b.load("same") is None
    for n in range(5):
        b.save(str(n), levels(n))
    assert used(tmp_path) <= 3 * SIZE
    assert a.load("same") is None


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 half a file"])
def test_a_damaged_file_is_ignored(content, tmp_path):
    store = FeatureCache(tmp_path, model="a", max_bytes=10 * SIZE)
    (tmp_path / "a" / "key.pt").write_bytes(content)
    assert store.load("key") is None
    store.save("key", levels(7))
    assert store.load("key")[0][0] == 7


def test_a_full_disk_is_no_error(tmp_path, monkeypatch):
    store = FeatureCache(tmp_path, model="a", max_bytes=10 * SIZE)

    def full(what, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    store.save("key", levels(7))
    assert store.load("key") is None
    assert used(tmp_path) == 0


def test_a_cache_without_room_is_refused(tmp_path):
    with pytest.raises(ValueError, match="0 bytes keeps nothing"):
        FeatureCache(tmp_path, model="a", max_bytes=0)


def test_weights_id_depends_on_the_files(tmp_path):
    ids = set()
    for n in range(2):
        folder = tmp_path / str(n) / "sam2"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(bytes([n]) * 1000)
        ids.add(weights_id(str(folder)))
    assert len(ids) == 2
    assert all(found.startswith("sam2-") for found in ids)
    assert "/" not in weights_id("somebody/sam2-tiny")
