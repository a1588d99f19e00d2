"""One frozen settings object, read from the environment and checked once at start.

Every variable is named `REFAM_<FIELD>`, but for Label Studio's own two: `LABEL_STUDIO_URL` and
`LABEL_STUDIO_API_KEY`. A wrong value is told with the variable's name and what would be right; the
value of a secret is never told.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from refam.pipeline.quality import Quality
from refam.text.magnets import Magnets
from video.errors import UserError

if TYPE_CHECKING:
    from refam.backbones import Loading
    from refam.segmenters.load import SegmenterChoice
    from video.types import Segmenter

_PREFIX = "REFAM_"
_LABEL_STUDIO = {"label_studio_url": "LABEL_STUDIO_URL", "label_studio_api_key": "LABEL_STUDIO_API_KEY"}


class SettingsError(UserError):
    """The environment cannot be used; the message names each variable and what would be right."""


class WeightSettings(BaseSettings):
    """How weights are held and where: see refam.backbones.Loading, which these become, and refam.segmenters.load."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_ignore_empty=True, frozen=True)

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    offload: bool = False  # parts wait in main memory and visit the GPU one at a time
    quantise: Literal["bnb-4bit", "bnb-8bit", "int8"] | None = None
    free_text: bool = False  # let text encoders go once words are encoded, and read them again for new ones
    download: bool = False  # fetch weights that are not on this machine
    data_dir: Path = Path("~/.local/share/refam")  # jobs, the finished stages of videos, and SAM2 where it was pulled
    tracker: Literal["auto", "memory", "sam2-video", "flow"] = "auto"  # what follows masks; see refam.segmenters.load
    features_mb: float = Field(default=2_000, ge=0)  # on disk, of what SAM2 made of frames (8.4 MB each); 0: none
    quality: Quality = Quality.NORMAL  # how closely the service and `refam curate` look; see refam.pipeline.quality

    @field_validator("data_dir")
    @classmethod
    def _expanded(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def models_dir(self) -> Path:
        """Where SAM2's weights are fetched to."""
        return self.data_dir / "models"

    def segmenter_choice(self, named: str | None, *, device: str = "auto") -> SegmenterChoice:
        """Which segmenter and tracker will be used; known without loading them. named: as in REFAM_SAM2."""
        from refam.segmenters.load import choose_segmenter

        return choose_segmenter(named, models=self.models_dir, device=device, tracker=self.tracker)

    def segmenter(self, named: str | None, *, device: str = "auto", cache: Path | None = None) -> Segmenter:
        """That segmenter, loaded. cache: where features are kept, in the data directory unless given.

        Raises refam's SegmenterError.
        """
        from refam.segmenters.load import load_segmenter

        return load_segmenter(
            named,
            models=self.models_dir,
            device=device,
            tracker=self.tracker,
            cache=cache or self.data_dir / "features",
            cache_mb=self.features_mb,
        )

    def loading(self) -> Loading:
        """The same for refam."""
        from refam.backbones import Loading

        return Loading(
            dtype=self.dtype,
            offload=self.offload,
            quantise=self.quantise,
            free_text=self.free_text,
            download=self.download,
        )


class Settings(WeightSettings):
    """What the backend was told. Build it with `load_settings`, which words the errors for people.

    Times are in seconds, sizes in MB (10**6 bytes) as the names say. An empty variable counts as unset.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", populate_by_name=True
    )

    # Label Studio: where relative media addresses point, and the only host that is ever sent the token.
    label_studio_url: str | None = Field(default=None, validation_alias="LABEL_STUDIO_URL")
    label_studio_api_key: SecretStr | None = Field(default=None, validation_alias="LABEL_STUDIO_API_KEY")

    # Models
    backbone: str = Field(default="tiny", min_length=1)  # a preset's name, a pipeline directory, a hub name
    sam2: str | None = None  # a name of `refam models`, directory, hub name, or grabcut; unset: the best that is here
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    magnets: str = str(Magnets())  # words to append to every expression, spaces between them

    # Serving
    host: str = "127.0.0.1"  # nothing but this machine unless somebody asks for more
    port: int = Field(default=9090, ge=0, le=65535)
    basic_auth_user: str | None = None
    basic_auth_pass: SecretStr | None = None
    max_body_mb: float = Field(default=32.0, gt=0)
    rate_per_minute: int = Field(default=6_000, ge=0)  # requests by one address, or with one password; 0: no limit
    log: Literal["text", "json"] = "text"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    # Long work
    data_mb: float = Field(default=5_000.0, gt=0)  # of finished stages
    queue: str = Field(default="sqlite", pattern=r"^(sqlite|rediss?://.+)$")  # redis:// beyond one machine
    work: bool = True  # whether `refam serve` works off the queue itself; false where `refam work` does
    deadline_s: float = Field(default=60.0, gt=0, le=95)  # Label Studio gives up after 100 s and loses all
    page_deadline_s: float = Field(default=20.0, gt=0, le=95)  # for one task: somebody looks at a blocked page
    say_in_text_field: bool = True  # why nothing was found, behind the words that the annotator typed
    draft_wait_s: float = Field(default=6.5, ge=0, le=30)  # for the editor to save what was drawn just before Enter
    fresh_s: float = Field(default=3600.0, ge=0)  # a result is not computed again for so long

    # Media
    media_root: Path | None = None  # task data may name files under this folder only; unset: none at all
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()  # private hosts that media may come from
    cache_dir: Path = Path("~/.cache/refam/media")
    cache_mb: float = Field(default=20_000.0, gt=0)
    cache_days: float = Field(default=14.0, gt=0)  # without use, after which a file goes
    max_media_mb: float = Field(default=4_000.0, gt=0)
    max_megapixels: float = Field(default=36.0, gt=0)  # of one frame; 8K has 33
    max_video_s: float = Field(default=4 * 3600.0, gt=0)
    max_frames: int = Field(default=2_000, ge=1)  # of a task that holds a list of pictures
    fetch_timeout_s: float = Field(default=600.0, gt=0)

    @property
    def can_push(self) -> bool:
        """Whether there is an address and a token to store predictions in Label Studio with."""
        return bool(self.label_studio_url and self.label_studio_api_key)

    @field_validator("magnets")
    @classmethod
    def _one_at_least(cls, value: str) -> str:
        return str(Magnets.read(value))

    def magnet_words(self) -> Magnets:
        """The same for refam."""
        return Magnets.read(self.magnets)

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
    def _http_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"give an address such as http://localhost:8080, not {value!r}")
        if parts.username or parts.password:
            raise ValueError("leave user and password out of the address; give LABEL_STUDIO_API_KEY instead")
        return value.rstrip("/")

    @field_validator("cache_dir", "media_root")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value and value.expanduser().absolute()

    @model_validator(mode="after")
    def _together(self) -> Settings:
        if (self.basic_auth_user is None) != (self.basic_auth_pass is None):
            raise ValueError("REFAM_BASIC_AUTH_USER and REFAM_BASIC_AUTH_PASS must be set together")
        if self.label_studio_api_key is not None and self.label_studio_url is None:
            raise ValueError("LABEL_STUDIO_API_KEY is set, but LABEL_STUDIO_URL is not: say whom the token is for")
        if self.media_root is not None and not self.media_root.is_dir():
            raise ValueError(f"REFAM_MEDIA_ROOT must be an existing folder, not {str(self.media_root)!r}")
        return self


def load_settings(**overrides: Any) -> Settings:
    """The settings of this process: the environment, and `overrides` by field name before it.

    Raises SettingsError with one sentence for each variable that is wrong.
    """
    # Aliased fields are looked up by alias first, so an override must come under the alias to win.
    given = {_LABEL_STUDIO.get(name, name): value for name, value in overrides.items()}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(dict(item)) for item in error.errors())) from None


def weight_settings(*, download: bool = False) -> WeightSettings:
    """How weights are held, from the environment; `download` true wins. Raises SettingsError."""
    try:
        return WeightSettings(download=True) if download else WeightSettings()
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(dict(item)) for item in error.errors())) from None


def unknown_variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """REFAM_* variables that no setting reads: most likely a slip of the pen, worth a warning."""
    known = {_PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(name for name in environ if name.startswith(_PREFIX) and name not in known)


def _sentence(item: dict[str, Any]) -> str:
    message = str(item["msg"]).removeprefix("Value error, ")
    if not item["loc"]:
        return message
    name = str(item["loc"][0])
    variable = name if name.isupper() else _PREFIX + name.upper()
    secret = "PASS" in variable or "KEY" in variable
    got = "" if secret or item["type"] == "value_error" else f", got {item['input']!r}"
    return f"{variable}: {message[0].lower()}{message[1:]}{got}"
