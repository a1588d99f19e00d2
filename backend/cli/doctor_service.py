"""What `refam doctor` looks at beside the models: settings, disk, queue, and the Label Studio that is set."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from backend.cli.doctor import Finding
from backend.labelstudio.client import LabelStudioAuth, LabelStudioAuthError
from backend.settings import Settings, SettingsError, load_settings, unknown_variables

_ALONE = ("127.0.0.1", "::1", "localhost")
_METADATA = "the metadata address"
_PROBES = {
    "this machine": "127.0.0.1",
    "10.0.0.0/8": "10.0.0.1",
    "172.16.0.0/12": "172.16.0.1",
    "192.168.0.0/16": "192.168.0.1",
    _METADATA: "169.254.169.254",
}
_LITTLE_GB = 5.0  # of free disk: a few long videos


def examine_service() -> Iterator[Finding]:
    """Every check of the service, as it is done. Makes the jobs folder where there is none; changes nothing else."""
    try:
        settings = load_settings()
    except SettingsError as error:
        yield Finding("settings", "wrong", str(error))
        return
    unknown = unknown_variables()
    if unknown:
        yield Finding("settings", "note", f"no setting is called {', '.join(unknown)}: a slip of the pen?")
    else:
        yield Finding("settings", "ok", f"deadline {settings.deadline_s:g} s, port {settings.port}")
    checks: list[tuple[str, Callable[[Settings], Finding | None]]] = [
        ("codecs", _codecs),
        ("door", _door),
        ("disk", _disk),
        ("queue", _queue),
        ("studio", _studio),
        ("token", _token),
        ("networks", _networks),
    ]
    for part, check in checks:
        try:
            found = check(settings)
            if found is not None:
                yield found
        except Exception as error:  # whatever it is, the person who asks what is wrong wants to know
            yield Finding(part, "wrong", f"{type(error).__name__}: {error}".splitlines()[0])


def _codecs(_: Settings) -> Finding:
    """What browsers play must be read here too."""
    import av

    wanted = {"h264": "H.264", "hevc": "HEVC", "vp9": "VP9", "av1": "AV1", "mpeg4": "MPEG-4"}
    missing = [name for codec, name in wanted.items() if codec not in av.codecs_available]
    if missing:
        mend = "install PyAV's own wheel (pip install --force-reinstall av), which brings FFmpeg along"
        return Finding("codecs", "wrong", f"{', '.join(missing)} cannot be read: {mend}")
    return Finding("codecs", "ok", f"{', '.join(wanted.values())} can be read")


def _door(settings: Settings) -> Finding:
    alone = settings.host in _ALONE
    if settings.basic_auth_user is None and not alone:
        mend = "set REFAM_BASIC_AUTH_USER and _PASS, then `refam connect --project N` tells Label Studio"
        return Finding("door", "note", f"whoever reaches {settings.host}:{settings.port} can use it: {mend}")
    guarded = "without a password, for this machine alone" if settings.basic_auth_user is None else "with a password"
    return Finding("door", "ok", f"{settings.host}:{settings.port}, {guarded}")


def _disk(settings: Settings) -> Finding:
    said, little, closed = [], False, []
    places = (("media", settings.cache_dir, "REFAM_CACHE_DIR"), ("jobs", settings.data_dir, "REFAM_DATA_DIR"))
    for name, folder, variable in places:
        there = folder
        while not there.exists():
            there = there.parent
        if not os.access(there, os.W_OK):
            closed.append(f"{there} cannot be written by this user: change its rights, or set {variable}")
        free_gb = shutil.disk_usage(there).free / 1e9
        little = little or free_gb < _LITTLE_GB
        said.append(f"{free_gb:.0f} GB free for {name} in {folder}")
    if closed:
        return Finding("disk", "wrong", "; ".join(closed))
    mend = "; make room, or set REFAM_CACHE_DIR, REFAM_DATA_DIR, REFAM_CACHE_MB" if little else ""
    return Finding("disk", "note" if little else "ok", "; ".join(said) + mend)


def _queue(settings: Settings) -> Finding:
    from backend.jobs.queue import JobQueue

    kind = "SQLite" if settings.queue == "sqlite" else "Redis"
    try:
        queue = JobQueue(settings.queue, Path(settings.data_dir))
        waiting, runs = queue.waiting(), len(queue.records())
        queue.close()
    except Exception as error:
        mend = "REFAM_QUEUE must name a Redis that runs" if kind == "Redis" else "REFAM_DATA_DIR must be writable"
        return Finding("queue", "wrong", f"{kind} cannot be used ({type(error).__name__}): {mend}")
    alone = "" if settings.work else "; REFAM_WORK is false: `refam work` has to run somewhere"
    return Finding("queue", "note" if alone else "ok", f"{kind}, {waiting} waiting, {runs} job(s) known{alone}")


def _studio(settings: Settings) -> Finding:
    if settings.label_studio_url is None:
        mend = "uploads and local files cannot be fetched, late predictions cannot be pushed"
        return Finding("studio", "note", f"LABEL_STUDIO_URL is not set: {mend}")
    try:
        with httpx.Client(trust_env=False, timeout=5) as http:
            answer = http.get(f"{settings.label_studio_url}/api/version")
            release = answer.raise_for_status().json().get("release")
    except (httpx.HTTPError, ValueError, AttributeError) as error:
        where = settings.label_studio_url
        mend = "does it run, and is LABEL_STUDIO_URL its address as seen from here?"
        text = f"{where} does not answer as Label Studio does ({type(error).__name__}): {mend}"
        return Finding("studio", "wrong", text)
    # How long it waits for an answer its API does not say.
    text = (
        f"{settings.label_studio_url}, release {release}; it must wait longer (ML_TIMEOUT_PREDICT, 100 s unless set) "
        f"than the {settings.deadline_s:g} s within which we answer"
    )
    return Finding("studio", "ok", text)


def _token(settings: Settings) -> Finding:
    access = LabelStudioAuth.from_settings(settings)
    if access is None:
        return Finding("token", "note", "LABEL_STUDIO_API_KEY is not set: nothing can be fetched or pushed with it")
    try:
        with httpx.Client(trust_env=False, timeout=5) as http:
            headers = {"Authorization": access.header()}
            answer = http.get(f"{access.url}/api/current-user/whoami", headers=headers)
    except LabelStudioAuthError as error:
        return Finding("token", "wrong", str(error))
    if answer.status_code in (401, 403):
        mend = "make a personal access token, or enable legacy tokens for the organization"
        return Finding("token", "wrong", f"Label Studio refuses the {access.kind} token ({answer.status_code}): {mend}")
    answer.raise_for_status()
    return Finding("token", "ok", f"{access.kind} token of {answer.json().get('email', 'somebody')}")


def _networks(settings: Settings) -> Finding | None:
    """Where Label Studio would call a model: asked by adding one that is refused for want of a project in any case.

    Its serializer looks at all fields before it refuses, and at an address that is banned first (403, "reserved
    network address"; seen in 1.23.2). Nothing is made, nothing is called.
    """
    access = LabelStudioAuth.from_settings(settings)
    if access is None:
        return None
    banned = {}
    with httpx.Client(trust_env=False, timeout=5) as http:
        for name, address in _PROBES.items():
            body = {"url": f"http://{address}:9090", "timeout": "none: this only asks whether the address is banned"}
            answer = http.post(f"{access.url}/api/ml/", headers={"Authorization": access.header()}, json=body)
            banned[name] = answer.status_code == 403 and "reserved network" in answer.text
            if not banned[name] and answer.status_code != 400:
                mend = "the token's user must be allowed to connect models"
                text = f"Label Studio does not say where it would call a model ({answer.status_code}): {mend}"
                return Finding("networks", "note", text)
    refused = [name for name in _PROBES if banned[name] and name != _METADATA]
    if refused:
        mend = "start it with USE_DEFAULT_BANNED_SUBNETS=false and USER_ADDITIONAL_BANNED_SUBNETS=169.254.0.0/16"
        text = f"Label Studio does not call models on {', '.join(refused)}: if this backend is there, {mend}"
        nowhere_else = "this machine" in refused and settings.host in _ALONE
        return Finding("networks", "wrong" if nowhere_else else "note", text)
    if not banned[_METADATA]:
        mend = "USER_ADDITIONAL_BANNED_SUBNETS=169.254.0.0/16 closes that"
        text = f"Label Studio calls models anywhere, {_METADATA} of a cloud machine (its secrets) too: {mend}"
        return Finding("networks", "note", text)
    return Finding("networks", "ok", f"Label Studio calls models on {', '.join(n for n in _PROBES if not banned[n])}")
