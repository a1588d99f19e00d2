"""Makes the videos that tests need, good and bad, from any (N, H, W, 3) uint8 RGB frames.

`numbered_frames` draws each frame's own number into it as blocks that survive compression, and `read_number`
reads it back: so "frame i has time t and content i" is checked against the drawing, not against a decoder.
Every maker writes the file at `path` and returns the path.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Frames = NDArray[np.uint8]

_BITS, _PER_ROW, _BLOCK = 12, 6, 16
_TICK = Fraction(1, 90_000)


# --- frames whose number can be read back ---------------------------------------------------------------


def numbered_frames(n: int, *, size: tuple[int, int] = (160, 96), start: int = 0) -> Frames:
    """(n, h, w, 3) uint8: a ground that has a direction, a moving square, and each frame's number as 12 blocks."""
    w, h = size
    if w < _PER_ROW * _BLOCK or h < 3 * _BLOCK:
        raise ValueError(f"size must be at least {_PER_ROW * _BLOCK}x{3 * _BLOCK}, got {w}x{h}")
    x, y = np.linspace(40, 200, w), np.linspace(40, 200, h)[:, None]
    ground = np.stack(np.broadcast_arrays(x, y, np.full((h, w), 90.0)), axis=-1).astype(np.uint8)
    frames = np.repeat(ground[None], n, axis=0)
    for i, frame in enumerate(frames):
        left = (i * 5) % (w - 16)
        frame[2 * _BLOCK : 3 * _BLOCK, left : left + 16] = (230, 60, 40)
        for bit in range(_BITS):
            row, column = divmod(bit, _PER_ROW)
            value = 235 if (start + i) >> bit & 1 else 20
            frame[row * _BLOCK : (row + 1) * _BLOCK, column * _BLOCK : (column + 1) * _BLOCK] = value
    return frames


def read_number(frame: Frames) -> int:
    """The number drawn into an (h, w, 3) frame by `numbered_frames`."""
    number = 0
    for bit in range(_BITS):
        row, column = divmod(bit, _PER_ROW)
        y, x = row * _BLOCK + 4, column * _BLOCK + 4
        number |= int(frame[y : y + _BLOCK - 8, x : x + _BLOCK - 8].mean() > 128) << bit
    return number


# --- good videos -----------------------------------------------------------------------------------------


def cfr(
    path: Path,
    frames: Frames,
    *,
    fps: Fraction | int = 25,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    gop: int = 12,
) -> Path:
    """A constant rate: frame i is shown at i / fps."""
    times = [Fraction(i) / Fraction(fps) for i in range(len(frames))]
    return _write(path, frames, times, rate=Fraction(fps), codec=codec, options=options, gop=gop)


def ntsc(path: Path, frames: Frames, *, codec: str = "libx264") -> Path:
    """29.97 frames per second (30000/1001)."""
    return cfr(path, frames, fps=Fraction(30_000, 1001), codec=codec)


def vfr_times(n: int) -> NDArray[np.float64]:
    """(n,) s, a variable rate: a third at 30 per second, a third at 10, a third at 20, from 0."""
    steps = np.concatenate([np.full(n // 3, 1 / 30), np.full(n // 3, 1 / 10), np.full(n - 2 * (n // 3), 1 / 20)])
    return np.concatenate([[0.0], np.cumsum(steps)[:-1]])


def vfr(
    path: Path, frames: Frames, *, times_s: Sequence[float] | NDArray[np.float64] | None = None, codec: str = "libx264"
) -> Path:
    """A variable rate: frame i is shown at times_s[i] (`vfr_times` unless given), to 1/90000 s."""
    seconds = vfr_times(len(frames)) if times_s is None else times_s
    times = [round(Fraction(float(t)) / _TICK) * _TICK for t in seconds]
    return _write(path, frames, times, rate=Fraction(30), codec=codec)


def rotated(path: Path, frames: Frames, *, degrees: int = 90, fps: Fraction | int = 25, codec: str = "libx264") -> Path:
    """As a phone writes it: players turn the stored pixels by `degrees` clockwise and then show `frames`."""
    stored = np.ascontiguousarray(np.rot90(frames, k=degrees // 90, axes=(1, 2)))  # k > 0: counterclockwise
    times = [Fraction(i) / Fraction(fps) for i in range(len(frames))]
    return _write(path, stored, times, rate=Fraction(fps), codec=codec, rotation=degrees)


def anamorphic(path: Path, frames: Frames, *, pixel_aspect: Fraction, degrees: int = 0) -> Path:
    """Pixels that are not square: players stretch what is stored by this factor, and then turn it."""
    plain = rotated(path.with_suffix(".plain.mp4"), frames, degrees=degrees)
    ratio = f"{pixel_aspect.numerator}/{pixel_aspect.denominator}"
    _ffmpeg("-i", plain, "-c", "copy", "-bsf:v", f"h264_metadata=sample_aspect_ratio={ratio}", path)
    return path


def mirrored(path: Path, frames: Frames, *, fps: int = 25) -> Path:
    """Stored left-right mirrored with a display matrix that mirrors back: players show `frames`."""
    plain = cfr(path.with_suffix(".plain.mp4"), np.ascontiguousarray(frames[:, :, ::-1]), fps=fps)
    _ffmpeg("-display_hflip", "-i", plain, "-c", "copy", path)
    return path


def edit_list(path: Path, frames: Frames, *, skip: int = 13, fps: int = 25, gop: int = 50) -> Path:
    """Cut without re-encoding: all frames are stored, players start at frame `skip` and call that time 0."""
    plain = cfr(path.with_suffix(".plain.mp4"), frames, fps=fps, gop=gop)
    _ffmpeg("-ss", f"{skip / fps - 0.5 / fps:.4f}", "-i", plain, "-c", "copy", path)
    return path


def at_times(path: Path, frames: Frames, ticks: Sequence[int], *, unit_s: Fraction = Fraction(1, 1000)) -> Path:
    """Frame i has the timestamp ticks[i], in units of unit_s, ascending or not, as broken tools write them."""
    plain = cfr(path.with_suffix(".plain.mp4"), frames, fps=10, options={"bf": "0"})
    with av.open(str(plain)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        stream.time_base = unit_s
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for packet, tick in zip(packets, ticks, strict=True):
            packet.stream, packet.time_base = stream, unit_s
            packet.pts = packet.dts = tick
            packet.duration = 0
            container.mux(packet)
    return path


def raw(path: Path, frames: Frames, *, fps: int = 10, pixel_format: str = "yuv420p") -> Path:
    """Uncompressed video of the format that the path's ending names (.y4m)."""
    plain = cfr(path.with_suffix(".plain.mp4"), frames, fps=fps)
    _ffmpeg("-i", plain, "-pix_fmt", pixel_format, "-strict", "-1", path)
    return path


def animation(path: Path, frames: Frames, *, durations_ms: Sequence[int]) -> Path:
    """An animated picture (.webp, .png, .gif, .avif), without loss where the format can."""
    first, *others = [Image.fromarray(frame) for frame in frames]
    lossless = {"lossless": True} if path.suffix == ".webp" else {}
    first.save(path, save_all=True, append_images=others, duration=list(durations_ms), loop=0, **lossless)
    return path


def with_audio(path: Path, frames: Frames, *, fps: int = 25, audio_s: float = 1.0) -> Path:
    """A constant rate, with a tone of `audio_s` seconds beside it."""
    times = [Fraction(i) / fps for i in range(len(frames))]
    return _write(path, frames, times, rate=Fraction(fps), codec="libx264", audio_s=audio_s)


# --- bad files ---------------------------------------------------------------------------------------------


def changing_size(path: Path, frames: Frames, *, later: Frames) -> Path:
    """Two runs of frames of different sizes in one H.264 stream, as a camera that is turned or a call writes them."""
    parts = []
    for k, part in enumerate((frames, later)):
        whole = cfr(path.with_name(f"{path.stem}-{k}.mp4"), part)
        parts.append(path.with_name(f"{path.stem}-{k}.ts"))
        _ffmpeg("-i", whole, "-c", "copy", "-bsf:v", "h264_mp4toannexb", parts[-1])
    joined = path.with_name(f"{path.stem}-joined.ts")
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    _ffmpeg("-i", joined, "-c", "copy", path)
    return path


def truncated(
    path: Path, frames: Frames, *, keep: float = 0.6, index_first: bool = True, codec: str = "libx264"
) -> Path:
    """The first `keep` of a video's bytes. index_first: the container's index survives, as in a broken download."""
    options = {"movflags": "+faststart"} if index_first and path.suffix in {".mp4", ".mov"} else {}
    whole = _write(
        path.with_name("whole-" + path.name), frames, [Fraction(i, 25) for i in range(len(frames))],
        rate=Fraction(25), codec=codec, container_options=options,
    )  # fmt: skip
    data = whole.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def damaged(
    path: Path, frames: Frames, *, at: float = 0.5, n_bytes: int = 400, seed: int = 0, codec: str = "libx264"
) -> Path:
    """A video with `n_bytes` of noise written over its coded pictures, the container being whole."""
    cfr(path, frames, codec=codec)
    data = bytearray(path.read_bytes())
    begin, end = len(data) // 10, len(data)
    if path.suffix in {".mp4", ".mov"}:
        box = data.find(b"mdat") - 4
        begin, end = box + 8, box + int.from_bytes(data[box : box + 4])
    where = min(begin + int((end - begin) * at), end - n_bytes)
    noise = np.random.default_rng(seed).integers(0, 256, n_bytes, dtype=np.uint8).tobytes()
    data[where : where + n_bytes] = noise
    path.write_bytes(bytes(data))
    return path


def audio_only(path: Path, *, seconds: float = 1.0) -> Path:
    """A file with a tone and no picture."""
    with av.open(str(path), "w") as container:
        _add_tone(container, seconds)
    return path


def empty(path: Path) -> Path:
    """A file of no bytes."""
    path.write_bytes(b"")
    return path


def garbage(path: Path, *, n_bytes: int = 20_000, seed: int = 0) -> Path:
    """A file of random bytes."""
    path.write_bytes(np.random.default_rng(seed).integers(0, 256, n_bytes, dtype=np.uint8).tobytes())
    return path


def picture(path: Path, frame: Frames) -> Path:
    """A PNG, whatever the path's ending says."""
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png")
        stream.height, stream.width = frame.shape[:2]
        stream.pix_fmt = "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


# --- how --------------------------------------------------------------------------------------------------


def _write(
    path: Path,
    frames: Frames,
    times: Sequence[Fraction],
    *,
    rate: Fraction,
    codec: str,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    gop: int = 12,
    rotation: int = 0,
    audio_s: float = 0.0,
) -> Path:
    height, width = frames.shape[1:3]
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=_QUICK.get(codec, {}) | (options or {}))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # MPEG-4's time base has 16 bits, and AVI counts frames.
        stream.codec_context.time_base = 1 / rate if codec == "mpeg4" or path.suffix == ".avi" else _TICK
        stream.codec_context.gop_size = gop
        if rotation:
            stream.set_display_rotation(-rotation % 360)
        if audio_s:
            _add_tone(container, audio_s)
        ends = [*times[1:], 2 * times[-1] - times[-2] if len(times) > 1 else 1 / rate]
        for i, (frame, time, end) in enumerate(zip(frames, times, ends, strict=True)):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.time_base = stream.codec_context.time_base
            picture.pts = round(time / picture.time_base)
            picture.duration = round((end - time) / picture.time_base)
            if i == 0:
                picture.pict_type = av.video.frame.PictureType.I
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


_QUICK = {
    "libx264": {"preset": "veryfast", "crf": "16", "threads": "1"},
    "libx265": {"preset": "ultrafast", "x265-params": "crf=16:log-level=none:pools=1"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "b": "4M", "threads": "1"},
    "libsvtav1": {"preset": "12", "crf": "20"},
    "mpeg4": {"b": "4M"},
}


def _add_tone(container: av.container.OutputContainer, seconds: float) -> None:
    rate = 44_100
    stream = container.add_stream("aac", rate=rate)
    tone = (0.1 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)
    for begin in range(0, len(tone), 1024):
        frame = av.AudioFrame.from_ndarray(tone[None, begin : begin + 1024], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, begin, Fraction(1, rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def _ffmpeg(*arguments: str | Path) -> None:
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
