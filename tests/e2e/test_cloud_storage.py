"""A video in S3, through a real Label Studio's storage: sent on to a signed address, or passed through.

The S3 is a stand-in on loopback that Label Studio's own boto3 talks to; it serves only requests that are signed.
"""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from backend.labelstudio.import_tasks import build_label_config
from backend.media.store import MediaError, MediaStore
from backend.service.app import BackgroundServer
from backend.settings import load_settings
from refam.evaluation.synthetic import RED, red_star_and_blue_ring
from tests.media import cfr
from tests.studio import settings_beside

pytestmark = pytest.mark.e2e
BUCKET, KEY = "clips", "day 1/star.mp4"


class Bucket(BaseHTTPRequestHandler):
    """GET and HEAD of one object, with Range. `cut`: the first answer of an object breaks off after so many bytes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        if "X-Amz-Signature=" not in self.path and "AWS4-HMAC-SHA256" not in self.headers.get("Authorization", ""):
            return self._respond(403, {})
        path = self.path.split("?")[0]
        if path == f"/{BUCKET}":
            return self._respond(200, {})
        if path != f"/{BUCKET}/{KEY.replace(' ', '%20')}":
            return self._respond(404, {})
        body, headers = self.server.body, {"ETag": '"5ca1ab1e"', "Accept-Ranges": "bytes", "Content-Type": "video/mp4"}
        byte_range = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if byte_range is None:
            cut, self.server.cut = self.server.cut, None
            return self._respond(200, headers, body, cut)
        first, last = int(byte_range[1]), min(int(byte_range[2] or len(body)), len(body) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
        return self._respond(206, headers, body[first : last + 1])

    do_HEAD = do_GET  # noqa: N815

    def _respond(self, status, headers, body=b"", cut=None):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut])
        self.close_connection = cut is not None

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    clip = cfr(tmp_path_factory.mktemp("clip") / "star.mp4", red_star_and_blue_ring(24, size=(192, 108))[0])
    server.body, server.requests, server.cut = clip.read_bytes(), [], None
    # What fills it up is no picture: a clip of more than 64 KB is one whose download is worth going on with.
    server.body += (200_000).to_bytes(4, "big") + b"free" + bytes(200_000 - 8)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.mark.parametrize("presign", [True, False])
def test_a_video_in_s3_becomes_a_prediction(presign, studio, bucket, tmp_path):
    project, _ = studio.create_project(f"s3 {presign}", build_label_config(["Object"]), [])
    endpoint = f"http://127.0.0.1:{bucket.server_port}"
    studio.api(
        "POST",
        "/api/storages/s3",
        json={
            "project": project,
            "bucket": BUCKET,
            "presign": presign,
            "s3_endpoint": endpoint,
            "region_name": "us-east-1",
            "aws_access_key_id": "a-key",
            "aws_secret_access_key": "a-secret",
            "use_blob_urls": True,
        },
    )
    (task,) = studio.import_tasks(project, [{"video": f"s3://{BUCKET}/{KEY}", "prompt": RED, "fps": 25}])
    settings = settings_beside(
        studio,
        tmp_path,
        allowed_hosts=f"127.0.0.1:{bucket.server_port}" if presign else "",
    )
    bucket.requests.clear()
    bucket.cut = 120_000 if presign else None  # passing on what breaks off, Label Studio hangs: 30 s more, the same end
    with BackgroundServer(settings) as backend:
        studio.connect(project, backend.url)
        studio.retrieve_predictions(project)
        assert studio.wait_for_predictions([task], timeout_s=600)  # answered, or pushed where the machine is busy
    media_path = KEY.split("/")[1]
    media_headers = [headers for method, path, headers in bucket.requests if method == "GET" and media_path in path]
    ranges = [None, "bytes=120000-"] if presign else [None]  # a download that breaks off is continued
    assert [headers.get("Range") for headers in media_headers] == ranges
    if presign:  # fetched from the bucket itself, without Label Studio's token
        assert all(headers["User-Agent"] == "refam" and "Authorization" not in headers for headers in media_headers)
    assert all(studio.login.token not in str(headers) for headers in media_headers)
    (cached,) = (tmp_path / "cache").glob("*.mp4")
    assert cached.read_bytes() == bucket.body
    if presign:
        without_allowed_hosts = MediaStore(
            load_settings(**settings.model_dump() | {"allowed_hosts": (), "cache_dir": tmp_path / "b"})
        )
        with (
            pytest.raises(MediaError, match="REFAM_ALLOWED_HOSTS"),
            without_allowed_hosts.local_file(f"s3://{BUCKET}/{KEY}", task_id=task),
        ):
            pass
    store = MediaStore(settings)
    for address in (f"s3://other/{KEY}", f"s3://{BUCKET}/nothing.mp4", f"gs://{BUCKET}/{KEY}"):
        with pytest.raises(MediaError, match=r"cannot get|answered 404"), store.local_file(address, task_id=task):
            pass
