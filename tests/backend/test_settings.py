"""Settings: read from the environment, checked at start, and listed in the operations guide."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import backend
from backend.runtime import Runtime
from backend.settings import (
    Settings,
    SettingsError,
    ignored_aliases,
    load_settings,
    read_aliases,
    render_settings_table,
    unknown_variables,
    weight_settings,
)
from refam.reading import Reading


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("REFAM_", "LABEL_STUDIO_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_defaults_listen_on_loopback_and_allow_no_media() -> None:
    settings = load_settings()
    assert settings.host == "127.0.0.1"
    assert settings.media_root is None
    assert settings.allowed_hosts == ()
    assert settings.backbone == "small"


def test_environment_is_read_and_overrides_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://studio:8080/")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "s3cret")
    monkeypatch.setenv("REFAM_ALLOWED_HOSTS", " nas:9000, Media.local ,")
    monkeypatch.setenv("REFAM_PORT", "9191")
    monkeypatch.setenv("REFAM_SAM2", "")  # empty counts as unset
    settings = load_settings()
    assert settings.label_studio_url == "http://studio:8080"
    assert settings.label_studio_api_key is not None
    assert settings.label_studio_api_key.get_secret_value() == "s3cret"
    assert settings.allowed_hosts == ("nas:9000", "media.local")
    assert settings.port == 9191
    assert settings.sam2 is None
    assert load_settings(port=1, label_studio_url="http://other").label_studio_url == "http://other"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"REFAM_PORT": "many"}, ["REFAM_PORT", "many"]),
        ({"REFAM_PORT": "70000"}, ["REFAM_PORT", "65535"]),
        ({"REFAM_DEVICE": "gpu"}, ["REFAM_DEVICE", "gpu"]),
        ({"LABEL_STUDIO_URL": "localhost:8080"}, ["LABEL_STUDIO_URL", "http://localhost:8080"]),
        ({"REFAM_HOST": "a" * 100}, ["REFAM_HOST", "give a name or an address of this machine, such as 127.0.0.1"]),
        ({"LABEL_STUDIO_API_KEY": "s3cret"}, ["LABEL_STUDIO_URL"]),
        ({"REFAM_BASIC_AUTH_USER": "me"}, ["REFAM_BASIC_AUTH_PASS"]),
        ({"REFAM_MEDIA_ROOT": "/nowhere/at/all"}, ["REFAM_MEDIA_ROOT", "/nowhere/at/all"]),
        ({"REFAM_ALLOWED_HOSTS": "http://nas/"}, ["REFAM_ALLOWED_HOSTS", "http://nas/"]),
        ({"REFAM_PORT": "x", "REFAM_CACHE_MB": "-1"}, ["REFAM_PORT", "REFAM_CACHE_MB"]),
    ],
)
def test_errors_name_the_variable_and_the_value(
    environment: dict[str, str], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    for word in words:
        assert word in str(raised.value)


def test_secrets_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://user:s3cret@studio")
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert "s3cret" not in str(raised.value)
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://studio")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "s3cret")
    assert "s3cret" not in repr(load_settings())


def test_magnets_are_split_into_words(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().magnet_words().words == (".", "a", "with", "to", "pink")
    monkeypatch.setenv("REFAM_MAGNETS", "with  to . Blue")
    assert load_settings().magnet_words().words == ("with", "to", ".", "blue")
    monkeypatch.setenv("REFAM_MAGNETS", "  ")
    with pytest.raises(SettingsError, match="REFAM_MAGNETS: no magnets"):
        load_settings()


def test_readings_are_options_and_in_the_model_version(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Runtime(load_settings(backbone="tiny", sam2="grabcut")).model_version
    monkeypatch.setenv("REFAM_READING", "contrast=0 heads=uniform")
    assert Runtime(load_settings(backbone="tiny", sam2="grabcut")).model_version == plain
    monkeypatch.setenv("REFAM_READING", "heads=peak")
    settings = load_settings(backbone="tiny", sam2="grabcut")
    assert settings.reading_options() == Reading(head_weights="peak")
    _, backbone, *rest = Runtime(settings).model_version.split("/")
    assert [backbone, *rest] == [
        plain.split("/")[1] + Reading(head_weights="peak").version_suffix,
        *plain.split("/")[2:],
    ]
    assert Runtime(settings).grounder().name == backbone
    monkeypatch.setenv("REFAM_READING", "heads=loud")
    with pytest.raises(SettingsError, match="REFAM_READING: heads must be one of uniform, peak, not 'loud'"):
        load_settings()


def test_blocks_that_cannot_be_read_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFAM_BLOCKS", "14-17")
    assert load_settings().loading().blocks == "14-17"
    monkeypatch.setenv("REFAM_BLOCKS", "17-14")
    with pytest.raises(SettingsError, match="REFAM_BLOCKS: blocks are numbers and ranges"):
        load_settings()


def test_misspelled_variables_are_found() -> None:
    assert unknown_variables({"REFAM_SAM": "x", "REFAM_SAM2": "y", "HOME": "z"}) == ["REFAM_SAM"]


@pytest.mark.parametrize(
    ("alias", "value", "field", "expected"),
    [
        ("PORT", "9191", "port", 9191),
        ("LOG_LEVEL", "DEBUG", "log_level", "DEBUG"),
        ("MODEL_DIR", "/data/models", "data_dir", Path("/data/models")),
    ],
)
def test_names_of_label_studio_ml_are_read(alias, value, field, expected, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = f"REFAM_{field.upper()}"
    monkeypatch.delenv(ours, raising=False)
    default = getattr(load_settings(), field)
    monkeypatch.setenv(alias, "")  # as compose files leave what is not filled in
    assert getattr(load_settings(), field) == default
    monkeypatch.setenv(alias, value)
    assert getattr(load_settings(), field) == expected
    assert read_aliases() == [f"{alias} is read as {ours}"]
    monkeypatch.setenv(ours, str(default))
    assert getattr(load_settings(), field) == default, "our name wins"
    assert (read_aliases(), ignored_aliases()) == ([], [f"{alias} is ignored: {ours} is set"])
    monkeypatch.delenv(ours)
    assert getattr(load_settings(**{field: default}), field) == default, "and an option before both"


def test_weights_are_where_the_server_looks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REFAM_DATA_DIR", raising=False)
    monkeypatch.setenv("MODEL_DIR", "/data/models")
    assert weight_settings().data_dir == load_settings().data_dir == Path("/data/models")


def test_user_and_password_by_their_other_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASIC_AUTH_USER", "anna")
    with pytest.raises(SettingsError, match=r"\(or their aliases\) must be set together"):
        load_settings()
    monkeypatch.setenv("BASIC_AUTH_PASS", "s3cret")
    settings = load_settings()
    assert (settings.basic_auth_user, settings.basic_auth_pass.get_secret_value()) == ("anna", "s3cret")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("alias", "value", "message"),
    [("PORT", "99999", "^PORT: .*65535, got '99999'"), ("LOG_LEVEL", "debug", "^LOG_LEVEL: .*'WARNING' or 'ERROR'")],
)
def test_a_wrong_value_is_reported_by_the_name_that_was_set(
    alias, value, message, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(alias, value)
    with pytest.raises(SettingsError, match=message):
        load_settings()


def test_names_without_a_meaning_are_said() -> None:
    (workers, threads) = ignored_aliases({"WORKERS": "2", "THREADS": "8", "PORT": "1", "MODEL_DIR": ""})
    assert workers.startswith("WORKERS is set, but this is one process: start `refam work`")
    assert threads.startswith("THREADS is set, but has no meaning here")
    assert ignored_aliases({"WORKERS": "1"}) == ignored_aliases({"WORKERS": "2"}, workers=True) == []


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().port = 1  # type: ignore[misc]


def test_the_operations_guide_lists_every_setting() -> None:
    guide = (Path(backend.__file__).parent / "guides" / "operations.md").read_text(encoding="utf-8")
    table = guide.split("<!-- settings:begin -->\n")[1].split("<!-- settings:end -->")[0]
    assert table == render_settings_table(), "run `python -m backend.settings` and paste its output"
    assert all(field.description for field in Settings.model_fields.values())
