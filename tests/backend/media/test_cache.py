"""Downloads that break off, files that change, age or rot, and files in the cloud; against servers on loopback."""

from __future__ import annotations

import base64
import io
import os
import re
import time

import pytest

from backend.jobs.runner import ClipOpener
from backend.media.fetch import Fetcher
from backend.media.network_policy import FetchError
from backend.media.store import MediaError, MediaStore
from backend.settings import load_settings
from refam.pipeline.stage_cache import hash_file
from tests.backend.jobs.queues import spec
from tests.backend.media.site import Site, cached_files, settings_for
from tests.media import cfr, numbered_frames
from video.io.probe import ClipError, VideoLimits

BODY = bytes(i * i % 251 for i in range(600_000))


class File:
    """A file on a `Site` as good servers serve it: ETag, Range, If-Range, If-None-Match. cut: bytes per answer."""

    def __init__(self, body=BODY, *, tag='"one"', cut=None, checks_if_range=True, ranges=True):
        self.body, self.tag, self.cut, self.checks_if_range, self.ranges = body, tag, cut, checks_if_range, ranges
        self.requests, self.date = [], None

    def __call__(self, handler):
        headers = {k.lower(): v for k, v in handler.headers.items()}
        self.requests.append(headers.get("range"))
        if self.tag and headers.get("if-none-match") == self.tag:
            return Site.send(handler, 304, {"ETag": self.tag})
        about = {"ETag": self.tag} if self.tag else {}
        first, status, n = 0, 200, len(self.body)
        match = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
        if (
            match
            and self.ranges
            and (not self.checks_if_range or headers.get("if-range") in (None, self.tag, self.date))
        ):
            first, status = int(match[1]), 206
            if first >= n:
                return Site.send(handler, 416, {"Content-Range": f"bytes */{n}", "Content-Length": "0"})
            about["Content-Range"] = f"bytes {first}-{n - 1}/{n}"
        end = n if self.cut is None else min(n, first + self.cut)
        return Site.send(handler, status, {**about, "Content-Length": str(n - first)}, self.body[first:end])


def store_of(tmp_path, site, **more):
    return MediaStore(settings_for(tmp_path, site, **more))


def read(store, address="/data/local-files/?d=a.mp4", **kwargs):
    with store.local_file(address, **kwargs) as path:
        return path.read_bytes()


def fetcher():
    return Fetcher(max_bytes=10_000_000, timeout_s=5.0, allowed_hosts=["127.0.0.1"])


# --- what breaks off --------------------------------------------------------------------------------------------


def test_a_broken_download_is_resumed(site, tmp_path):
    site.answers["/data/local-files/"] = file = File(cut=250_000)
    assert read(store_of(tmp_path, site)) == BODY
    assert file.requests == [None, "bytes=250000-", "bytes=500000-"]


def test_a_server_that_sends_a_few_mb_at_a_time_is_read_to_the_end(site):
    """As Label Studio passes on cloud storage: a 206 that ends before the file does, and no If-Range."""
    requests = []

    def piecewise(handler):
        requests.append(handler.headers.get("Range"))
        first = int(requests[-1][6:-1]) if requests[-1] else 0
        piece = BODY[first : first + 100_000]
        about = {"ETag": '"1"', "Content-Length": str(len(piece) if requests[-1] else len(BODY))}
        if requests[-1]:
            about["Content-Range"] = f"bytes {first}-{first + len(piece) - 1}/{len(BODY)}"
        Site.send(handler, 206 if requests[-1] else 200, about, piece)

    site.answers["/a"] = piecewise
    into = io.BytesIO()
    assert fetcher().fetch(f"{site.url}/a", into).size == len(BODY)
    assert into.getvalue() == BODY
    assert len(requests) == 6


@pytest.mark.parametrize("checks_if_range", [True, False])
def test_a_file_that_changed_meanwhile_is_downloaded_anew(checks_if_range, site):
    new = BODY[::-1] + b"more"
    files = [File(cut=250_000), File(new, tag='"two"', checks_if_range=checks_if_range)]
    site.answers["/a"] = lambda handler: (files[0] if not files[0].requests else files[1])(handler)
    into = io.BytesIO()
    assert fetcher().fetch(f"{site.url}/a", into).size == len(new)
    assert into.getvalue() == new


@pytest.mark.parametrize("tag", [None, 'W/"weak"'])
def test_a_file_without_a_strong_validator_is_never_resumed(tag, site):
    site.answers["/a"] = file = File(cut=250_000, tag=tag)
    with pytest.raises(FetchError, match="broke off"):
        fetcher().fetch(f"{site.url}/a", io.BytesIO())
    assert file.requests == [None]


def test_a_modification_date_is_a_validator_only_after_a_minute(site):
    for changed, n_requests in (("Mon, 01 Jan 2024 00:00:00 GMT", 3), ("Mon, 01 Jan 2024 00:01:59 GMT", 1)):
        file = File(cut=250_000, tag=None)
        file.date = changed

        def dated(handler, changed=changed, file=file):
            handler.date_time_string = lambda *_: "Mon, 01 Jan 2024 00:02:00 GMT"
            send, handler.send_response = handler.send_response, None

            def with_date(status):
                send(status)
                handler.send_header("Last-Modified", changed)

            handler.send_response = with_date
            file(handler)

        site.answers["/a"] = dated
        with pytest.raises(FetchError) if n_requests == 1 else _nothing():
            fetcher().fetch(f"{site.url}/a", io.BytesIO())
        assert len(file.requests) == n_requests


class _nothing:  # noqa: N801
    def __enter__(self):
        pass

    def __exit__(self, *_):
        pass


def test_a_later_try_resumes_an_earlier_download(site, tmp_path):
    """The first server gives a little and ends; the part waits under another name and is never taken for the file."""
    site.answers["/data/local-files/"] = File(cut=50_000)
    with pytest.raises(MediaError, match="broke off") as raised:
        read(store_of(tmp_path, site))
    assert raised.value.transient
    (part, note) = cached_files(tmp_path)
    assert (part[:6], note) == (".part-", part + ".json")
    site.answers["/data/local-files/"] = file = File()
    assert read(store_of(tmp_path, site)) == BODY
    assert file.requests == ["bytes=50000-"]
    assert not any(name.startswith(".part-") for name in cached_files(tmp_path))


def test_an_upload_is_resumed_without_a_validator(site, tmp_path):
    site.answers["/data/upload/1/a.mp4"] = File(cut=50_000, tag=None)
    with pytest.raises(MediaError):
        read(store_of(tmp_path, site), "/data/upload/1/a.mp4")
    site.answers["/data/upload/1/a.mp4"] = file = File(tag=None)
    assert read(store_of(tmp_path, site), "/data/upload/1/a.mp4") == BODY
    assert file.requests == ["bytes=50000-"]


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"version": "\\"other\\""}'])
def test_a_part_with_a_damaged_or_wrong_note_is_downloaded_anew(note, site, tmp_path):
    site.answers["/data/local-files/"] = File(cut=50_000)
    with pytest.raises(MediaError):
        read(store_of(tmp_path, site))
    next((tmp_path / "cache").glob(".part-*.json")).write_bytes(note)
    site.answers["/data/local-files/"] = File()
    assert read(store_of(tmp_path, site)) == BODY


@pytest.mark.parametrize("content_range", ["", "bytes */600000", "bytes 0-9/600000", "bytes 250000-259999/700000"])
def test_a_range_that_does_not_fit_is_not_appended(content_range, site):
    file = File(cut=250_000)

    def lies(handler):
        if not file.requests or not handler.headers.get("Range"):
            file(handler)
            file.cut = None
        else:
            Site.send(handler, 206, {"ETag": '"one"', "Content-Range": content_range, "Content-Length": "9"}, b"x" * 9)

    site.answers["/a"] = lies
    into = io.BytesIO()
    fetcher().fetch(f"{site.url}/a", into)
    assert into.getvalue() == BODY


def test_a_server_that_always_starts_over_is_given_up(site):
    site.answers["/a"] = file = File(cut=250_000, ranges=False)
    with pytest.raises(FetchError, match="broke off"):
        fetcher().fetch(f"{site.url}/a", io.BytesIO())
    assert len(file.requests) <= 4


def test_a_server_that_promises_more_and_sends_nothing_is_given_up(site):
    file = File(cut=250_000)

    def nothing_more(handler):
        if not file.requests:
            return file(handler)
        about = {"ETag": '"one"', "Content-Range": f"bytes 250000-599999/{len(BODY)}", "Transfer-Encoding": "chunked"}
        return Site.send(handler, 206, about, b"0\r\n\r\n")

    site.answers["/a"] = nothing_more
    with pytest.raises(FetchError, match="gives no more than 250000 bytes of 600000"):
        fetcher().fetch(f"{site.url}/a", io.BytesIO())
    assert len(site.requests) < 10


def test_the_size_limit_holds_for_all_parts_together(site):
    site.answers["/a"] = file = File(cut=250_000)
    small = Fetcher(max_bytes=400_000, timeout_s=5.0, allowed_hosts=["127.0.0.1"])
    with pytest.raises(FetchError, match=r"larger than 0\.4 MB"):
        small.fetch(f"{site.url}/a", io.BytesIO())
    assert file.requests == [None]


# --- the folder -------------------------------------------------------------------------------------------------


def test_files_that_were_not_used_for_long_are_removed(site, tmp_path):
    store = store_of(tmp_path, site, cache_days=2.0)
    with store.local_file("/data/upload/a.mp4") as old, store.local_file("/data/upload/b.mp4") as young:
        pass
    os.utime(old, (time.time() - 3 * 86400,) * 2)
    os.utime(young, (time.time() - 1 * 86400,) * 2)
    with store.local_file("/data/upload/c.mp4"):
        pass
    assert not old.exists()
    assert young.exists()
    assert not old.with_name(old.name + ".json").exists()


def test_a_damaged_copy_is_detected_and_downloaded_again(site, tmp_path):
    store = store_of(tmp_path, site)
    with store.local_file("/data/upload/a.mp4") as path:
        store.raise_if_damaged(path, hash_file(path))
        whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    with store.local_file("/data/upload/a.mp4") as path, pytest.raises(MediaError, match="damaged") as raised:
        store.raise_if_damaged(path, hash_file(path))
    assert raised.value.transient
    with store.local_file("/data/upload/a.mp4") as path:
        store.raise_if_damaged(path, hash_file(path))
    assert len(site.requests) == 2


def test_a_full_disk_is_a_transient_error(site, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Fetcher, "fetch", full)
    with pytest.raises(MediaError, match="no room is left in the media cache") as raised:
        read(store_of(tmp_path, site))
    assert raised.value.transient
    assert cached_files(tmp_path) == []


# --- limits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "words"),
    [({"max_megapixels": 0.01}, "more than 0.01 megapixels"), ({"max_video_s": 0.2}, r"longer than 0\.2 s")],
)
def test_a_video_over_the_limits_is_refused_before_it_is_decoded(limits, words, tmp_path, monkeypatch):
    cfr(tmp_path / "good.mp4", numbered_frames(10))
    settings = load_settings(media_root=tmp_path, cache_dir=tmp_path / "cache", **limits)
    monkeypatch.setattr("video.io.reader.open_clip", lambda *_, **__: pytest.fail("decoded"))
    import contextlib

    with contextlib.ExitStack() as held, pytest.raises(ClipError, match=words):
        ClipOpener(MediaStore(settings), settings).open(spec(), held, lambda _: None)


def test_video_limits_are_validated():
    with pytest.raises(ValueError, match="above 0"):
        VideoLimits(most_px=0, most_s=1)


# --- cloud storage through Label Studio -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["s3://bucket/a/clip 1.mp4", "gs://bucket/a/clip 1.mp4", "azure-blob://c/clip 1.mp4"]
)
def test_cloud_storage_is_fetched_through_its_task(address, site, other_site, tmp_path):
    site.redirect("/tasks/7/resolve/", f"{other_site.url}/bucket/clip.mp4?X-Amz-Signature=s3cret")
    other_site.answers["/bucket/clip.mp4"] = File(cut=400_000)
    with pytest.raises(MediaError, match="REFAM_ALLOWED_HOSTS") as raised:
        read(store_of(tmp_path, site), address, task_id=7)
    assert "s3cret" not in str(raised.value)
    assert other_site.requests == []
    store = store_of(tmp_path, site, allowed_hosts=f"127.0.0.1:{other_site.port}")
    assert read(store, address, task_id=7) == BODY
    path, headers = site.requests[-1]
    assert base64.urlsafe_b64decode(path.partition("?fileuri=")[2]).decode() == address
    assert headers["authorization"] == "Token t0ken"
    assert all("authorization" not in headers for _, headers in other_site.requests)
    site.redirect("/tasks/8/resolve/", f"{other_site.url}/bucket/clip.mp4?X-Amz-Signature=other")
    n = len(other_site.requests)
    assert read(store, address, task_id=8) == BODY  # one copy for all tasks, asked for again with each task's rights
    assert other_site.requests[n][1]["if-none-match"] == '"one"'
    assert len([name for name in cached_files(tmp_path) if name.endswith(".mp4")]) == 1


@pytest.mark.parametrize(
    ("status", "words"),
    [(404, r"cannot get 's3://b/a.mp4' \(404\): add the bucket"), (424, "add the bucket"), (401, "valid token")],
)
@pytest.mark.parametrize("address", ["s3://b/a.mp4", "/tasks/7/resolve/?fileuri=czM6Ly9iL2EubXA0"])
def test_a_file_that_label_studio_cannot_get_is_explained(status, words, address, site, tmp_path):
    site.answers["/tasks/7/resolve/"] = lambda h: Site.send(h, status, {"Content-Length": "0"})
    with pytest.raises(MediaError, match=words):
        read(store_of(tmp_path, site), address, task_id=7)


@pytest.mark.parametrize("path", ["/tasks/7/resolve/", "/projects/3/resolve/"])
def test_the_address_that_label_studio_gives_a_file_in_cloud_storage(path, site, tmp_path):
    site.answers[path] = File(cut=400_000)
    store = store_of(tmp_path, site)
    assert read(store, f"{path}?fileuri=czM6Ly9iL2EubXA0") == BODY
    assert site.requests[-1][1]["authorization"] == "Token t0ken"
    assert [name for name in cached_files(tmp_path) if name.endswith("-a.mp4")]


def test_cloud_storage_needs_a_task_and_label_studio(site, tmp_path):
    with pytest.raises(MediaError, match="here is none"):
        store_of(tmp_path, site).locate("gs://b/a.mp4")
    with pytest.raises(MediaError, match="LABEL_STUDIO_URL"):
        MediaStore(settings_for(tmp_path)).locate("gs://b/a.mp4", task_id=7)
    with pytest.raises(MediaError, match="leaves its folder"):
        store_of(tmp_path, site).locate("s3://b/../a.mp4", task_id=7)
