"""The options of `label-studio-ml start`."""

from __future__ import annotations

import pytest

from backend.settings import SettingsError, load_settings
from backend.wsgi.application import parse_arguments


def test_options_become_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_SERVER_BASIC_AUTH_USER", "bert")
    monkeypatch.setenv("ML_SERVER_BASIC_AUTH_PASS", "")  # as an unfilled compose file leaves it
    given = parse_arguments(["-p", "9191", "--host", "::1", "--log-level", "DEBUG", "--basic-auth-pass", "s3cret"])
    assert given == {
        "port": "9191",
        "host": "::1",
        "log_level": "DEBUG",
        "basic_auth_user": "bert",
        "basic_auth_pass": "s3cret",
    }
    settings = load_settings(**given)
    assert (settings.port, settings.basic_auth_user) == (9191, "bert")
    with pytest.raises(SettingsError, match="REFAM_LOG_LEVEL: input should be 'DEBUG'"):
        load_settings(**parse_arguments(["--log-level", "loud"]))


@pytest.mark.parametrize("option", [["--debug"], ["-d"], ["--check"], ["--with", "a=1"], ["--kwargs", "a=1", "b=2"]])
def test_options_without_a_meaning_are_named(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(option)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "has no meaning here" in line]
    assert option[0] in line
