"""Which file an address names, whatever system wrote it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from backend.labelstudio.addresses import (
    address_in,
    address_parts,
    cloud_address,
    file_name,
    local_file_address,
    redact_url,
    video_stem,
)
from video.formats.base import FormatError


def passed_on(address: str, *, what: str = "tasks/12/resolve", padding: bool = True) -> str:
    """The address that Label Studio gives a file in cloud storage (io_storages of 1.23)."""
    code = base64.urlsafe_b64encode(address.encode()).decode()
    return f"/{what}/?fileuri={code if padding else code.rstrip('=')}"


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("/data/local-files/?d=a/b%20c.mp4", ("a", "b c.mp4")),
        ("/data/local-files/?d=clips%5Cdisc.mp4", ("clips", "disc.mp4")),
        ("/data/local-files/?d=clips\\cam%201\\disc.mp4", ("clips", "cam 1", "disc.mp4")),
        ("C:\\clips\\disc.mp4", ("clips", "disc.mp4")),
        ("/data/local-files/?d=C%3A%5Cclips%2Fdisc.mp4", ("clips", "disc.mp4")),
        ("\\\\server\\share\\disc.mp4", ("server", "share", "disc.mp4")),
        ("file:///D:/clips/disc.mp4", ("clips", "disc.mp4")),
        ("file://D:\\clips\\disc.mp4", ("clips", "disc.mp4")),
        ("https://host/x/disc.mp4?sig=1", ("x", "disc.mp4")),
        ("s3://bucket/clips/disc.mp4", ("clips", "disc.mp4")),
        ("/tasks/12/resolve/?fileuri=czM6Ly9idWNrZXQvY2xpcHMvZGlzYy5tcDQ=", ("clips", "disc.mp4")),
        ("http://studio/tasks/12/resolve/?fileuri=czM6Ly9idWNrZXQvY2xpcHMvZGlzYy5tcDQ%3D", ("clips", "disc.mp4")),
        (passed_on("gs://b/ünter wegs/ä.mp4", padding=False), ("ünter wegs", "ä.mp4")),
        (passed_on("azure-blob://c/d.webm", what="projects/3/resolve"), ("d.webm",)),
        ("/tasks/1/presign/?fileuri=s3://bucket/a/b.mp4", ("a", "b.mp4")),
    ],
)
def test_the_folders_and_the_name_of_a_file(address, parts):
    assert address_parts(address) == parts
    assert file_name(address) == parts[-1]


@pytest.mark.parametrize(
    ("path", "below"),
    [
        ("a.mp4", "a.mp4"),
        ("clips/cam 1/a.mp4", "clips/cam%201/a.mp4"),
        ("./clips/../clips/a.mp4", "clips/a.mp4"),
        ("HERE/clips/a.mp4", "clips/a.mp4"),
        ("..a/a.mp4", "..a/a.mp4"),
        ("../elsewhere/a.mp4", "a.mp4"),
        ("/videos/ä.mp4", "%C3%A4.mp4"),
        (".", ""),
    ],
)
def test_a_local_file_is_below_the_current_folder(path, below, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    address = local_file_address(Path(path.replace("HERE", str(tmp_path / "here"))))
    assert address == f"/data/local-files/?d={below}"
    assert address_in(address, "0 0.jpg") == f"{address}{'/' if below else ''}0%200.jpg"


@pytest.mark.parametrize("address", ["", "/", "https://host", "/data/local-files/?d=..", "C:\\", "http://[x/a.mp4"])
def test_what_names_no_file_is_refused(address):
    with pytest.raises(FormatError):
        address_parts(address)
    assert file_name(address) == address


@pytest.mark.parametrize(
    ("address", "cloud"),
    [
        (passed_on("s3://b/a.mp4"), "s3://b/a.mp4"),
        ("/data/upload/1/a.mp4", None),
        ("/tasks/12/resolve/?fileuri=%%%", None),
        ("/tasks/12/resolve/?fileuri=" + base64.b64encode(b"\xff\xfe").decode(), None),
        ("/tasks/12/resolve/", None),
    ],
)
def test_what_label_studio_passes_on_from_cloud_storage(address, cloud):
    assert cloud_address(address) == cloud


@pytest.mark.parametrize(
    ("address", "stem"),
    [("/data/upload/1/0a1b2c3d-up.mp4", "up"), ("clips\\0a1b2c3d-up.mp4", "up"), ("a/.mp4", ".mp4"), ("x/up", "up")],
)
def test_the_stem_of_a_video(address, stem):
    assert video_stem(address) == stem


SECRETS = {
    "/data/upload/x.mp4?token=S": "/data/upload/x.mp4",
    "/data/upload/../../api/x?token=S": "/data/upload/../../api/x",
    "/data/upload/x.mp4#token=S": "/data/upload/x.mp4",
    "http:/127.0.0.1/x?token=S": "http:/127.0.0.1/x",
    "http://u:S@host/a.mp4?x#y": "http://host/a.mp4",
    "http:\\\\u:S@host\\a.mp4": "http:\\\\host\\a.mp4",
    "//u:S@host/x": "//host/x",
    "http://u:pa?S@host/x": "http://...",
    "http://u:pa#S@host/x": "http://...",
    "http://[::1/a.mp4?S": "http://[::1/a.mp4",
    "s3://bucket/a.mp4?sig=S#S": "s3://bucket/a.mp4",
    "a.mp4?S": "a.mp4",
    "a.mp4#access_token=S": "a.mp4",
    "C:\\clips\\a@b.mp4?S": "C:\\clips\\a@b.mp4",
    "/data/local-files/?token=S&d=a/b%20c.mp4&sig=S": "/data/local-files/?d=a/b%20c.mp4",
    "/data/local-files/?token=S": "/data/local-files/",
    "camera #3 100%.mp4": "camera #3 100%.mp4",
    "a@b.mp4": "a@b.mp4",
}


@pytest.mark.parametrize(("address", "shown"), SECRETS.items(), ids=SECRETS)
def test_an_address_is_shown_without_its_secrets(address, shown):
    assert redact_url(address) == shown
    assert len(redact_url(address + "x" * 999)) <= 200
