"""Downloads from a hostile server on loopback."""

from __future__ import annotations

import io
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend.labelstudio.client import LabelStudioAuth, LabelStudioAuthError
from backend.media import network_policy
from backend.media.fetch import Fetcher
from backend.media.network_policy import FetchError, is_public
from backend.media.store import MediaError, MediaStore
from tests.backend.media.site import BODY, Site, cached_files, settings_for


def _fetcher(site: Site | None = None, **more: Any) -> Fetcher:
    options: dict[str, Any] = {"max_bytes": 100_000, "timeout_s": 5.0, **more}
    if site is not None:
        options |= {"trusted": site.url, "authorization": lambda: "Token s3cret"}
    return Fetcher(**options)


def _get(fetcher: Fetcher, url: str) -> bytes:
    into = io.BytesIO()
    fetcher.fetch(url, into)
    return into.getvalue()


def test_fetch_sends_the_token_and_returns_the_whole_body(site: Site) -> None:
    assert _get(_fetcher(site), f"{site.url}/data/upload/a.mp4") == BODY
    assert site.requests[0][1]["authorization"] == "Token s3cret"


def test_the_token_goes_to_no_other_host_and_no_other_path(site: Site, other_site: Site) -> None:
    site.redirect("/data/upload/a.mp4", f"{other_site.url}/data/stolen")
    fetcher = _fetcher(site, allowed_hosts=[f"127.0.0.1:{other_site.port}"], trusted_paths=("/data/",))
    assert _get(fetcher, f"{site.url}/data/upload/a.mp4") == BODY
    assert _get(fetcher, f"{other_site.url}/data/direct") == BODY
    assert _get(fetcher, f"{site.url}/api/projects/1/export") == BODY
    assert "authorization" not in site.requests[-1][1]
    assert all("authorization" not in headers for _, headers in other_site.requests)
    assert len(other_site.requests) == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0", "[::1]", "[::ffff:127.0.0.1]"])
def test_loopback_is_refused_in_every_spelling(host: str, other_site: Site) -> None:
    with pytest.raises(FetchError, match=r"REFAM_ALLOWED_HOSTS|not known|reached"):
        _get(_fetcher(), f"http://{host}:{other_site.port}/")
    assert other_site.requests == []


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
        ("2002:808:808::", True),
        ("64:ff9b::808:808", True),
        ("::7f00:1", False),
        ("::a9fe:a9fe", False),
        ("::808:808", False),
        ("64:ff9b:1::7f00:1", False),
        ("64:ff9b:1:ffff::808:808", False),
        ("::ffff:0:7f00:1", False),
        ("::ffff:0:808:808", False),
        ("fec0::1", False),
        ("feff::1", False),
    ],
)
def test_is_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_a_public_page_cannot_redirect_to_a_private_one(site: Site, other_site: Site) -> None:
    site.redirect("/a", f"{other_site.url}/secret")
    with pytest.raises(FetchError, match="REFAM_ALLOWED_HOSTS"):
        _get(_fetcher(site), f"{site.url}/a")
    assert other_site.requests == []


def test_dns_rebinding_is_refused(monkeypatch: pytest.MonkeyPatch, other_site: Site) -> None:
    """DNS re-binding: the first answer is public, every later one loopback. The name is looked up once."""
    lookups: list[str] = []
    real = socket.getaddrinfo

    def rebinding(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "evil.example":
            return real(host, *args, **kwargs)
        lookups.append(host)
        return real("198.51.100.7" if len(lookups) == 1 else "127.0.0.1", *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(network_policy, "is_public", lambda address: address != "127.0.0.1")
    connected: list[str] = []

    def no_connection(_: Any, host: str, *__: Any, **___: Any) -> Any:
        connected.append(host)
        raise network_policy.httpcore.ConnectError("nobody there")

    monkeypatch.setattr(network_policy.httpcore.SyncBackend, "connect_tcp", no_connection)
    with pytest.raises(FetchError):
        _get(_fetcher(), f"http://evil.example:{other_site.port}/")
    assert connected == ["198.51.100.7"]  # the address that was checked, not the name
    with pytest.raises(FetchError, match="REFAM_ALLOWED_HOSTS"):
        _get(_fetcher(), f"http://evil.example:{other_site.port}/")


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/a", "gopher://x", "//", "http://u:p@h/a", ""]
)
def test_redirects_out_of_http_are_refused(target: str, site: Site) -> None:
    site.redirect("/a", target)
    with pytest.raises(FetchError):
        _get(_fetcher(site), f"{site.url}/a")


def test_endless_redirects_are_refused(site: Site) -> None:
    site.redirect("/a", "/a")
    with pytest.raises(FetchError, match="redirects"):
        _get(_fetcher(site), f"{site.url}/a")


def _slowly(handler: Any) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.02)


def _too_long_chunks(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")


def _cut_off_chunks(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"100\r\n" + b"x" * 0x100 + b"\r\n")


HOSTILE: dict[str, tuple[Callable[[Any], None], str]] = {
    "says too much": (lambda h: Site.send(h, 200, {"Content-Length": "200000"}), "larger than 0.1 MB"),
    "sends too much": (_too_long_chunks, "larger than 0.1 MB"),
    "breaks off": (lambda h: Site.send(h, 200, {"Content-Length": "9000"}, BODY[:100]), "broke off"),
    "breaks off in chunks": (_cut_off_chunks, "broke off"),
    "drips": (_slowly, "longer than 0.5 s"),
    "nothing": (lambda h: Site.send(h, 200, {"Content-Length": "0"}), "empty"),
    "login": (lambda h: Site.send(h, 200, {"Content-Type": "text/html", "Content-Length": "2"}, b"hi"), "web page"),
    "unasked gzip": (
        lambda h: Site.send(h, 200, {"Content-Encoding": "gzip", "Content-Length": "2"}, b"hi"), "gzip",
    ),
    "part": (lambda h: Site.send(h, 206, {"Content-Length": "2"}, b"hi"), "206"),
    "not modified, though nothing is there": (lambda h: Site.send(h, 304, {}), "304"),
    "gone": (lambda h: Site.send(h, 404, {"Content-Length": "0"}), "404"),
    "no token": (lambda h: Site.send(h, 401, {"Content-Length": "0"}), "LABEL_STUDIO_API_KEY"),
    "no HTTP": (lambda h: h.wfile.write(b"SSH-2.0-x\r\n\r\n"), "broke off"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers_raise_a_clear_error_and_leave_no_file(name: str, site: Site, tmp_path: Path) -> None:
    answer, words = HOSTILE[name]
    site.answers["/data/a.mp4"] = answer
    store = MediaStore(settings_for(tmp_path, site, max_media_mb=0.1, fetch_timeout_s=0.5))
    with pytest.raises(MediaError, match=words) as raised, store.local_file("/data/a.mp4?sig=s3cret"):
        pass
    assert "s3cret" not in str(raised.value)
    assert cached_files(tmp_path) == []


# --- the store -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("", "no address"),
        ("a\nb", "no address"),
        ("file:///etc/passwd", "not fetched"),
        ("FILE:///etc/passwd", "not fetched"),
        ("s3://bucket/a.mp4", "LABEL_STUDIO_URL"),
        ("hdfs://bucket/a.mp4", "azure-blob://"),
        ("//evil/a.mp4", "not fetched"),
        ("/data/upload/../../api/x", "leaves its folder"),
        ("/data/local-files/?d=../../etc/passwd", "leaves its folder"),
        ("/data/upload/%2e%2e/x", "leaves its folder"),
        ("/data/upload/%252e%252e/x", "leaves its folder"),
        ("/data\\..\\x", "no address"),
        ("http://h/data/../api", "leaves its folder"),
        ("/data/local-files/?d=a\\..\\..\\x", "leaves its folder"),
        ("..\\x.mp4", "leaves its folder"),
        ("http://host\\@evil/a.mp4", "no address"),
        ("C:\\clips\\a.mp4", "path of a Windows machine"),
        ("/etc/passwd", "REFAM_MEDIA_ROOT"),
        ("clips/a.mp4", "REFAM_MEDIA_ROOT"),
        ("/data/upload/1/a.mp4", "LABEL_STUDIO_URL"),
    ],
)
def test_unsafe_addresses_are_refused(address: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=words):
        MediaStore(settings_for(tmp_path)).locate(address)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://192.168.1.5/a.mp4", "REFAM_ALLOWED_HOSTS"),
        ("http://localhost:8000/a.mp4", "REFAM_ALLOWED_HOSTS"),
        ("https://app.localhost./a.mp4", "REFAM_ALLOWED_HOSTS"),
        ("http://2130706433/a.mp4", "REFAM_ALLOWED_HOSTS"),
        ("http://0x7f.1/a.mp4", "REFAM_ALLOWED_HOSTS"),
        ("http://[::1]/a.mp4", "REFAM_ALLOWED_HOSTS"),
        ("http://[::ffff:10.0.0.1]/a.mp4", "REFAM_ALLOWED_HOSTS"),
        ("http://169.254.169.254/latest", "REFAM_ALLOWED_HOSTS"),
        ("http://user:secret@example.com/a.mp4", "user or password"),
        ("http://[::1/a.mp4", "no address"),
        ("http://example.com:port/a.mp4", "no address"),
        ("http://example.com:99999/a.mp4", "no address"),
        ("http:///a.mp4", "are fetched"),
        ("http://a..b/a.mp4", "no name of a host"),
        (f"http://{'a' * 64}.com/a.mp4", "no name of a host"),
        ("http://a b/a.mp4", "no name of a host"),
        ("ftp://example.com/a.mp4", "not fetched"),
        ("data:video/mp4;base64,AAAA", "not fetched"),
        ("/etc/passwd", "REFAM_MEDIA_ROOT"),
        ("clip\ud800.mp4", "no address"),
    ],
)
def test_hopeless_addresses_are_refused_without_the_network(address: str, words: str, tmp_path: Path) -> None:
    store = MediaStore(settings_for(tmp_path))
    with pytest.raises(MediaError, match=words) as raised:
        store.check(address)
    assert "secret" not in str(raised.value)
    assert not raised.value.transient


@pytest.mark.parametrize(
    "address",
    [
        "http://example.com/a.mp4",
        "https://bücher.example/ein film.mp4",
        "http://8.8.8.8/a.mp4",
        "http://nas/a.mp4",  # what it is only a name server knows
        "http://192.168.1.5:8000/a.mp4",
        "http://localhost:8080/data/upload/1/a.mp4",
        "/data/upload/1/a.mp4",
        "s3://bucket/a.mp4",
        "clips/later.mp4",  # may come
    ],
)
def test_addresses_that_may_work_pass(address: str, tmp_path: Path) -> None:
    settings = settings_for(
        tmp_path, media_root=tmp_path, allowed_hosts="192.168.1.5:8000", label_studio_url="http://localhost:8080"
    )
    MediaStore(settings).check(address, task_id=7)


def test_paths_are_read_only_under_the_media_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "clips").mkdir(parents=True)
    (root / "clips" / "a.mp4").write_bytes(BODY)
    (tmp_path / "secret.mp4").write_bytes(BODY)
    (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    store = MediaStore(settings_for(tmp_path, media_root=root))
    with store.local_file("clips/a.mp4") as path:
        assert path.read_bytes() == BODY
    with store.local_file("clips\\a.mp4") as path:
        assert path.read_bytes() == BODY
    with store.local_file(str(root / "clips" / "a.mp4")) as path:
        assert path.read_bytes() == BODY
    for bad in ("link.mp4", str(tmp_path / "secret.mp4"), "clips", "clips/b.mp4", "../secret.mp4", "/etc/passwd"):
        with pytest.raises(MediaError):
            store.locate(bad)


def test_uploads_are_fetched_once(site: Site, tmp_path: Path) -> None:
    store = MediaStore(settings_for(tmp_path, site))
    for _ in range(2):
        with store.local_file("/data/upload/3/abc-my clip ü.mp4") as path:
            assert path.read_bytes() == BODY
            assert path.name.endswith("my_clip_.mp4")
    assert len(site.requests) == 1
    assert site.requests[0][1]["authorization"] == "Token t0ken"


def test_other_files_are_revalidated_and_sent_only_when_changed(site: Site, tmp_path: Path) -> None:
    content = [b"one"]

    def tagged(handler: Any) -> None:
        tag = f'"{content[0].decode()}"'
        if handler.headers.get("If-None-Match") == tag:
            Site.send(handler, 304, {"ETag": tag})
        else:
            Site.send(handler, 200, {"ETag": tag, "Content-Length": str(len(content[0]))}, content[0])

    site.answers["/data/local-files/"] = tagged
    store = MediaStore(settings_for(tmp_path, site))
    for expected in (b"one", b"one", b"two!"):
        content[0] = expected
        with store.local_file("/data/local-files/?d=a\\b.mp4") as path:  # as a Label Studio on Windows writes it
            assert path.read_bytes() == expected
            assert path.name.endswith("-b.mp4")
    assert [headers.get("if-none-match") for _, headers in site.requests] == [None, '"one"', '"one"']


def test_the_cache_is_bounded_and_keeps_files_in_use(site: Site, tmp_path: Path) -> None:
    store = MediaStore(settings_for(tmp_path, site, cache_mb=len(BODY) * 2.5 / 1e6))
    with store.local_file("/data/upload/first.mp4") as first:
        for i in range(5):
            with store.local_file(f"/data/upload/{i}.mp4"):
                pass
            time.sleep(0.01)
        assert first.exists()
        names = {path.name.split("-", 1)[1] for path in (tmp_path / "cache").glob("*.mp4")}
        assert "4.mp4" in names
        assert len(names) == 2


def test_a_cache_that_cannot_be_written_is_named_in_the_error(site: Site, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(MediaError, match="cache"), MediaStore(settings_for(tmp_path, site)).local_file("/data/a.mp4"):
        pass


# --- tokens --------------------------------------------------------------------------------------


def _jwt(**claims: Any) -> str:
    import base64

    parts = ({"alg": "HS256"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts) + ".sig"


def test_a_personal_token_is_exchanged_and_renewed_before_it_ends(site: Site) -> None:
    from pydantic import SecretStr

    now = [1000.0]
    given: list[str] = []

    def refresh(handler: Any) -> None:
        sent = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        assert sent == {"refresh": personal}
        given.append(_jwt(exp=now[0] + 300, n=len(given)))
        body = json.dumps({"access": given[-1]}).encode()
        Site.send(handler, 200, {"Content-Length": str(len(body))}, body)

    site.answers["/api/token/refresh/"] = refresh
    personal = _jwt(token_type="refresh")
    access = LabelStudioAuth(site.url, SecretStr(personal), clock=lambda: now[0])
    assert access.kind == "personal"
    assert access.header() == f"Bearer {given[0]}"
    now[0] += 200
    assert access.header() == f"Bearer {given[0]}"
    now[0] += 90
    assert access.header() == f"Bearer {given[1]}"
    assert len(given) == 2


def test_a_legacy_token_is_sent_as_it_is() -> None:
    from pydantic import SecretStr

    access = LabelStudioAuth("http://nowhere", SecretStr("0123abcd"))
    assert (access.kind, access.header()) == ("legacy", "Token 0123abcd")


@pytest.mark.parametrize(("status", "words"), [(401, "not valid"), (500, "500"), (200, "without an access token")])
def test_a_refused_personal_token_raises_an_error(status: int, words: str, site: Site) -> None:
    from pydantic import SecretStr

    site.answers["/api/token/refresh/"] = lambda h: Site.send(h, status, {"Content-Length": "2"}, b"{}")
    personal = _jwt(a=1)
    with pytest.raises(LabelStudioAuthError, match=words) as raised:
        LabelStudioAuth(site.url, SecretStr(personal)).header()
    assert personal not in str(raised.value)
