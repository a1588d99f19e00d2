"""What a real Label Studio stores of our answers, whatever the task holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from backend.cli.doctor import examine_service
from backend.cli.main import app
from backend.demo.local_studio import LocalStudio
from backend.labelstudio.connect import ConnectError, connect
from backend.labelstudio.import_tasks import build_label_config
from backend.service.app import BackgroundServer
from backend.settings import Settings, load_settings
from refam.evaluation.synthetic import RED, red_star_and_blue_ring
from tests.media import cfr, damaged, empty, garbage, truncated
from tests.studio import settings_beside

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    frames, _ = red_star_and_blue_ring(24, size=(192, 108))
    return {
        "good": cfr(folder / "good.mp4", frames),
        "good too": cfr(folder / "good2.mp4", frames),
        "cut": truncated(folder / "cut.mp4", frames),
        "damaged": damaged(folder / "damaged.mp4", frames),
        "noise": garbage(folder / "noise.mp4"),
        "empty": empty(folder / "empty.mp4"),
    }


@pytest.fixture
def settings(studio: LocalStudio, tmp_path: Path) -> Settings:
    return settings_beside(studio, tmp_path)


@pytest.fixture
def backend(settings: Settings) -> Iterator[BackgroundServer]:
    with BackgroundServer(settings) as backend:
        yield backend


def test_bad_tasks_in_a_batch_do_not_affect_the_good_ones(
    studio: LocalStudio, backend: BackgroundServer, videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Label Studio answers 500 for a file that was never uploaded: tried again, but not for more than a minute.
    monkeypatch.setattr("backend.jobs.worker.RETRY_AFTER_S", (0.1, 0.1))
    kinds = [kind for kind in videos if kind != "empty"]  # Label Studio refuses an empty upload itself
    project, addresses = studio.create_project("bad", build_label_config(["Object"]), [videos[kind] for kind in kinds])
    data = [{"video": address, "prompt": RED, "fps": 25} for address in addresses]
    data.append({"video": "/data/upload/nowhere.mp4", "prompt": RED, "fps": 25})
    data.append({"video": addresses[0], "prompt": "xyzzy", "fps": 25})
    data.append({"video": addresses[0], "prompt": RED, "fps": "quick"})
    tasks = studio.import_tasks(project, data)
    studio.connect(project, backend.url)
    studio.retrieve_predictions(project)
    stored = [studio.predictions(task) for task in tasks]
    assert [len(predictions) for predictions in stored] == [1, 1, 1, 1] + [0] * (
        len(tasks) - 4
    )  # of broken files, what can be read
    assert all(len(predictions[0]["result"]) == 1 for predictions in stored[:4])
    # Once mended, only what is missing is asked for again, and nothing is stored twice.
    studio.api("PATCH", f"/api/tasks/{tasks[-1]}/", json={"data": {**data[-1], "fps": 25}})
    studio.retrieve_predictions(project)
    assert [len(studio.predictions(task)) for task in tasks] == [1, 1, 1, 1] + [0] * (len(tasks) - 5) + [1]


def test_with_basic_auth(studio: LocalStudio, settings: Settings, videos: dict[str, Path]) -> None:
    protected = load_settings(**settings.model_dump() | {"basic_auth_user": "anna", "basic_auth_pass": "s3cret"})
    project, addresses = studio.create_project("auth", build_label_config(["Object"]), [videos["good"]])
    (task,) = studio.import_tasks(project, [{"video": addresses[0], "prompt": RED, "fps": 25}])
    with BackgroundServer(protected) as backend:
        assert studio.connect(project, backend.url, auth=("anna", "s3cret"))["state"] == "CO"
        studio.retrieve_predictions(project)
    assert len(studio.predictions(task)) == 1


def test_connect_sets_everything_up_and_may_be_repeated(
    studio: LocalStudio, settings: Settings, videos: dict[str, Path]
) -> None:
    protected = load_settings(**settings.model_dump() | {"basic_auth_user": "anna", "basic_auth_pass": "s3cret"})
    project, addresses = studio.create_project("connected", build_label_config(["Object"]), [videos["good"]])
    (task,) = studio.import_tasks(project, [{"video": addresses[0], "prompt": RED, "fps": 25}])
    with BackgroundServer(protected) as backend:
        for again in (False, True):
            findings = list(connect(protected, project, url=backend.url + "/"))
            assert {f.state for f in findings} == {"ok"}, findings
            assert any(("updated" if again else "connected") in f.text for f in findings)
            assert not any("s3cret" in f.text for f in findings)
        (model,) = studio.api("GET", f"/api/ml/?project={project}")
        assert (model["is_interactive"], model["state"]) == (True, "CO")
        studio.retrieve_predictions(project)
        assert studio.wait_for_predictions([task], timeout_s=600)
        (hook,) = studio.api("GET", f"/api/webhooks/?project={project}")
        with httpx.Client(trust_env=False) as http:  # as Label Studio sends it, header and all
            event = {"action": "ANNOTATION_CREATED"}
            assert http.post(hook["url"], json=event).status_code == 401
            assert http.post(hook["url"], json=event, headers=hook["headers"]).status_code == 201


@pytest.mark.parametrize(
    ("change", "project", "url", "message"),
    [
        ({}, 999_999, "http://127.0.0.1:9", "no project 999999"),
        ({"label_studio_api_key": "0" * 40}, 1, "http://127.0.0.1:9", "refused LABEL_STUDIO_API_KEY"),
        ({"label_studio_url": "http://127.0.0.1:9"}, 1, "http://127.0.0.1:9", "cannot be reached"),
        ({"label_studio_url": None, "label_studio_api_key": None}, 1, "http://127.0.0.1:9", "set LABEL_STUDIO_URL"),
        ({}, 1, "http://127.0.0.1:9", "cannot reach"),
        ({}, 1, "backend:9090", "--url must be"),
        ({}, 1, "http://a:b@127.0.0.1:9", "leave user and password out"),
    ],
)
def test_connect_explains_why_it_cannot(
    change: dict[str, object], project: int, url: str, message: str, settings: Settings
) -> None:
    with pytest.raises(ConnectError, match=message):
        list(connect(load_settings(**settings.model_dump() | change), project, url=url))


def test_connect_reports_what_will_not_work(studio: LocalStudio, settings: Settings, backend: BackgroundServer) -> None:
    project, _ = studio.create_project("not connected", '<View><Image name="i" value="$image"/></View>', [])
    findings = list(connect(settings, project, url=backend.url))
    assert any(f.state == "wrong" and "VideoRectangle" in f.text for f in findings), findings


def test_files_that_label_studio_serves_from_disk(
    studio: LocalStudio, backend: BackgroundServer, videos: dict[str, Path]
) -> None:
    (studio.media_dir / "a clip.mp4").write_bytes(videos["good"].read_bytes())
    project, _ = studio.create_project("local", build_label_config(["Object"]), [])
    storage = {"project": project, "path": str(studio.media_dir), "use_blob_urls": True, "title": "local"}
    studio.api("POST", "/api/storages/localfiles", json=storage)
    video = "/data/local-files/?d=media/a%20clip.mp4"
    (task,) = studio.import_tasks(project, [{"video": video, "prompt": RED, "fps": 25}])
    studio.connect(project, backend.url)
    studio.retrieve_predictions(project)
    assert len(studio.predictions(task)) == 1


def test_a_personal_access_token_fetches_media(
    studio: LocalStudio, settings: Settings, videos: dict[str, Path]
) -> None:
    protected = load_settings(**settings.model_dump() | {"label_studio_api_key": studio.personal_token()})
    project, addresses = studio.create_project("personal", build_label_config(["Object"]), [videos["good too"]])
    (task,) = studio.import_tasks(project, [{"video": addresses[0], "prompt": RED, "fps": 25}])
    with BackgroundServer(protected) as backend:
        studio.connect(project, backend.url)
        studio.retrieve_predictions(project)
    assert len(studio.predictions(task)) == 1


def test_what_the_command_line_writes_can_be_imported(
    studio: LocalStudio, videos: dict[str, Path], tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, ["label", str(videos["good"]), RED, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    tasks = json.loads((tmp_path / "out" / "label_studio.json").read_text())
    project, addresses = studio.create_project("import", build_label_config([RED]), [videos["good"]])
    tasks[0]["data"]["video"] = addresses[0]
    studio.api("POST", f"/api/projects/{project}/import", json=tasks)
    (task,) = studio.task_ids(project)
    (prediction,) = studio.predictions(task)
    assert prediction["result"][0]["type"] == "videorectangle"


@pytest.mark.slow
def test_make_demo_check() -> None:
    from backend.demo.run import main

    assert main(["--check"]) == 0


def test_doctor_asks_where_a_model_may_be_and_makes_none(
    studio: LocalStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def networks_finding(studio: LocalStudio) -> tuple[str, str]:
        monkeypatch.setenv("LABEL_STUDIO_URL", studio.url)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", studio.login.token)
        finding = {finding.part: finding for finding in examine_service()}["networks"]
        return finding.state, finding.text

    project, _ = studio.create_project("asked", build_label_config(["Object"]), [])
    assert networks_finding(studio)[0] == "note"
    assert studio.api("GET", f"/api/ml/?project={project}") == []
    with LocalStudio(tmp_path, env={"USE_DEFAULT_BANNED_SUBNETS": "true"}) as closed:
        state, text = networks_finding(closed)
        assert (state, "USE_DEFAULT_BANNED_SUBNETS=false" in text) == ("wrong", True), text
