"""What one process has once: media store, models, job queue, worker. All of it is opened or loaded at first use."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from prometheus_client.core import GaugeMetricFamily, Metric

from backend.feedback.calibrated_settings import CalibratedSettings, load_calibrated
from backend.feedback.collector import CorrectionCollector
from backend.jobs.known_clips import KnownClips
from backend.jobs.models import JobState
from backend.jobs.push import PredictionPusher
from backend.jobs.queue import JobQueue
from backend.jobs.runner import JobRunner
from backend.jobs.worker import Worker
from backend.labelstudio.client import DraftReader, LabelStudioAuth
from backend.media.store import MediaStore
from backend.metrics import render_metrics
from backend.settings import Settings, load_settings
from refam.model import Model
from refam.pipeline.pipeline import Pipeline, PipelineOptions
from refam.pipeline.types import model_version
from video.keyframes import KEYFRAME_IOU

if TYPE_CHECKING:
    from backend.labelstudio.request import PredictRequest
    from refam.grounder import Grounder
    from refam.grounder_group import GrounderGroup
    from refam.segmenters.load import SegmenterChoice
    from video.types import Segmenter

log = logging.getLogger("refam.services")
_T = TypeVar("_T")


class Runtime:
    """Media, models and jobs of one process. Safe to use from several threads.

    Args:
        settings: What the process is configured with.
        segmenter: Loads the segmenter; the one that the settings choose unless given.
        grounder: Loads the grounder; the one of the settings' backbone unless given.

    Attributes:
        closing: Set when the process stops: requests that wait for a job are then answered with what there is.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        segmenter: Callable[[], Segmenter] | None = None,
        grounder: Callable[[], Grounder | GrounderGroup] | None = None,
    ) -> None:
        self.settings = settings
        self.media = MediaStore(settings)
        self.drafts = DraftReader(settings)
        self.known_clips = KnownClips()
        self.closing = threading.Event()
        self._segmenter_loader = segmenter or self._default_segmenter
        self._grounder_loader = grounder or self._default_grounder
        self._model_lock, self._jobs_lock, self._identity_lock = threading.Lock(), threading.Lock(), threading.Lock()
        self._backbone_identity: str | None = None
        self._calibrated: CalibratedSettings | None = None
        self._segmenter_choice: SegmenterChoice | None = None
        self._why_no_weights: str | None = None
        self._pipeline: Pipeline | None = None
        self._grounder: Grounder | GrounderGroup | None = None
        self._queue: JobQueue | None = None
        self._pusher: PredictionPusher | None = None
        self._worker: Worker | None = None
        self._collector: CorrectionCollector | None = None
        self._load_state = {"segmenter": "loads at first use", "backbone": "loads at first use"}

    # --- which models -------------------------------------------------------------------------------------------

    @property
    def model_version(self) -> str:
        """Package, backbone, segmenter and quality in one string. Known without loading a model.

        Predictions carry it: Label Studio retrieves again only for tasks whose prediction has another version.
        """
        return model_version(
            self._backbone_version(), self.segmenter_choice.version, self.settings.quality.version_suffix
        )

    @property
    def segmenter_choice(self) -> SegmenterChoice:
        """Which segmenter and tracker. Looked up once: weights pulled while we serve wait for the next start."""
        with self._identity_lock:
            if self._segmenter_choice is None:
                self._segmenter_choice = self.settings.segmenter_choice(
                    self.settings.sam2, device=self.settings.device, why_no_weights=self._why_no_weights
                )
            return self._segmenter_choice

    def fetch_segmenter(self, *, progress: Callable[[float], None] | None = None) -> None:
        """Fetch SAM2-tiny if no segmenter is set and none is on this machine; the log says how that goes.

        Called once when a process starts, before the first use of this object: it may take minutes. A failure is not
        tried again, and is the reason that `segmenter_choice` gives for GrabCut.

        Args:
            progress: Takes the fraction of the download in [0, 1].
        """
        self._why_no_weights = self.settings.fetch_segmenter(self.settings.sam2, report=log.info, progress=progress)
        if self._why_no_weights is not None:
            log.warning("masks and tracks by %s: %s", self.segmenter_choice.version, self._why_no_weights)

    @property
    def calibrated(self) -> CalibratedSettings | None:
        """What `refam calibrate` has chosen for this backbone. Raises CalibratedSettingsError."""
        with self._identity_lock:
            self._identify_backbone()
            return self._calibrated

    @property
    def keyframe_iou(self) -> float:
        """The IoU that boxes between keyframes must keep: calibrated, or the default."""
        return self.calibrated.keyframe_iou if self.calibrated else KEYFRAME_IOU

    @property
    def backbone_identity(self) -> str:
        """The backbone with an id of its weights, without calibrated settings."""
        with self._identity_lock:
            return self._identify_backbone()

    def _backbone_version(self) -> str:
        """The backbone with an id of its weights, of how attention is read and of its calibrated settings."""
        with self._identity_lock:
            identity = self._identify_backbone() + self.settings.reading_options().version_suffix
            return identity if self._calibrated is None else f"{identity}+{self._calibrated.version}"

    def _identify_backbone(self) -> str:
        """Read the identity from the files once: it must not change while we serve. Needs `_identity_lock`."""
        if self._backbone_identity is None:
            try:
                from refam.backbones.identity import name_with_weights
                from refam.backbones.presets import members_of

                found = name_with_weights(self.settings.backbone)
                members = [name_with_weights(member) for member in members_of(self.settings.backbone)]
            except ValueError:  # no such backbone: /ready and the log say so when it is to be loaded
                found = _last_part(self.settings.backbone)
                members = [found]
            self._calibrated = load_calibrated(self.settings.data_dir, members)
            self._backbone_identity = found
        return self._backbone_identity

    # --- models -------------------------------------------------------------------------------------------------

    def pipeline(self) -> Pipeline:
        """Return the pipeline; the first call loads the segmenter. The backbone loads when words first need it."""
        with self._model_lock:
            if self._pipeline is None:
                segmenter = self._load("segmenter", self._segmenter_loader)
                options = PipelineOptions(score_model_dir=self.settings.data_dir)
                model = Model(segmenter, self.grounder, quality=self.settings.quality, options=options)
                self._pipeline = model.pipeline
            return self._pipeline

    def grounder(self) -> Grounder | GrounderGroup:
        """Return the grounder; the first call loads the backbone."""
        if self._grounder is None:
            self._grounder = self._load("backbone", self._grounder_loader)
        return self._grounder

    def check_words(self, work: PredictRequest) -> None:
        """Refuse words that the backbone cannot look for, before the video is fetched and any model is loaded.

        Raises:
            WordsError: Nobody drew any of the objects, and none can be looked for by its words.
        """
        from refam.pipeline.word_check import check_targets

        if not any(work.edits):
            settings = self.settings
            check_targets(work.targets, settings.backbone, magnets=settings.magnet_words(), download=settings.download)

    def _default_segmenter(self) -> Segmenter:
        choice = self.segmenter_choice
        log.info("masks and tracks by %s: %s", choice.version, choice.why)
        return self.settings.segmenter(choice.source or choice.name, device=self.settings.device)

    def _default_grounder(self) -> Grounder | GrounderGroup:
        from refam.grounder import GroundingOptions
        from refam.grounder_loading import load_grounder_or_group

        settings = self.settings
        options = GroundingOptions(magnet_words=settings.magnet_words(), reading=settings.reading_options())
        grounder = load_grounder_or_group(
            settings.backbone, device=settings.device, options=options, loading=settings.loading()
        )
        if self.calibrated is not None:
            self.calibrated.apply(grounder)
        return grounder

    def _load(self, part: str, load: Callable[[], _T]) -> _T:
        """Load a model and keep for `ready` how that went."""
        self._load_state[part] = "loading"
        started = time.monotonic()
        try:
            loaded = load()
        except Exception as error:
            self._load_state[part] = f"failed to load: {error}"
            raise
        self._load_state[part] = "loaded"
        name = getattr(loaded, "name", type(loaded).__name__)
        log.info("%s %s loaded in %.1f s", part, name, time.monotonic() - started)
        return loaded

    # --- jobs and feedback --------------------------------------------------------------------------------------

    @property
    def queue(self) -> JobQueue:
        """The job queue, opened at first use; a worker starts with it where REFAM_WORK is on.

        Raises:
            OSError, sqlite3.Error, redis.RedisError: The queue cannot be opened.
        """
        with self._jobs_lock:
            if self._queue is None:
                self._queue = JobQueue(self.settings.queue, self.settings.data_dir)
                self._pusher = PredictionPusher(self.settings, self._queue)
                if self.settings.work:
                    self._worker = self._make_worker(self._queue, self._pusher)
                    self._worker.start()
            return self._queue

    def make_worker(self) -> Worker:
        """Return a worker on the queue, not started yet. Jobs that an earlier process left are queued again."""
        queue = self.queue
        assert self._pusher is not None
        return self._make_worker(queue, self._pusher)

    def _make_worker(self, queue: JobQueue, pusher: PredictionPusher) -> Worker:
        settings = self.settings
        runner = JobRunner(
            settings, self.media, queue, pipeline=lambda: self.pipeline(), keyframe_iou=lambda: self.keyframe_iou
        )
        worker = Worker(
            queue, runner, data_dir=settings.data_dir, accelerator=settings.device, push=pusher.push_finished
        )
        worker.recover()
        return worker

    @property
    def collector(self) -> CorrectionCollector:
        """Takes in what people submit; its thread starts at first use. Raises sqlite3.Error, OSError."""
        with self._jobs_lock:
            if self._collector is None:
                self._collector = CorrectionCollector(self.settings)
            return self._collector

    def close(self) -> None:
        """Answer waiting requests, put the running job back into the queue, stop all threads."""
        self.closing.set()
        with self._jobs_lock:
            if self._worker is not None:
                self._worker.stop()
            if self._queue is not None:
                self._queue.close()
            if self._collector is not None:
                self._collector.close()
            self._worker = self._queue = self._pusher = self._collector = None

    # --- state --------------------------------------------------------------------------------------------------

    def ready(self) -> dict[str, Any]:
        """Return what is in use and what is wrong, for people and for probes. Loads nothing, sends no request."""
        settings = self.settings
        access = LabelStudioAuth.from_settings(settings)
        problems = [f"{part}: {state}" for part, state in self._load_state.items() if state.startswith("failed")]
        if access is None:
            problems.append(
                "LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY are not both set: uploads and local files cannot be "
                "fetched, and predictions that take longer than the deadline cannot be pushed"
            )
        if self._queue is not None:
            problems += self._queue.damage
        if self._pusher is not None and self._pusher.problem:
            problems.append(self._pusher.problem)
        if not _writable(settings.data_dir):
            problems.append(f"the data folder {settings.data_dir} cannot be written (REFAM_DATA_DIR)")
        if not _writable(settings.cache_dir):
            problems.append(f"the media cache {settings.cache_dir} cannot be written (REFAM_CACHE_DIR)")
        return {
            "ready": not any("failed" in problem or "cannot be written" in problem for problem in problems),
            "model_version": self.model_version,
            "backbone": {"name": settings.backbone, "device": settings.device, "state": self._load_state["backbone"]},
            "segmenter": {
                "name": self.segmenter_choice.name,
                "tracker": self.segmenter_choice.tracker,
                "why": self.segmenter_choice.why,
                "state": self._load_state["segmenter"],
            },
            "label_studio": {"url": settings.label_studio_url, "token": access.kind if access else None},
            "queue": {"kind": "redis" if settings.queue != "sqlite" else "sqlite", "works_here": settings.work},
            "deadline_s": settings.deadline_s,
            "pushes": settings.can_push,
            "basic_auth": settings.basic_auth_user is not None,
            "problems": problems,
        }

    def metrics(self) -> bytes:
        """Return all metrics of this process, its queue and its caches in Prometheus' text format."""
        return render_metrics(_Gauges(self.queue, self.settings))


class _Gauges:
    """Gauges that are read when Prometheus asks for them: jobs, caches, GPU memory."""

    def __init__(self, queue: JobQueue, settings: Settings) -> None:
        self._queue, self._settings = queue, settings

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        jobs = GaugeMetricFamily("refam_jobs", "Jobs that are known, by state", labels=["state"])
        counts = Counter(record.state for record in self._queue.records())
        for state in JobState:
            jobs.add_metric([state.value], counts[state])
        yield jobs
        yield GaugeMetricFamily("refam_queue_waiting", "Messages in the queue", value=self._queue.waiting())
        cache = GaugeMetricFamily("refam_cache_bytes", "Bytes on disk", labels=["cache"])
        cache.add_metric(["media"], _bytes_in(self._settings.cache_dir))
        cache.add_metric(["stages"], _bytes_in(self._settings.data_dir / "stages"))
        yield cache
        memory = GaugeMetricFamily("refam_gpu_memory_bytes", "Memory that torch holds", labels=["device"])
        torch = sys.modules.get("torch")  # not imported for this: it is there once a model is loaded
        if torch is not None and torch.cuda.is_available():
            for i in range(torch.cuda.device_count()):
                memory.add_metric([f"cuda:{i}"], torch.cuda.memory_reserved(i))
        yield memory


_process_runtime: Runtime | None = None
_process_lock = threading.Lock()


def process_runtime() -> Runtime:
    """Return the runtime of this process, made from the environment at first use. Raises SettingsError."""
    global _process_runtime
    with _process_lock:
        if _process_runtime is None:
            _process_runtime = Runtime(load_settings())
        return _process_runtime


def _last_part(name: str) -> str:
    """The last part of a directory or hub name."""
    return Path(name.rstrip("/")).name or name


def _writable(folder: Path) -> bool:
    """Whether a folder, or the nearest one above it that exists, can be written."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file()) if folder.is_dir() else 0
