"""`refam doctor`: what is installed, what would be used, and whether it works. Loads no model.

The models come first, then the service: settings, disk, queue, and the Label Studio that is configured.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from backend.cli.console import AsJson, Backbone, Sam2, print_findings, print_json
from backend.cli.console import out as stdout
from refam.backbones.presets import DEFAULT_BACKBONE, members_of
from refam.backbones.weights import directory_size
from refam.version import __version__

if TYPE_CHECKING:
    from backend.settings import Settings

CheckedDevice = Annotated[str, typer.Option(envvar="REFAM_DEVICE", help="auto, cpu, cuda, cuda:1 or mps.")]
"""As `console.Device`, but one that is not there is a finding, not an error."""
State = Literal["ok", "note", "wrong"]
_PACKAGES = ("av", "decord", "opencv-python", "opencv-python-headless", "torch", "diffusers", "transformers")
_STUDIO_PACKAGES = ("label-studio-ml", "label-studio-sdk")


@dataclass(frozen=True)
class Finding:
    """One line of the report. The state `wrong` means that something will fail."""

    part: str
    state: State
    text: str


def doctor(
    backbone: Backbone = DEFAULT_BACKBONE, sam2: Sam2 = None, device: CheckedDevice = "auto", as_json: AsJson = False
) -> None:
    """Say what is installed, what would be used, and whether it works. Exit code 1 when something will fail."""
    findings = itertools.chain(examine_models(backbone, sam2, device), examine_service())
    if as_json:
        found = [asdict(finding) for finding in findings]
        print_json({"version": __version__, "findings": found})
        raise typer.Exit(1 if any(finding["state"] == "wrong" for finding in found) else 0)
    stdout.print(f"refam {__version__}")
    wrong = print_findings((finding.state, f"{finding.part:<12}{finding.text}") for finding in findings)
    if wrong:
        raise typer.Exit(1)


# --- models ----------------------------------------------------------------------------------------------------------


def examine_models(backbone: str, sam2: str | None, device: str = "auto") -> Iterator[Finding]:
    """Yield a finding for each check as it is done. A check that raises is a finding itself."""
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("python", _python),
        ("packages", _packages),
        ("opencv", _opencv),
        ("torchvision", _torchvision),
        ("decoder", _decoder),
        ("overlay", _encoder),
        ("device", lambda: _device(device)),
        ("segmenter", lambda: _segmenter(sam2, device)),
    ]
    for member in members_of(backbone):
        checks += [
            ("backbone", partial(_backbone, member)),
            ("confidence", partial(_confidence, member)),
        ]
    for part, check in checks:
        try:
            yield check()
        except Exception as error:  # any error is what the person wants to know about
            yield Finding(part, "wrong", f"{type(error).__name__}: {error}".splitlines()[0])


def _python() -> Finding:
    ok = (3, 11) <= tuple(map(int, platform.python_version_tuple()[:2])) <= (3, 12)
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("python", "ok" if ok else "wrong", text if ok else f"{text}; 3.11 or 3.12 is needed")


def _packages() -> Finding:
    versions = {name: _version(name) for name in (*_PACKAGES, *_STUDIO_PACKAGES)}
    missing = [name for name, v in versions.items() if v is None and name not in ("decord", "opencv-python")]
    text = ", ".join(f"{name} {v}" for name, v in versions.items() if v)
    if missing:
        return Finding("packages", "wrong", f"{', '.join(missing)} missing: pip install -r requirements.txt ({text})")
    return Finding("packages", "ok", text)


def _opencv() -> Finding:
    plain, headless = _version("opencv-python"), _version("opencv-python-headless")
    if plain and headless and plain != headless:
        text = f"opencv-python {plain} and -headless {headless} share one folder; install both at one version"
        return Finding("opencv", "wrong", text)
    return Finding("opencv", "ok", importlib.import_module("cv2").__version__)


def _torchvision() -> Finding:
    if importlib.util.find_spec("torchvision") is None:
        return Finding("torchvision", "ok", "not installed, and not needed")
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        return Finding("torchvision", "wrong", f"it does not fit this torch, uninstall it: {error}".splitlines()[0])
    return Finding("torchvision", "ok", f"{_version('torchvision')} fits")


def _decoder() -> Finding:
    from video.io.reader import open_clip

    with tempfile.TemporaryDirectory() as folder:
        clip = open_clip(_tiny_video(Path(folder) / "check.mp4"))
        n = sum(len(indices) for indices, _ in clip.batches())
    if n != 8:
        return Finding("decoder", "wrong", f"8 frames were written and {n} read")
    if clip.decoder == "pyav":
        return Finding("decoder", "note", "PyAV reads everything; decord is not installed or does not work here")
    return Finding("decoder", "ok", "decord, and PyAV where decord cannot; both read a test video")


def _encoder() -> Finding:
    with tempfile.TemporaryDirectory() as folder:
        _tiny_video(Path(folder) / "check.mp4")
    return Finding("overlay", "ok", "H.264 can be written")


def _device(requested: str) -> Finding:
    import torch

    from refam.pipeline.device import require_device
    from refam.pipeline.errors import PromptError

    try:
        require_device(requested)
    except PromptError as error:
        return Finding("device", "wrong", str(error))
    if torch.cuda.is_available():
        gib = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Finding("device", "ok", f"cuda: {torch.cuda.get_device_name(0)}, {gib:.0f} GiB (asked: {requested})")
    return Finding("device", "note", f"cpu, {torch.get_num_threads()} threads; the large models need a GPU")


def _segmenter(sam2: str | None, device: str) -> Finding:
    from backend.settings import weight_settings
    from refam.segmenters.load import VIDEO_MEMORIES, read_video_memory
    from refam.segmenters.model_types import MODEL_TYPES, describe_unreadable, read_model_type
    from refam.segmenters.sam2_weights import SAM2_WEIGHTS, is_for_onnx

    choice = weight_settings().segmenter_choice(sam2, device=device)
    follows = f"; {choice.version.partition('/')[2]} follows the masks"
    if choice.source is None:
        if choice.tracker != "flow":
            text = f"GrabCut ({choice.why}) has nothing for the tracker {choice.tracker}: REFAM_TRACKER=auto or flow"
            return Finding("segmenter", "wrong", text)
        return Finding("segmenter", "ok", f"GrabCut, which needs no weights ({choice.why}){follows}")
    if choice.source in SAM2_WEIGHTS:
        return Finding("segmenter", "wrong", f"{choice.source} is not on this machine: refam models pull {choice.name}")
    if is_for_onnx(folder := Path(choice.source).expanduser()):
        return _onnx(folder, choice.tracker, f"({choice.why}){follows}")
    if choice.tracker in VIDEO_MEMORIES and read_video_memory(choice.source) != choice.tracker:
        text = f"{choice.source} holds no video memory for REFAM_TRACKER={choice.tracker}: say auto, memory or flow"
        return Finding("segmenter", "wrong", text)
    model_type = read_model_type(choice.source)
    family = "SAM3" if (model_type or "").startswith("sam3") else "SAM2"
    finding = _weights("segmenter", choice.source, f"{family} from ")
    if finding.state == "ok" and model_type not in MODEL_TYPES:
        return Finding("segmenter", "wrong", describe_unreadable(choice.source, model_type))
    return replace(finding, text=f"{finding.text} ({choice.why}){follows}")


def _onnx(folder: Path, tracker: str, remark: str) -> Finding:
    from refam.segmenters.load import VIDEO_MEMORIES

    runtime = _version("onnxruntime")
    if runtime is None:
        return Finding("segmenter", "wrong", f"{folder.name} needs onnxruntime: pip install onnxruntime")
    if tracker in VIDEO_MEMORIES:
        text = f"{folder.name} holds SAM2's image part alone: REFAM_TRACKER=auto, memory or flow"
        return Finding("segmenter", "wrong", text)
    size = _size_text(folder)
    text = f"SAM2 from {folder.name} ({size}) in onnxruntime {runtime} on the processor {remark}"
    return Finding("segmenter", "ok", text)


def _backbone(backbone: str) -> Finding:
    from refam.backbones import preset_for
    from refam.backbones.weights import find_pipeline_directory

    preset = preset_for(backbone)
    source = str(find_pipeline_directory(preset.source, preset.revision) or preset.source)
    if preset.trained_by and not (Path(source) / "model_index.json").is_file():
        return Finding("backbone", "wrong", preset.missing_weights_message)
    return _weights("backbone", source, f"{backbone}: " if source != backbone else "")


def _confidence(backbone: str) -> Finding:
    from refam.backbones import preset_for
    from refam.calibration import calibration_path, load_calibration
    from refam.presence import load_presence, presence_path

    source = preset_for(backbone).source
    calibration, presence = load_calibration(calibration_path(source)), load_presence(presence_path(source))
    if calibration is not None:
        return Finding("confidence", "ok", f"{backbone}: calibrated on {calibration.scenes} drawn scenes")
    if presence is not None:
        known = f"what is not there is told by {presence.scenes} examples, but scores are no probabilities"
        return Finding("confidence", "note", f"{backbone}: {known}")
    text = f"{backbone}: not calibrated, so scores are no probabilities; `refam eval calibrate` does it"
    return Finding("confidence", "note", text)


def _size_text(folder: Path) -> str:
    """Return the size of all files of a folder, as `refam models` and the documents have it."""
    return f"{directory_size(folder) / 1e6:.0f} MB"


def _weights(part: str, source: str, what: str) -> Finding:
    folder = Path(source).expanduser()
    if folder.is_dir():
        if not any(folder.rglob("*.safetensors")):
            return Finding(part, "wrong", f"{what}{folder} holds no .safetensors file")
        return Finding(part, "ok", f"{what}{folder.name} ({_size_text(folder)})")
    if folder.is_absolute() or source.startswith("."):
        return Finding(part, "wrong", f"{what}{folder} is not a folder")
    if part == "backbone":
        return Finding(part, "wrong", f"{what}its weights are not on this machine; `refam models pull {source}`")
    return Finding(part, "note", f"{what}{source}, a hub name: its weights are loaded, or fetched, at first use")


def _tiny_video(path: Path) -> Path:
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(8):
            image = np.full((48, 64, 3), 30 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


# --- service ---------------------------------------------------------------------------------------------------------

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_METADATA = "the metadata address"
_PROBES = {
    "this machine": "127.0.0.1",
    "10.0.0.0/8": "10.0.0.1",
    "172.16.0.0/12": "172.16.0.1",
    "192.168.0.0/16": "192.168.0.1",
    _METADATA: "169.254.169.254",
}
_MIN_FREE_GB = 5.0  # a few long videos


def examine_service() -> Iterator[Finding]:
    """Yield a finding for each check of the service as it is done.

    It creates the jobs folder if there is none and changes nothing else.
    """
    from backend.settings import SettingsError, load_settings, unknown_variables

    try:
        settings = load_settings()
    except SettingsError as error:
        yield Finding("settings", "wrong", str(error))
        return
    unknown = unknown_variables()
    if unknown:
        yield Finding("settings", "note", f"no setting is called {', '.join(unknown)}: a slip of the pen?")
    else:
        yield Finding("settings", "ok", f"deadline {settings.deadline_s:g} s, port {settings.port}")
    checks: list[tuple[str, Callable[[Settings], Finding | None]]] = [
        ("codecs", _codecs),
        ("door", _access),
        ("disk", _disk),
        ("queue", _queue),
        ("studio", _studio),
        ("token", _token),
        ("networks", _networks),
    ]
    for part, check in checks:
        try:
            finding = check(settings)
            if finding is not None:
                yield finding
        except Exception as error:  # any error is what the person wants to know about
            yield Finding(part, "wrong", f"{type(error).__name__}: {error}".splitlines()[0])


def _codecs(_: Settings) -> Finding:
    """Check that the codecs that browsers play can be read."""
    import av

    wanted = {"h264": "H.264", "hevc": "HEVC", "vp9": "VP9", "av1": "AV1", "mpeg4": "MPEG-4"}
    missing = [name for codec, name in wanted.items() if codec not in av.codecs_available]
    if missing:
        fix = "install PyAV's own wheel (pip install --force-reinstall av), which brings FFmpeg along"
        return Finding("codecs", "wrong", f"{', '.join(missing)} cannot be read: {fix}")
    return Finding("codecs", "ok", f"{', '.join(wanted.values())} can be read")


def _access(settings: Settings) -> Finding:
    is_local = settings.host in _LOOPBACK
    if settings.basic_auth_user is None and not is_local:
        fix = "set REFAM_BASIC_AUTH_USER and _PASS, then `refam connect --project N` tells Label Studio"
        return Finding("door", "note", f"whoever reaches {settings.host}:{settings.port} can use it: {fix}")
    guarded = "without a password, for this machine alone" if settings.basic_auth_user is None else "with a password"
    return Finding("door", "ok", f"{settings.host}:{settings.port}, {guarded}")


def _disk(settings: Settings) -> Finding:
    free, is_low, not_writable = [], False, []
    places = (("media", settings.cache_dir, "REFAM_CACHE_DIR"), ("jobs", settings.data_dir, "REFAM_DATA_DIR"))
    for name, folder, variable in places:
        existing = folder
        while not existing.exists():
            existing = existing.parent
        if not os.access(existing, os.W_OK):
            not_writable.append(f"{existing} cannot be written by this user: change its rights, or set {variable}")
        free_gb = shutil.disk_usage(existing).free / 1e9
        is_low = is_low or free_gb < _MIN_FREE_GB
        free.append(f"{free_gb:.0f} GB free for {name} in {folder}")
    if not_writable:
        return Finding("disk", "wrong", "; ".join(not_writable))
    fix = "; make room, or set REFAM_CACHE_DIR, REFAM_DATA_DIR, REFAM_CACHE_MB" if is_low else ""
    return Finding("disk", "note" if is_low else "ok", "; ".join(free) + fix)


def _queue(settings: Settings) -> Finding:
    from backend.jobs.queue import JobQueue

    kind = "SQLite" if settings.queue == "sqlite" else "Redis"
    try:
        queue = JobQueue(settings.queue, Path(settings.data_dir))
        waiting, runs, damage = queue.waiting(), len(queue.records()), queue.damage
        queue.close()
    except Exception as error:
        fix = "REFAM_QUEUE must name a Redis that runs" if kind == "Redis" else "REFAM_DATA_DIR must be writable"
        return Finding("queue", "wrong", f"{kind} cannot be used ({type(error).__name__}): {fix}")
    hint = "" if settings.work else "; REFAM_WORK is false: `refam work` has to run somewhere"
    hint += "".join(f"; {sentence}" for sentence in damage)
    return Finding("queue", "note" if hint else "ok", f"{kind}, {waiting} waiting, {runs} job(s) known{hint}")


def _studio(settings: Settings) -> Finding:
    import httpx

    if settings.label_studio_url is None:
        fix = "uploads and local files cannot be fetched, late predictions cannot be pushed"
        return Finding("studio", "note", f"LABEL_STUDIO_URL is not set: {fix}")
    try:
        with httpx.Client(trust_env=False, timeout=5) as http:
            answer = http.get(f"{settings.label_studio_url}/api/version")
            release = answer.raise_for_status().json().get("release")
    except (httpx.HTTPError, ValueError, AttributeError) as error:
        where = settings.label_studio_url
        fix = "does it run, and is LABEL_STUDIO_URL its address as seen from here?"
        text = f"{where} does not answer as Label Studio does ({type(error).__name__}): {fix}"
        return Finding("studio", "wrong", text)
    # Its API does not tell how long it waits for an answer.
    text = (
        f"{settings.label_studio_url}, release {release}; it must wait longer (ML_TIMEOUT_PREDICT, 100 s unless set) "
        f"than the {settings.deadline_s:g} s within which we answer"
    )
    return Finding("studio", "ok", text)


def _token(settings: Settings) -> Finding:
    import httpx

    from backend.labelstudio.client import HOW_TO_GET_ACCESS, LabelStudioAuth, LabelStudioAuthError

    access = LabelStudioAuth.from_settings(settings)
    if access is None:
        return Finding("token", "note", "LABEL_STUDIO_API_KEY is not set: nothing can be fetched or pushed with it")
    try:
        with httpx.Client(trust_env=False, timeout=5) as http:
            headers = {"Authorization": access.header()}
            answer = http.get(f"{access.url}/api/current-user/whoami", headers=headers)
    except LabelStudioAuthError as error:
        return Finding("token", "wrong", str(error))
    if answer.status_code in (401, 403):
        text = f"Label Studio refuses the {access.kind} token ({answer.status_code}): {HOW_TO_GET_ACCESS}"
        return Finding("token", "wrong", text)
    answer.raise_for_status()
    return Finding("token", "ok", f"{access.kind} token of {answer.json().get('email', 'somebody')}")


def _networks(settings: Settings) -> Finding | None:
    """Find out where Label Studio would call a model, by adding models that it refuses because they name no project.

    Its serializer validates all fields before it refuses, and a banned address first (403, "reserved network address";
    seen in 1.23.2), so that nothing is created and nothing is called.
    """
    import httpx

    from backend.labelstudio.client import LabelStudioAuth

    access = LabelStudioAuth.from_settings(settings)
    if access is None:
        return None
    banned = {}
    with httpx.Client(trust_env=False, timeout=5) as http:
        for name, address in _PROBES.items():
            body = {"url": f"http://{address}:9090", "timeout": "none: this only asks whether the address is banned"}
            answer = http.post(f"{access.url}/api/ml/", headers={"Authorization": access.header()}, json=body)
            banned[name] = answer.status_code == 403 and "reserved network" in answer.text
            if not banned[name] and answer.status_code != 400:
                fix = "the token's user must be allowed to connect models"
                text = f"Label Studio does not say where it would call a model ({answer.status_code}): {fix}"
                return Finding("networks", "note", text)
    refused = [name for name in _PROBES if banned[name] and name != _METADATA]
    if refused:
        fix = "start it with USE_DEFAULT_BANNED_SUBNETS=false and USER_ADDITIONAL_BANNED_SUBNETS=169.254.0.0/16"
        text = f"Label Studio does not call models on {', '.join(refused)}: if this backend is there, {fix}"
        nowhere_else = "this machine" in refused and settings.host in _LOOPBACK
        return Finding("networks", "wrong" if nowhere_else else "note", text)
    if not banned[_METADATA]:
        fix = "USER_ADDITIONAL_BANNED_SUBNETS=169.254.0.0/16 closes that"
        text = f"Label Studio calls models anywhere, {_METADATA} of a cloud machine (its secrets) too: {fix}"
        return Finding("networks", "note", text)
    return Finding("networks", "ok", f"Label Studio calls models on {', '.join(n for n in _PROBES if not banned[n])}")
