"""A tokenizer.json is read alone, and a broken one is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from refam.backbones.tokenizer_file import FileTokenizer
from refam.backbones.weights import BackboneError
from refam.tiny import TINY_DIRECTORY

SOURCE = TINY_DIRECTORY / "tokenizer_2"
pytestmark = pytest.mark.skipif(not SOURCE.is_dir(), reason="the small model is not here")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SOURCE, tmp_path / "tokenizer"))


def test_a_prompt_is_split_before_its_words(folder: Path) -> None:
    read = FileTokenizer(folder / "tokenizer.json")
    encoded = read("the red circle")
    assert [tuple(o) for o in encoded["offset_mapping"]][:3] == [(0, 3), (3, 7), (7, 14)]
    assert all(token in read.get_vocab() for token in read.convert_ids_to_tokens(encoded["input_ids"]))
    assert read.unk_token_id in read("zyxgarble")["input_ids"]
    (folder / "tokenizer_config.json").unlink()
    assert FileTokenizer(folder / "tokenizer.json").unk_token_id is None


TOKENIZER = (SOURCE / "tokenizer.json").read_bytes() if SOURCE.is_dir() else b""


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [b"", TOKENIZER[:300], b"[]", b"null", b"\xff\xfe{}", b"[" * 100_000])
def test_a_broken_file_is_named(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(BackboneError, match=rf"{name} is broken \(.*\); fetch the directory again"):
        FileTokenizer(folder / "tokenizer.json")


@pytest.mark.parametrize("content", ["{}", json.dumps({"model": {"type": "Nothing"}}), json.dumps({"model": 5})])
def test_json_that_is_no_tokenizer_is_named(folder: Path, content: str) -> None:
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(BackboneError, match=r"tokenizer\.json is broken"):
        FileTokenizer(folder / "tokenizer.json")


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_folder_in_place_of_a_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(BackboneError, match=rf"{name} is broken \(Is a directory\)"):
        FileTokenizer(folder / "tokenizer.json")
