"""All settings: two frozen classes, read from the environment and checked once at start.

A field's variable is `REFAM_<FIELD>`, but for Label Studio's own two, `LABEL_STUDIO_URL` and `LABEL_STUDIO_API_KEY`.
An error names the variable and what would be right, never the value of a secret. Times are in seconds, sizes in MB
(10**6 bytes), as the names say. An empty variable counts as unset.

Some variables have a second name, under which backends made with label-studio-ml have the same setting (`ALIASES`). The
first name wins.

`python -m backend.settings` prints them as the Markdown table of backend/guides/operations.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from refam.backbones.blocks import parse_blocks
from refam.backbones.presets import DEFAULT_BACKBONE
from refam.pipeline.device import is_device_name
from refam.pipeline.quality import Quality
from refam.reading import Reading
from refam.text.magnets import Magnets
from video.errors import UserError

if TYPE_CHECKING:
    from refam.backbones import LoadOptions
    from refam.segmenters.load import SegmenterChoice
    from video.types import Segmenter

_PREFIX = "REFAM_"
_LABEL_STUDIO = {"label_studio_url": "LABEL_STUDIO_URL", "label_studio_api_key": "LABEL_STUDIO_API_KEY"}

ALIASES = {
    "data_dir": "MODEL_DIR",
    "port": "PORT",
    "basic_auth_user": "BASIC_AUTH_USER",
    "basic_auth_pass": "BASIC_AUTH_PASS",
    "log_level": "LOG_LEVEL",
}
"""The names of label-studio-ml's layout for settings, by field."""

_WITHOUT_MEANING = {
    "WORKERS": "WORKERS is set, but this is one process: start `refam work` for more (see REFAM_QUEUE), or gunicorn",
    "THREADS": "THREADS is set, but has no meaning here: a server answers requests at the same time without it",
}


class SettingsError(UserError):
    """The environment cannot be used; the message names each variable and what would be right."""


class WeightSettings(BaseSettings):
    """How model weights are loaded and where they are kept. Commands without a server need only these."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_ignore_empty=True, frozen=True, use_attribute_docstrings=True
    )

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the backbone's weights: `auto`, `float32`, `bfloat16` or `float16`"""
    offload: bool = False
    """Keep the backbone's parts in main memory and move them to the GPU one at a time"""
    quantise: Literal["bnb-4bit", "bnb-8bit", "int8"] | None = None
    """Quantise the backbone's weights: `bnb-4bit`, `bnb-8bit` or `int8`"""
    free_text: bool = False
    """Free text encoders once words are encoded, and load them again for new words"""
    blocks: str | None = None
    """Transformer blocks to read, as in `14-17` or `all`; unset takes the preset's, see `refam eval photos --choose`"""
    reading: str | None = None
    """Other ways of reading attention, as in `heads=peak contrast=0.5`, see `refam eval photos --reading`"""
    download: bool = False
    """Fetch a backbone that is not on this machine; SAM2-tiny (about 156 MB) is fetched at first use without this"""
    offline: bool = False
    """Download no weights, SAM2-tiny included: without any, GrabCut draws masks"""
    data_dir: Path = Path("~/.local/share/refam")
    """Folder of jobs, finished stages of videos, corrections and fetched SAM2 weights"""
    tracker: Literal["auto", "memory", "sam2-video", "sam3-video", "flow"] = "auto"
    """What tracks masks: `memory` needs SAM2 or SAM3, `sam2-video` SAM2, `sam3-video` SAM3; `auto` takes the best"""
    features_mb: float = Field(default=2_000, ge=0)
    """Disk space for SAM2's features (8.4 MB a frame); 0 keeps none"""
    quality: Quality = Quality.NORMAL
    """Time spent on a video by the service and `refam curate`: `fast`, `normal` or `best`"""

    @field_validator("data_dir")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("reading")
    @classmethod
    def _check_reading(cls, value: str | None) -> str | None:
        Reading.parse(value or "")
        return value

    @field_validator("blocks")
    @classmethod
    def _check_blocks(cls, value: str | None) -> str | None:
        if value is not None:
            parse_blocks(value)
        return value

    def reading_options(self) -> Reading:
        """Return how attention is read, in refam's own type."""
        return Reading.parse(self.reading or "")

    @property
    def models_dir(self) -> Path:
        """The folder that SAM2's weights are fetched into."""
        return self.data_dir / "models"

    @model_validator(mode="after")
    def _check_downloads(self) -> WeightSettings:
        if self.download and self.offline:
            raise ValueError("REFAM_DOWNLOAD (--download) and REFAM_OFFLINE (--no-download) exclude each other")
        return self

    def fetch_segmenter(
        self,
        named: str | None,
        *,
        report: Callable[[str], None],
        progress: Callable[[float], None] | None = None,
    ) -> str | None:
        """Fetch SAM2-tiny, unless another segmenter is named, weights are here or REFAM_OFFLINE forbids it.

        Args:
            named: As in REFAM_SAM2.
            report: Takes lines on what is fetched, and why nothing could be.
            progress: Takes the fraction of the download in [0, 1].

        Returns:
            Why there are no weights, for `segmenter_choice`; None if there are some, or if another was named.
        """
        from refam.segmenters.sam2_weights import fetch_default_weights

        return fetch_default_weights(named, self.models_dir, offline=self.offline, report=report, progress=progress)

    def segmenter_choice(
        self, named: str | None, *, device: str = "auto", why_no_weights: str | None = None
    ) -> SegmenterChoice:
        """Return which segmenter and tracker will be used, without fetching or loading anything.

        Args:
            named: As in REFAM_SAM2.
            device: As in REFAM_DEVICE.
            why_no_weights: What `fetch_segmenter` has returned.
        """
        from refam.segmenters.load import choose_segmenter
        from refam.segmenters.sam2_weights import FETCHING_FORBIDDEN, NOT_FETCHED_YET

        return choose_segmenter(
            named,
            models=self.models_dir,
            device=device,
            tracker=self.tracker,
            why_no_weights=why_no_weights or (FETCHING_FORBIDDEN if self.offline else NOT_FETCHED_YET),
        )

    def segmenter(self, named: str | None, *, device: str = "auto", cache: Path | None = None) -> Segmenter:
        """Load a segmenter.

        Args:
            named: As in REFAM_SAM2.
            device: As in REFAM_DEVICE.
            cache: Folder of SAM2's features; in the data directory unless given.

        Raises:
            SegmenterError: Its weights cannot be loaded, or do not allow the tracker.
        """
        from refam.segmenters.load import load_segmenter

        return load_segmenter(
            named,
            models=self.models_dir,
            device=device,
            tracker=self.tracker,
            cache=cache or self.data_dir / "features",
            cache_mb=self.features_mb,
            offline=self.offline,
        )

    def loading(self) -> LoadOptions:
        """Return how the backbone's weights are loaded, in refam's own type."""
        from refam.backbones import LoadOptions

        return LoadOptions(
            dtype=self.dtype,
            offload=self.offload,
            quantise=self.quantise,
            free_text=self.free_text,
            download=self.download,
            blocks=self.blocks,
        )


class Settings(WeightSettings):
    """All settings of the backend. Make them with `load_settings`, whose errors are written for people."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        use_attribute_docstrings=True,
    )

    label_studio_url: str | None = Field(default=None, validation_alias="LABEL_STUDIO_URL")
    """Label Studio's address: relative media addresses are read from there, and only it is sent the token"""
    label_studio_api_key: SecretStr | None = Field(default=None, validation_alias="LABEL_STUDIO_API_KEY")
    """Token for Label Studio's API, legacy or personal access token"""

    backbone: str = Field(default=DEFAULT_BACKBONE, min_length=1)
    """Diffusion transformer that grounds words: a preset, a pipeline directory or a hub name"""
    sam2: str | None = None
    """Segmenter: a name of `refam models`, a directory (SAM2, SAM3), a hub name or `grabcut`; unset takes the best"""
    device: str = "auto"
    """Device of the models: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`"""
    magnets: str = str(Magnets())
    """Words appended to every expression to draw attention off the object's words, separated by spaces"""

    host: str = "127.0.0.1"
    """Address to listen on"""
    port: int = Field(default=9090, ge=0, le=65535)
    """Port to listen on"""
    basic_auth_user: str | None = None
    """User that every request but `/health` must give"""
    basic_auth_pass: SecretStr | None = None
    """Password of that user; set both or none"""
    max_body_mb: float = Field(default=32.0, gt=0)
    """Largest request body"""
    rate_per_minute: int = Field(default=6_000, ge=0)
    """Requests per minute from one address or with one password; 0 is no limit"""
    log: Literal["text", "json"] = "text"
    """Log lines as `text`, or one `json` object a line"""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """`DEBUG`, `INFO`, `WARNING` or `ERROR`"""

    data_mb: float = Field(default=5_000.0, gt=0)
    """Disk space for finished stages of videos"""
    queue: str = Field(default="sqlite", pattern=r"^(sqlite|rediss?://.+)$")
    """Job queue: `sqlite` in the data folder, or `redis://...` for several machines"""
    work: bool = True
    """Whether `refam serve` runs jobs itself; `false` where `refam work` does"""
    deadline_s: float = Field(default=60.0, gt=0, le=95)
    """A request is answered within this time; Label Studio gives up after 100 s and loses everything"""
    page_deadline_s: float = Field(default=20.0, gt=0, le=95)
    """The same for a request with one task, for which somebody waits before a blocked page"""
    draft_wait_s: float = Field(default=6.5, ge=0, le=30)
    """How long an interactive call waits for the editor to save what was drawn just before Enter"""
    fresh_s: float = Field(default=3600.0, ge=0)
    """A result younger than this is not computed again"""

    media_root: Path | None = None
    """Folder whose files task data may name; unset allows none"""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Hosts in private networks that media may come from: `host` or `host:port`, separated by commas"""
    cache_dir: Path = Path("~/.cache/refam/media")
    """Folder of fetched media"""
    cache_mb: float = Field(default=20_000.0, gt=0)
    """Disk space for fetched media"""
    cache_days: float = Field(default=14.0, gt=0)
    """Days without use after which fetched media is deleted"""
    max_media_mb: float = Field(default=4_000.0, gt=0)
    """Largest file that is fetched"""
    max_megapixels: float = Field(default=36.0, gt=0)
    """Largest frame; 8K has 33 megapixels"""
    max_video_s: float = Field(default=4 * 3600.0, gt=0)
    """Longest video"""
    max_frames: int = Field(default=2_000, ge=1)
    """Most pictures of a task that holds a list of pictures"""
    fetch_timeout_s: float = Field(default=600.0, gt=0)
    """Longest time to fetch one file"""

    @property
    def can_push(self) -> bool:
        """Whether there is an address and a token to store predictions in Label Studio with."""
        return bool(self.label_studio_url and self.label_studio_api_key)

    def magnet_words(self) -> Magnets:
        """Return the magnet words in refam's own type."""
        return Magnets.parse(self.magnets)

    @field_validator("magnets")
    @classmethod
    def _check_magnets(cls, value: str) -> str:
        return str(Magnets.parse(value))

    @field_validator("host")
    @classmethod
    def _check_host(cls, value: str) -> str:
        try:
            value.encode("idna")  # as the system looks a name up; its parts have at most 63 characters
        except UnicodeError:
            raise ValueError(f"give a name or an address of this machine, such as 127.0.0.1, not {value!r}") from None
        return value

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = tuple(part.strip().lower() for part in value.split(",") if part.strip())
        if isinstance(value, Iterable):
            for host in value:
                if "/" in str(host):
                    raise ValueError(f"give host names or host:port, comma separated, not addresses like {host!r}")
        return value

    @field_validator("label_studio_url")
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"give an address such as http://localhost:8080, not {value!r}")
        if parts.username or parts.password:
            raise ValueError("leave user and password out of the address; give LABEL_STUDIO_API_KEY instead")
        return value.rstrip("/")

    @field_validator("device")
    @classmethod
    def _name_a_device(cls, device: str) -> str:
        if not is_device_name(device):
            raise ValueError(f"must be auto, cpu, mps, cuda or cuda:N, got {device!r}")
        return device

    @field_validator("cache_dir", "media_root")
    @classmethod
    def _expand_folders(cls, value: Path | None) -> Path | None:
        return value and value.expanduser().absolute()

    @model_validator(mode="after")
    def _check_together(self) -> Settings:
        if (self.basic_auth_user is None) != (self.basic_auth_pass is None):
            raise ValueError("REFAM_BASIC_AUTH_USER and REFAM_BASIC_AUTH_PASS (or their aliases) must be set together")
        if self.label_studio_api_key is not None and self.label_studio_url is None:
            raise ValueError("LABEL_STUDIO_API_KEY is set, but LABEL_STUDIO_URL is not: say whom the token is for")
        if self.media_root is not None and not self.media_root.is_dir():
            raise ValueError(f"REFAM_MEDIA_ROOT must be an existing folder, not {str(self.media_root)!r}")
        return self


def load_settings(**overrides: Any) -> Settings:
    """Return the settings of this process.

    Args:
        **overrides: Values by field name, which win over the environment.

    Raises:
        SettingsError: Some variables are wrong; one sentence for each.
    """
    # Aliased fields are looked up by alias first, so an override must come under the alias to win.
    given = {_LABEL_STUDIO.get(name, name): value for name, value in overrides.items()}
    aliased = _aliased_values(given)
    try:
        return Settings(**aliased | given)
    except ValidationError as error:
        raise _settings_error(error, aliased) from None


def weight_settings(*, download: bool = False, offline: bool = False) -> WeightSettings:
    """Return the settings of model weights.

    Args:
        download: Fetch a missing backbone, whatever REFAM_DOWNLOAD says.
        offline: Fetch nothing, whatever REFAM_OFFLINE says.

    Raises:
        SettingsError: Some variables are wrong; one sentence for each.
    """
    asked = {"download": download, "offline": offline}
    given: dict[str, Any] = {name: True for name, wanted in asked.items() if wanted}
    aliased = {name: value for name, value in _aliased_values(given).items() if name in WeightSettings.model_fields}
    try:
        return WeightSettings(**aliased | given)
    except ValidationError as error:
        raise _settings_error(error, aliased) from None


def unknown_variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the REFAM_* variables that no setting reads: most likely typing errors, worth a warning."""
    known = {_variable(name) for name in Settings.model_fields}
    return sorted(name for name in environ if name.startswith(_PREFIX) and name not in known)


def read_aliases(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return which variables of `ALIASES` are read as a setting, a sentence for each."""
    read = ((alias, _variable(field)) for field, alias in ALIASES.items())
    return [f"{alias} is read as {ours}" for alias, ours in read if environ.get(alias) and not environ.get(ours)]


def ignored_aliases(environ: Mapping[str, str] = os.environ, *, workers: bool = False) -> list[str]:
    """Return which variables of label-studio-ml's layout are set and not read, a sentence with the reason for each.

    Args:
        environ: The environment.
        workers: Whether WORKERS has been read, as gunicorn's configuration does.
    """
    both = ((alias, _variable(field)) for field, alias in ALIASES.items())
    ignored = [f"{alias} is ignored: {ours} is set" for alias, ours in both if environ.get(alias) and environ.get(ours)]
    meant = {"WORKERS"} if workers or environ.get("WORKERS") == "1" else set()
    return ignored + [text for name, text in _WITHOUT_MEANING.items() if environ.get(name) and name not in meant]


def render_settings_table() -> str:
    """Return all settings as a Markdown table: variable, default, what it does."""
    lines = ["| variable | default | what it does |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = _shown_default(field.default)
        also = f", also `{ALIASES[name]}`" if name in ALIASES else ""
        lines.append(f"| `{_variable(name)}`{also} | {default} | {field.description} |")
    return "\n".join(lines) + "\n"


def _variable(field: str) -> str:
    return _LABEL_STUDIO.get(field, _PREFIX + field.upper())


def _aliased_values(given: Mapping[str, Any]) -> dict[str, str]:
    """Return values by field: of aliases that are set, where the field is not given and its own variable is not set."""
    values = {field: os.environ.get(alias, "") for field, alias in ALIASES.items()}
    return {f: v for f, v in values.items() if v and f not in given and not os.environ.get(_variable(f))}


def _shown_default(value: Any) -> str:
    if value is None or value == ():
        return "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _settings_error(error: ValidationError, aliased: Collection[str]) -> SettingsError:
    return SettingsError("; ".join(_sentence(dict(item), aliased) for item in error.errors()))


def _sentence(item: dict[str, Any], aliased: Collection[str]) -> str:
    """One error of pydantic in words that name the variable. aliased: the fields that were read by their alias."""
    message = str(item["msg"]).removeprefix("Value error, ")
    if not item["loc"]:
        return message
    name = str(item["loc"][0])
    variable = name if name.isupper() else ALIASES[name] if name in aliased else _variable(name)
    secret = "PASS" in variable or "KEY" in variable
    got = "" if secret or item["type"] == "value_error" else f", got {item['input']!r}"
    return f"{variable}: {message[0].lower()}{message[1:]}{got}"


if __name__ == "__main__":
    print(render_settings_table(), end="")
