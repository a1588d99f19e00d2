"""`refam connect`: makes this backend a project's model, as Label Studio 1.23 needs it, and reports what it found.

It does what Label Studio does not do by itself: it gives the webhook its authorization (without it every event is
refused where basic auth is set), switches interactive mode on, and checks that the label config can work. It also sets
the model's title: uncertainty sampling looks for predictions whose version is what the project calls its model, which
is the title (`next_task.py` of 1.23), so under any other title it silently falls back to a random order.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

from backend.labelstudio.client import HOW_TO_GET_ACCESS, label_studio_client
from backend.labelstudio.label_config import LabelConfig, LabelConfigError, parse_label_config
from backend.settings import Settings
from video.errors import UserError

State = Literal["ok", "note", "wrong"]
TITLE = "RefAM"  # of the model, if the version is not known
# A suggestion with the id of the selected region makes two candidates for one reference: the editor's store throws, and
# its page goes blank (1.23.2). Suggestions that are accepted at once never stand beside what they replace.
AUTO_ACCEPT = (
    "before typing words in the editor, switch Auto-Accept Suggestions on (below the pictures, beside "
    "Auto-Annotation); without it the page of Label Studio 1.23.2 goes blank when a mask is selected"
)


class ConnectError(UserError):
    """The project cannot be connected; the message says why."""


@dataclass(frozen=True)
class ConnectFinding:
    """One line of the report.

    Attributes:
        state: "ok", "note" for advice, "wrong" for what will not work like this.
        text: A sentence for people.
    """

    state: State
    text: str


def connect(settings: Settings, project: int, *, url: str) -> Iterator[ConnectFinding]:
    """Connect a project to this backend, step by step.

    Args:
        settings: Label Studio's address and token, and this backend's basic auth.
        project: Label Studio's id of the project.
        url: This backend's address as Label Studio reaches it.

    Yields:
        A finding for each step.

    Raises:
        ConnectError: If Label Studio cannot be reached or refuses.
    """
    from label_studio_sdk.core.api_error import ApiError

    url = _check_url(url)
    client = label_studio_client(settings)
    if client is None:
        raise ConnectError("set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY, of somebody who may change the project")
    try:
        yield from _connect(client, settings, project, url)
    except ApiError as error:
        raise ConnectError(_explain_refusal(error, project, url)) from None
    except httpx.HTTPError as error:
        where = settings.label_studio_url
        raise ConnectError(f"Label Studio at {where} cannot be reached: {type(error).__name__}") from None


def _connect(client: Any, settings: Settings, project: int, url: str) -> Iterator[ConnectFinding]:
    details = client.projects.get(id=project)
    yield ConnectFinding("ok", f"project {project}, {details.title!r}, {details.task_number or 0} task(s)")
    yield from check_label_config(details.label_config or "")
    version, finding = _read_version(url, settings)
    yield finding
    user, secret = settings.basic_auth_user, settings.basic_auth_pass
    options: dict[str, Any] = {"url": url, "project": project, "title": version or TITLE, "is_interactive": True}
    if user is not None and secret is not None:
        options |= {"auth_method": "BASIC_AUTH", "basic_auth_user": user, "basic_auth_pass": secret.get_secret_value()}
    else:
        options |= {"auth_method": "NONE"}
    existing = [ml for ml in client.ml.list(project=project) if (ml.url or "").rstrip("/") == url]
    model = client.ml.update(existing[0].id, **options) if existing else client.ml.create(**options)
    state = getattr(model, "state", None)
    if state not in (None, "CO"):
        yield ConnectFinding(
            "wrong", f"Label Studio could not reach the backend: {getattr(model, 'error_message', '') or state}"
        )
    else:
        what = "updated" if existing else "connected"
        yield ConnectFinding("ok", f"model {what}: {url}, interactive preannotations on")
    yield from _authorize_webhooks(client, settings, project, url)
    yield from _check_sampling(details, version)
    if not user:
        yield ConnectFinding(
            "note", "no basic auth is set (REFAM_BASIC_AUTH_USER and _PASS): whoever reaches the port can use it"
        )


def _authorize_webhooks(client: Any, settings: Settings, project: int, url: str) -> Iterator[ConnectFinding]:
    hooks = [h for h in client.webhooks.list(project=str(project)) if (h.url or "").rstrip("/") == f"{url}/webhook"]
    if not hooks:
        yield ConnectFinding("note", "Label Studio has made no webhook for this model: events are not told")
    user, secret = settings.basic_auth_user, settings.basic_auth_pass
    for hook in hooks:
        if user is None or secret is None:
            yield ConnectFinding("ok", "webhook: needs no header")
            continue
        encoded = base64.b64encode(f"{user}:{secret.get_secret_value()}".encode()).decode()
        client.webhooks.update(hook.id, url=hook.url, headers={"Authorization": f"Basic {encoded}"})
        yield ConnectFinding("ok", "webhook: given the user and password, without which every event would be refused")


def check_label_config(xml: str) -> Iterator[ConnectFinding]:
    """Say what a label config is used for, and what is wrong with it.

    Args:
        xml: The label config.

    Yields:
        A finding for each of its parts.
    """
    try:
        config = parse_label_config(xml)
    except LabelConfigError as error:
        yield ConnectFinding("wrong", str(error))
        return
    for control in config.controls:
        yield ConnectFinding("ok", control.description)
    yield from _check_timeline(config)
    if config.on_pictures:
        yield ConnectFinding("note", f"masks: {AUTO_ACCEPT}")
    yield from _check_text_areas(config)
    if not config.on_pictures and "framerate" not in xml.lower():
        yield ConnectFinding(
            "note", "the Video has no frameRate: Label Studio assumes 24 frames a second, and so does this backend"
        )


def _check_timeline(config: LabelConfig) -> Iterator[ConnectFinding]:
    """Say which objects get no time in sight: those whose label the timeline does not offer."""
    if config.timeline is None:
        return
    missing = [label.result for label in config.labels if not config.timeline.offers(label.result)]
    if missing:
        names = ", ".join(f'"{name}"' for name in missing)
        yield ConnectFinding(
            "note", f'<TimelineLabels name="{config.timeline.name}"> has no label {names}: such objects get boxes alone'
        )


def _check_text_areas(config: LabelConfig) -> Iterator[ConnectFinding]:
    chosen = config.text_area
    how = f'<TextArea name="words" toName="{config.media}" value="$prompt"/>'
    if chosen.name is not None:
        yield ConnectFinding("ok", f'words are typed into the TextArea "{chosen.name}": {chosen.reason}')
    else:
        reason = chosen.reason or "the label config has no TextArea for words"
        yield ConnectFinding("note", f"{reason}: words cannot be typed in the editor; have one as {how}")
    if chosen.others:
        others = ", ".join(f'"{name}" ({why_not})' for name, why_not in chosen.others)
        instead = f"; to type words elsewhere, make that {how}" if chosen.name is not None else ""
        yield ConnectFinding("note", f"what is typed into {others} is not searched for{instead}")


def _check_sampling(details: Any, version: str | None) -> Iterator[ConnectFinding]:
    if details.sampling != "Uncertainty sampling":
        order = str(details.sampling or "unknown order").lower()
        yield ConnectFinding(
            "ok", f"tasks come by {order}; with uncertainty sampling the least sure ones would come first"
        )
    elif version:
        yield ConnectFinding(
            "ok", f"uncertainty sampling goes by the scores of {version}; connect again when that changes"
        )
    else:
        yield ConnectFinding(
            "wrong", "uncertainty sampling needs the model's version as its title: connect from where it answers"
        )


def _read_version(url: str, settings: Settings) -> tuple[str | None, ConnectFinding]:
    """Ask the backend for its model version, from this machine; Label Studio tries by itself when it is connected."""
    user, secret = settings.basic_auth_user, settings.basic_auth_pass
    auth = (user, secret.get_secret_value()) if user is not None and secret is not None else None
    version = None
    try:
        with httpx.Client(trust_env=False, timeout=3) as http:
            answer = http.get(f"{url}/health")
            up = answer.status_code == 200 and answer.json().get("status") == "UP"
            if up:
                version = str(http.get(f"{url}/versions", auth=auth).raise_for_status().json()["versions"][0])
    except (httpx.HTTPError, ValueError, AttributeError, LookupError):
        up = False
    if up and version:
        return version, ConnectFinding("ok", f"{url} answers: {version}")
    text = f"{url} does not answer from here; that is right only if Label Studio runs elsewhere"
    return None, ConnectFinding("note", text)


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConnectError(f"--url must be this backend's address, such as http://backend:9090, not {url!r}")
    if parts.username or parts.password:
        raise ConnectError("leave user and password out of --url; set REFAM_BASIC_AUTH_USER and REFAM_BASIC_AUTH_PASS")
    return url.rstrip("/")


def _explain_refusal(error: Any, project: int, url: str) -> str:
    status, text = error.status_code, str(error.body)[:600]
    if status == 401:
        return f"Label Studio refused LABEL_STUDIO_API_KEY (401): {HOW_TO_GET_ACCESS}"
    if status == 403 and "reserved" in text:
        return (
            f"Label Studio does not call backends on private networks ({url}): start it with "
            "USE_DEFAULT_BANNED_SUBNETS=false and, better, USER_ADDITIONAL_BANNED_SUBNETS=169.254.0.0/16"
        )
    if status in (403, 404):
        return f"there is no project {project} for this token ({status})"
    if status == 400 and "health check failed" in text:
        return f"Label Studio cannot reach {url}: does `refam serve` run, and is that its address as seen from there?"
    return f"Label Studio answered {status}: {text}"
