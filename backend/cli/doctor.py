"""`refam doctor`: what is installed, what would be used, and whether it works. Loads no model."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import numpy as np

State = Literal["ok", "note", "wrong"]
_PACKAGES = ("av", "decord", "opencv-python", "opencv-python-headless", "torch", "diffusers", "transformers")
_STUDIO_PACKAGES = ("label-studio-ml", "label-studio-sdk")


@dataclass(frozen=True)
class Finding:
    """One line of the report. `wrong` means that something will fail."""

    part: str
    state: State
    text: str


def examine(backbone: str, sam2: str | None, device: str = "auto") -> Iterator[Finding]:
    """Every check, as it is done. A check that breaks is a finding itself."""
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("python", _python),
        ("packages", _packages),
        ("opencv", _opencv),
        ("torchvision", _torchvision),
        ("decoder", _decoder),
        ("overlay", _encoder),
        ("device", lambda: _device(device)),
        ("segmenter", lambda: _segmenter(sam2, device)),
        ("backbone", lambda: _backbone(backbone)),
        ("confidence", lambda: _confidence(backbone)),
    ]
    for part, check in checks:
        try:
            yield check()
        except Exception as error:  # whatever it is, the person who asks what is wrong wants to know
            yield Finding(part, "wrong", f"{type(error).__name__}: {error}".splitlines()[0])


def _python() -> Finding:
    ok = (3, 11) <= tuple(map(int, platform.python_version_tuple()[:2])) <= (3, 12)
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("python", "ok" if ok else "wrong", text if ok else f"{text}; 3.11 or 3.12 is needed")


def _packages() -> Finding:
    found = {name: _version(name) for name in (*_PACKAGES, *_STUDIO_PACKAGES)}
    missing = [name for name, v in found.items() if v is None and name not in ("decord", "opencv-python")]
    text = ", ".join(f"{name} {v}" for name, v in found.items() if v)
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


def _device(asked: str) -> Finding:
    import torch

    if torch.cuda.is_available():
        gib = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Finding("device", "ok", f"cuda: {torch.cuda.get_device_name(0)}, {gib:.0f} GiB (asked: {asked})")
    if asked.startswith("cuda"):
        return Finding("device", "wrong", f"{asked} was asked for, and torch {torch.__version__} sees no CUDA device")
    return Finding("device", "note", f"cpu, {torch.get_num_threads()} threads; the large models need a GPU")


def _segmenter(sam2: str | None, device: str) -> Finding:
    from backend.settings import weight_settings
    from refam.segmenters.load import has_video_memory
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
    if choice.tracker == "sam2-video" and not has_video_memory(choice.source):
        text = f"{choice.source} holds no video memory for REFAM_TRACKER=sam2-video: say auto, memory or flow"
        return Finding("segmenter", "wrong", text)
    found = _weights("segmenter", choice.source, "SAM2 from ")
    return replace(found, text=f"{found.text} ({choice.why}){follows}")


def _onnx(folder: Path, tracker: str, remark: str) -> Finding:
    runtime = _version("onnxruntime")
    if runtime is None:
        return Finding("segmenter", "wrong", f"{folder.name} needs onnxruntime: pip install onnxruntime")
    if tracker == "sam2-video":
        text = f"{folder.name} holds SAM2's image part alone: REFAM_TRACKER=auto, memory or flow"
        return Finding("segmenter", "wrong", text)
    mb = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    text = f"SAM2 from {folder.name} ({mb:.0f} MB of weights) in onnxruntime {runtime} on the processor {remark}"
    return Finding("segmenter", "ok", text)


def _backbone(backbone: str) -> Finding:
    from refam.backbones import preset_for
    from refam.backbones.weights import find_pipeline_directory

    preset = preset_for(backbone)
    source = str(find_pipeline_directory(preset.source, preset.revision) or preset.source)
    if backbone == "tiny" and not (Path(source) / "model_index.json").is_file():
        return Finding("backbone", "wrong", "the small model's weights are not here; `refam train-tiny` makes them")
    return _weights("backbone", source, f"{backbone}: " if source != backbone else "")


def _confidence(backbone: str) -> Finding:
    from refam.backbones import preset_for
    from refam.calibration import calibration_path, load_calibration

    made = load_calibration(calibration_path(preset_for(backbone).source))
    if made is None:
        text = "not calibrated for this backbone, so scores are no probabilities; `refam eval calibrate` does it"
        return Finding("confidence", "note", text)
    return Finding("confidence", "ok", f"calibrated on {made.scenes} drawn scenes")


def _weights(part: str, source: str, what: str) -> Finding:
    folder = Path(source).expanduser()
    if folder.is_dir():
        files = list(folder.rglob("*.safetensors"))
        if not files:
            return Finding(part, "wrong", f"{what}{folder} holds no .safetensors file")
        mb = sum(f.stat().st_size for f in files) / 1e6
        return Finding(part, "ok", f"{what}{folder.name} ({mb:.0f} MB of weights)")
    if folder.is_absolute() or source.startswith("."):
        return Finding(part, "wrong", f"{what}{folder} is not a folder")
    if part == "backbone":
        return Finding(part, "wrong", f"{what}its weights are not on this machine; `refam models pull {source}`")
    return Finding(part, "note", f"{what}{source}, a hub name: its weights are loaded, or fetched, at first use")


def _tiny_video(path: Path) -> Path:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(8):
            image = np.full((48, 64, 3), 30 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
