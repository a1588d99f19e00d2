"""Downloads from a server on loopback that breaks off, ignores ranges, refuses, or has another file."""

from __future__ import annotations

import hashlib
import socket
import time

import numpy as np
import pytest

from refam.segmenters import download
from refam.segmenters.download import DownloadError, download_file
from tests.loopback_files import serve_files

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(download, "_PAUSE_S", 0.0)


@pytest.fixture
def server():
    with serve_files({"/file": CONTENT}) as server:
        yield server


def test_a_whole_file_arrives_and_progress_counts_its_bytes(server, tmp_path):
    counts = []
    download_file(f"{server.url}/file", tmp_path / "got", sha256=SHA256, received=counts.append)
    assert (tmp_path / "got").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["got"]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, len(CONTENT))


def test_a_broken_connection_is_continued_where_it_was(server, tmp_path):
    server.stops = [100_000, 50_000]
    download_file(f"{server.url}/file", tmp_path / "got", sha256=SHA256)
    assert (tmp_path / "got").read_bytes() == CONTENT
    assert server.ranges_of("/file") == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_call_continues_what_an_earlier_one_left(server, tmp_path):
    server.stops = [120_000, 0, 0, 0]
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1: "):
        download_file(f"{server.url}/file", tmp_path / "got", sha256=SHA256)
    assert (tmp_path / "got.part").read_bytes() == CONTENT[:120_000]
    server.asked.clear()
    counts = []
    download_file(f"{server.url}/file", tmp_path / "got", sha256=SHA256, received=counts.append)
    assert (tmp_path / "got").read_bytes() == CONTENT
    assert server.ranges_of("/file") == ["bytes=120000-"]
    assert counts[0] == 120_000


def test_a_complete_part_is_not_fetched_again(server, tmp_path):
    (tmp_path / "got.part").write_bytes(CONTENT)
    download_file(f"{server.url}/file", tmp_path / "got", sha256=SHA256)
    assert (tmp_path / "got").read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_is_begun_anew(server, tmp_path):
    (tmp_path / "got.part").write_bytes(CONTENT + b"more")
    download_file(f"{server.url}/file", tmp_path / "got", sha256=SHA256)
    assert (tmp_path / "got").read_bytes() == CONTENT
    assert server.ranges_of("/file")[-1] is None


def test_a_server_without_ranges_sends_the_file_anew(server, tmp_path):
    server.ranges, server.stops = False, [100_000]
    download_file(f"{server.url}/file", tmp_path / "got", sha256=SHA256)
    assert (tmp_path / "got").read_bytes() == CONTENT


def test_a_server_that_always_breaks_off_at_the_same_byte_is_given_up(server, tmp_path):
    server.ranges, server.stops = False, [100_000] * 20
    with pytest.raises(DownloadError):
        download_file(f"{server.url}/file", tmp_path / "got", sha256=SHA256)
    assert len(server.asked) == 4, "one attempt that brought something, three that brought nothing new"


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(DownloadError, match=f"got has the SHA-256 {SHA256}, not {'0' * 64}"):
        download_file(f"{server.url}/file", tmp_path / "got", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("status", "attempts"), [(403, 1), (503, 3)])
def test_a_refusal_is_final_and_a_server_error_is_tried_again(server, tmp_path, status, attempts):
    server.status = status
    with pytest.raises(DownloadError, match=f"answered {status}"):
        download_file(f"{server.url}/file", tmp_path / "got")
    assert len(server.asked) == attempts


def test_a_server_that_is_not_there_is_given_up_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_PAUSE_S", 60.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        started = time.monotonic()
        with pytest.raises(DownloadError, match=r"127\.0\.0\.1: "):
            download_file(f"http://127.0.0.1:{taken.getsockname()[1]}/file", tmp_path / "got")
    assert time.monotonic() - started < 10
