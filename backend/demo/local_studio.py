"""Run a real Label Studio on this machine's loopback and use its HTTP API, for the demo and the tests.

Only the process that `LocalStudio.start` started is ever stopped. The settings work with 1.23, which refuses a backend
on loopback without `USE_DEFAULT_BANNED_SUBNETS=false`.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from video.errors import UserError

_REPOSITORY = Path(__file__).parents[2]
_START_TIMEOUT_S = 300.0  # a start that builds its database takes half a minute, more on a busy machine
_DATABASE = "label_studio.sqlite3"
_VIDEO_ONLY = '<View><Video name="video" value="$video"/></View>'


class StudioError(UserError):
    """Label Studio could not be found or started, or refused a request."""


@dataclass(frozen=True)
class StudioLogin:
    """The account of a data directory, created at the first start."""

    user: str
    password: str
    token: str

    @classmethod
    def load_or_create(cls, data_dir: Path) -> StudioLogin:
        """Load the account of a data directory; create it the first time, in a file that only its owner can read."""
        path = data_dir / "login.json"
        if not path.exists():
            data_dir.mkdir(parents=True, exist_ok=True)
            fresh = cls("demo@example.com", secrets.token_urlsafe(9), secrets.token_hex(20))
            path.touch(mode=0o600)
            path.write_text(json.dumps(fresh.__dict__))
        return cls(**json.loads(path.read_text()))


def find_label_studio() -> Path:
    """Return Label Studio's executable: LABEL_STUDIO_BIN, else the repository's `.venv-ls`, else the PATH.

    Raises:
        StudioError: If there is none.
    """
    named = os.environ.get("LABEL_STUDIO_BIN")
    found = shutil.which("label-studio")
    for candidate in [Path(named)] if named else [_REPOSITORY / ".venv-ls/bin/label-studio", found]:
        if candidate and Path(candidate).is_file():
            return Path(candidate).absolute()
    where = f"LABEL_STUDIO_BIN={named} is no file" if named else "no .venv-ls/bin/label-studio, none on the PATH"
    raise StudioError(f"Label Studio was not found ({where}): run `make demo`, which installs it beside the project")


def free_port(preferred: int = 0) -> int:
    """Return a free TCP port on loopback: the preferred one if nobody listens on it, else any."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was closed a minute ago is free
        try:
            s.bind(("127.0.0.1", preferred))
        except OSError:
            return free_port()
        return int(s.getsockname()[1])


class LocalStudio:
    """One running Label Studio. Use as a context manager: it ends what it started."""

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.login = StudioLogin.load_or_create(self.data_dir)
        self.media_dir = self.data_dir / "media"
        self.media_dir.mkdir(parents=True, exist_ok=True)
        self.log = log or self.data_dir / "label-studio.log"
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._env = dict(env or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._http = httpx.Client(
            base_url=self.url,
            trust_env=False,
            timeout=660,
            headers={"Authorization": f"Token {self.login.token}"},
        )

    def __enter__(self) -> LocalStudio:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts it and waits until it answers. Raises StudioError with the end of its log if it does not."""
        executable = find_label_studio()
        self._copy_empty_database(executable)
        command = [str(executable), "start", "--no-browser", "--internal-host", "127.0.0.1"]
        command += ["--port", str(self.port), "--host", self.url]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                command,
                env={**os.environ, **self._environment(), **self._env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(httpx.HTTPError):  # not up yet
                if self._http.get("/health", timeout=2).is_success:
                    return
            time.sleep(0.3)
        self.stop()
        tail = self.log.read_text(errors="replace")[-1500:]
        raise StudioError(f"Label Studio did not come up at {self.url}; the end of {self.log}:\n{tail}")

    def _copy_empty_database(self, executable: Path) -> None:
        """Begin a new data directory with the database that `make` built beside Label Studio, if there is one.

        Building another takes half a minute of processor time at each first start.
        """
        empty, own = executable.parents[1] / "empty-database" / _DATABASE, self.data_dir / _DATABASE
        if empty.is_file() and not own.exists():
            shutil.copyfile(empty, own)

    @property
    def running(self) -> bool:
        """Whether the process that `start` started is still running."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop the process that `start` started and its children, unless it has ended."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        for sign, patience_s in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
            try:
                os.killpg(process.pid, sign)
                process.wait(patience_s)
                return
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue

    def _environment(self) -> dict[str, str]:
        return {
            "LABEL_STUDIO_USERNAME": self.login.user,
            "LABEL_STUDIO_PASSWORD": self.login.password,
            "LABEL_STUDIO_USER_TOKEN": self.login.token,
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",  # counts only when the organization is created
            "LABEL_STUDIO_BASE_DATA_DIR": str(self.data_dir),
            "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
            "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(self.data_dir),
            "USE_DEFAULT_BANNED_SUBNETS": "false",  # else backends on loopback are refused
            "ML_TIMEOUT_PREDICT": "600",
            "ML_TIMEOUT_SETUP": "10",
            "ML_TIMEOUT_HEALTH": "5",
            "ML_CONNECTION_TIMEOUT": "5",
            "LATEST_VERSION_CHECK": "false",
            "COLLECT_ANALYTICS": "false",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
        }

    def api(self, method: str, path: str, **kwargs: Any) -> Any:
        """Call the HTTP API and return the JSON of the response, None without any. Raises StudioError on failure."""
        response = self._http.request(method, path, **kwargs)
        if not response.is_success:
            raise StudioError(f"{method} {path}: {response.status_code} {response.text[:500]}")
        return response.json() if response.content else None

    def personal_token(self) -> str:
        """Create a personal access token by logging in as a browser does; each account has one."""
        with httpx.Client(base_url=self.url, trust_env=False, timeout=30, headers={"Referer": self.url}) as http:
            http.get("/user/login/")
            form = {"email": self.login.user, "password": self.login.password}
            http.post("/user/login/", data=form | {"csrfmiddlewaretoken": http.cookies["csrftoken"]})
            response = http.post("/api/token/", json={}, headers={"X-CSRFToken": http.cookies["csrftoken"]})
        if not response.is_success:
            raise StudioError(f"no personal access token: {response.status_code} {response.text[:300]}")
        return str(response.json()["token"])

    def create_project(self, title: str, label_config: str, videos: Sequence[Path]) -> tuple[int, list[str]]:
        """Create a project and upload videos to it, without tasks; return its id and the videos' addresses."""
        # A direct upload is refused once the config has two data keys: the real config comes after it.
        project = int(self.api("POST", "/api/projects/", json={"title": title, "label_config": _VIDEO_ONLY})["id"])
        addresses = [self._upload(project, video) for video in videos]
        self.api("PATCH", f"/api/projects/{project}", json={"label_config": label_config})
        return project, addresses

    def _upload(self, project: int, video: Path) -> str:
        files = {"FILES": (video.name, video.read_bytes(), "video/mp4")}
        sent = self.api("POST", f"/api/projects/{project}/import?commit_to_project=false", files=files)
        stored = self.api("GET", f"/api/import/file-upload/{sent['file_upload_ids'][0]}")
        return "/data/" + str(stored["file"]).lstrip("/")

    def import_tasks(self, project: int, data: Sequence[Mapping[str, Any]]) -> list[int]:
        """Create one task for each item of data and return their ids in order."""
        before = set(self.task_ids(project))
        self.api("POST", f"/api/projects/{project}/import", json=[{"data": dict(item)} for item in data])
        return [task for task in self.task_ids(project) if task not in before]

    def task_ids(self, project: int) -> list[int]:
        """Return the ids of the project's tasks, oldest first."""
        tasks = self.api("GET", f"/api/tasks?project={project}&fields=all&page_size=1000")["tasks"]
        return sorted(int(task["id"]) for task in tasks)

    def connect(
        self, project: int, backend_url: str, *, interactive: bool = True, auth: tuple[str, str] | None = None
    ) -> dict[str, Any]:
        """Make a backend the project's model and return Label Studio's record of it. auth: (user, password)."""
        body: dict[str, Any] = {
            "url": backend_url,
            "project": project,
            "title": "RefAM",
            "is_interactive": interactive,
        }
        if auth:
            body |= {"auth_method": "BASIC_AUTH", "basic_auth_user": auth[0], "basic_auth_pass": auth[1]}
        record: dict[str, Any] = self.api("POST", "/api/ml/", json=body)
        return record

    def retrieve_predictions(self, project: int, tasks: Sequence[int] | None = None) -> None:
        """Run the action "Retrieve predictions"; Label Studio reports success even if it fails.

        Args:
            project: The project.
            tasks: Of these tasks only; None is all of them.
        """
        chosen = {"all": True, "excluded": []} if tasks is None else {"all": False, "included": list(tasks)}
        self.api(
            "POST",
            f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}",
            json={"selectedItems": chosen},
        )

    def predict_interactively(
        self, model: int, task: int, result: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any] | None:
        """Ask a model as the editor does when Auto-Annotation is on.

        Args:
            model: The number of the project's model.
            task: The task; the model is sent its predictions, drafts and annotations too.
            result: What was drawn or typed just now, as regions.

        Returns:
            The prediction, which is not stored; None where the model has no answer, or none yet.
        """
        body = {"task": task, "context": {"result": [dict(region) for region in result]}}
        answer = self.api("POST", f"/api/ml/{model}/interactive-annotating", json=body)
        prediction: dict[str, Any] | None = answer.get("data")
        return prediction

    def save_draft(self, task: int, result: Sequence[Mapping[str, Any]]) -> int:
        """Save a draft of the administrator, as the editor does while somebody draws, and return its number."""
        body = {"result": [dict(region) for region in result]}
        return int(self.api("POST", f"/api/tasks/{task}/drafts", json=body)["id"])

    def store_prediction(self, task: int, result: Sequence[Mapping[str, Any]], **fields: Any) -> int:
        """Store a prediction and return its number. fields: for example score and model_version."""
        body = {"task": task, "result": [dict(region) for region in result], **fields}
        return int(self.api("POST", "/api/predictions/", json=body)["id"])

    def wait_for_predictions(self, tasks: Sequence[int], *, timeout_s: float) -> bool:
        """Wait until every task has a prediction; return False if some have none after `timeout_s` seconds."""
        end = time.monotonic() + timeout_s
        for task in tasks:  # one after the other: asking for all of them again and again would keep it busy
            while not self.predictions(task):
                if time.monotonic() > end:
                    return False
                time.sleep(0.3)
        return True

    def predictions(self, task: int) -> list[dict[str, Any]]:
        """Return the predictions stored for a task."""
        predictions: list[dict[str, Any]] = self.api("GET", f"/api/predictions/?task={task}")
        return predictions
