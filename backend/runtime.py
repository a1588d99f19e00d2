"""What one process has once: the media store and the models, which load at first use and never at start."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from backend.feedback.calibrated import CalibratedSettings, load_calibrated
from backend.feedback.collector import CorrectionCollector
from backend.labelstudio.client import LabelStudioAuth
from backend.media.store import MediaStore
from backend.service.office import JobServices
from backend.settings import Settings, load_settings
from refam.pipeline.pipeline import Pipeline, PipelineOptions
from refam.pipeline.types import model_version

if TYPE_CHECKING:
    from refam.grounder import Grounder
    from refam.segmenters.load import SegmenterChoice
    from video.types import Segmenter

log = logging.getLogger("refam.services")
_T = TypeVar("_T")


class Services:
    """Media and models of one process. Safe to use from several threads."""

    def __init__(
        self,
        settings: Settings,
        *,
        segmenter: Callable[[], Segmenter] | None = None,
        grounder: Callable[[], Grounder] | None = None,
    ) -> None:
        self.settings = settings
        self.media = MediaStore(settings)
        self._load_segmenter = segmenter or self._default_segmenter
        self._load_grounder = grounder or self._default_grounder
        self._loading = threading.Lock()
        self._opening, self._naming = threading.Lock(), threading.Lock()
        self._identity: str | None = None
        self._tuned: CalibratedSettings | None = None
        self._choice: SegmenterChoice | None = None
        self._pipeline: Pipeline | None = None
        self._grounder: Grounder | None = None
        self._office: JobServices | None = None
        self._learner: CorrectionCollector | None = None
        self.closing = False
        self._state = {"segmenter": "loads at first use", "backbone": "loads at first use"}

    @property
    def model_version(self) -> str:
        """Names package, backbone, segmenter and quality. Known without loading anything: Label Studio asks at set-up.

        It must be what predictions carry, since Label Studio re-runs only tasks of another version.
        """
        return model_version(self._backbone_id(), self.segmenter_choice.version, self.settings.quality.tail)

    @property
    def segmenter_choice(self) -> SegmenterChoice:
        """Which segmenter and tracker. Looked up once: weights pulled while we serve wait for the next start."""
        with self._naming:
            if self._choice is None:
                self._choice = self.settings.segmenter_choice(self.settings.sam2, device=self.settings.device)
            return self._choice

    def _backbone_id(self) -> str:
        """The backbone with an id of its weights and of what was chosen for it (`refam calibrate`)."""
        with self._naming:
            identity = self._untuned()
            return identity if self._tuned is None else f"{identity}+{self._tuned.version}"

    @property
    def tuned(self) -> CalibratedSettings | None:
        """What `refam calibrate` has chosen for this backbone. Raises TunedError."""
        with self._naming:
            self._untuned()
            return self._tuned

    @property
    def backbone_identity(self) -> str:
        """The backbone with an id of its weights alone."""
        with self._naming:
            return self._untuned()

    def _untuned(self) -> str:
        """Read off the files once: what answers are made with must not change while we serve."""
        if self._identity is None:
            try:
                from refam.backbones.identity import identity

                found = identity(self.settings.backbone)
            except ValueError:  # no such backbone: /ready and the log say so when it is to be loaded
                found = _short(self.settings.backbone)
            self._tuned = load_calibrated(self.settings.data_dir, found)
            self._identity = found
        return self._identity

    def office(self) -> JobServices:
        """The queue and who works it off, opened at first use. Raises the queue's own errors."""
        with self._opening:
            if self._office is None:
                self._office = JobServices(self)
            return self._office

    def learner(self) -> CorrectionCollector:
        """Who takes in what people submit, from the first use on. Raises sqlite3.Error, OSError."""
        with self._opening:
            if self._learner is None:
                self._learner = CorrectionCollector(self.settings)
            return self._learner

    def begin_to_close(self) -> None:
        """Whoever waits is answered with what there is."""
        self.closing = True
        if self._office is not None:
            self._office.desk.close()

    def close(self) -> None:
        """Ends what `office` and `learner` began."""
        self.begin_to_close()
        with self._opening:
            if self._office is not None:
                self._office.close()
                self._office = None
            if self._learner is not None:
                self._learner.close()
                self._learner = None

    def pipeline(self) -> Pipeline:
        """The pipeline, its segmenter loaded the first time. The backbone loads when words first need it."""
        with self._loading:
            if self._pipeline is None:
                segmenter = self._noted("segmenter", self._load_segmenter)
                options = self.settings.quality.options(PipelineOptions(needs=self.settings.data_dir))
                self._pipeline = Pipeline(segmenter, grounder=self.grounder, options=options)
            return self._pipeline

    def ready(self) -> dict[str, Any]:
        """What is in use and what is missing, for people and for probes; loads nothing, asks nobody."""
        settings = self.settings
        access = LabelStudioAuth.from_settings(settings)
        problems = [f"{part}: {state}" for part, state in self._state.items() if state.startswith("failed")]
        if access is None:
            problems.append(
                "LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY are not both set: uploads and local files cannot be "
                "fetched, and predictions that take longer than the deadline cannot be pushed"
            )
        if self._office is not None:
            problems += self._office.problems()
        if not _writable(settings.data_dir):
            problems.append(f"the data folder {settings.data_dir} cannot be written (REFAM_DATA_DIR)")
        if not _writable(settings.cache_dir):
            problems.append(f"the media cache {settings.cache_dir} cannot be written (REFAM_CACHE_DIR)")
        return {
            "ready": not any("failed" in problem or "cannot be written" in problem for problem in problems),
            "model_version": self.model_version,
            "backbone": {"name": settings.backbone, "device": settings.device, "state": self._state["backbone"]},
            "segmenter": {
                "name": self.segmenter_choice.name,
                "tracker": self.segmenter_choice.tracker,
                "why": self.segmenter_choice.why,
                "state": self._state["segmenter"],
            },
            "label_studio": {"url": settings.label_studio_url, "token": access.kind if access else None},
            "queue": {"kind": "redis" if settings.queue != "sqlite" else "sqlite", "works_here": settings.work},
            "deadline_s": settings.deadline_s,
            "pushes": access is not None,
            "basic_auth": settings.basic_auth_user is not None,
            "problems": problems,
        }

    def grounder(self) -> Grounder:
        """What reads the words, loaded the first time."""
        if self._grounder is None:
            self._grounder = self._noted("backbone", self._load_grounder)
        return self._grounder

    def _default_segmenter(self) -> Segmenter:
        choice = self.segmenter_choice
        log.info("masks and tracks by %s: %s", choice.version, choice.why)
        return self.settings.segmenter(choice.source or choice.name, device=self.settings.device)

    def _default_grounder(self) -> Grounder:
        from refam.grounder import GroundingOptions, load_grounder

        settings = self.settings
        options = GroundingOptions(magnet_words=settings.magnet_words())
        found = load_grounder(settings.backbone, device=settings.device, options=options, loading=settings.loading())
        if self.tuned is not None:
            self.tuned.apply(found)
        return found

    def _noted(self, part: str, load: Callable[[], _T]) -> _T:
        self._state[part] = "loading"
        started = time.monotonic()
        try:
            loaded = load()
        except Exception as error:
            self._state[part] = f"failed to load: {error}"
            raise
        self._state[part] = "loaded"
        name = getattr(loaded, "name", type(loaded).__name__)
        log.info("%s %s loaded in %.1f s", part, name, time.monotonic() - started)
        return loaded


_process: Services | None = None
_process_lock = threading.Lock()


def process_services() -> Services:
    """The services of this process, made of its environment at first use. Raises SettingsError."""
    global _process
    with _process_lock:
        if _process is None:
            _process = Services(load_settings())
        return _process


def _short(name: str) -> str:
    """The last part of a directory or hub name."""
    return Path(name.rstrip("/")).name or name


def _writable(folder: Path) -> bool:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)
