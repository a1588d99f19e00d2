"""No engine builds the image here; what can be held without one is held."""

from pathlib import Path

import yaml

from backend.settings import unknown_variables

DOCKER = Path(__file__).parents[2] / "docker"


def _example() -> dict[str, str]:
    lines = (DOCKER / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_every_variable_is_one_that_the_settings_read() -> None:
    compose = yaml.safe_load((DOCKER / "compose.yml").read_text())
    environment = compose["services"]["backend"]["environment"]
    assert unknown_variables(environment) == []
    assert unknown_variables(_example()) == []
    assert {"LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY"} <= set(environment)


def test_what_compose_asks_for_stands_in_the_example_without_secrets() -> None:
    text = (DOCKER / "compose.yml").read_text()
    example = _example()
    for name in example:
        assert "${" + name in text
    assert all(not value for name, value in example.items() if "PASS" in name or "TOKEN" in name)


def test_label_studio_may_reach_a_backend_on_dockers_own_network() -> None:
    studio = yaml.safe_load((DOCKER / "compose.yml").read_text())["services"]["label-studio"]["environment"]
    assert studio["USE_DEFAULT_BANNED_SUBNETS"] == "false"
    assert "169.254.0.0/16" in studio["USER_ADDITIONAL_BANNED_SUBNETS"]


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    dockerfile = (DOCKER / "Dockerfile").read_text()
    allowed = {line[1:] for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    copied = {source for line in dockerfile.splitlines() if line.startswith("COPY") for source in line.split()[1:-1]}
    assert copied == allowed
    for source in copied:
        assert (DOCKER.parent / source).exists(), source
    assert "USER refam" in dockerfile
